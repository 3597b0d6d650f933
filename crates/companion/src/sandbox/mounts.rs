//! The table of mounts as the kernel prints it (`/proc/self/mountinfo`, proc(5)).

use rustix::mount::MountFlags;
use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// One line: what, where, and with which options of this mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The file system.
    pub(super) device: String,
    /// Which folder of it is shown.
    pub(super) root: PathBuf,
    pub(super) point: PathBuf,
    /// What a remount must say again: an option that is left out is taken for given up, and the kernel refuses
    /// that where the mount came from a more privileged namespace.
    pub(super) flags: MountFlags,
}

/// Reads the table; a line that cannot be read is an error, since what it mounts would stay writable.
pub(super) fn read(table: &[u8]) -> Option<Vec<Mount>> {
    table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?.to_owned();
    let (root, point) = (path(fields.next()?), path(fields.next()?));
    let options = std::str::from_utf8(fields.next()?).ok()?;
    let flags = options.split(',').fold(MountFlags::empty(), |flags, option| flags | flag(option));
    Some(Mount { device, root, point, flags })
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescaped(field)))
}

/// The other places where what lies at `path` is shown, or something below it: one file system may be mounted twice,
/// whole or in part (bind mounts, subvolumes).
pub(super) fn elsewhere(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    let below = mounts.iter().map(|mount| mount.point.as_path()).filter(|point| point.starts_with(path));
    let all = std::iter::once(path).chain(below).flat_map(|path| shown(mounts, path));
    all.filter(|other| !other.starts_with(path)).collect()
}

fn shown(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    // Of two mounts at one place the later one is seen.
    let around = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    let Some(own) = around.max_by_key(|mount| mount.point.components().count()) else { return Vec::new() };
    let Ok(within) = path.strip_prefix(&own.point) else { return Vec::new() };
    let inside = joined(&own.root, within);
    let same = mounts.iter().filter(|mount| mount.device == own.device);
    let places = same.filter_map(|mount| match inside.strip_prefix(&mount.root) {
        Ok(rest) => Some(joined(&mount.point, rest)),
        Err(_) => mount.root.starts_with(&inside).then(|| mount.point.clone()),
    });
    places.collect()
}

fn joined(folder: &Path, rest: &Path) -> PathBuf {
    folder.components().chain(rest.components()).collect()
}

fn flag(option: &str) -> MountFlags {
    match option {
        "ro" => MountFlags::RDONLY,
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        "nosymfollow" => MountFlags::NOSYMFOLLOW,
        _ => MountFlags::empty(),
    }
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| octal(after)).flatten();
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..3)?).ok()?;
    u8::from_str_radix(digits, 8).ok()
}

/// Whether `path` is `folder` or lies below it.
pub(super) fn within(path: &Path, folders: &[&Path]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    //! Proves that the kernel's table is read as it is written, escapes and options included.

    use super::{Mount, elsewhere, read};
    use rustix::mount::MountFlags;
    use std::path::{Path, PathBuf};

    #[test]
    fn a_table_is_read_with_its_escapes_and_options() {
        let table = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            30 22 0:26 / /mnt/a\\040b\\134c ro,nosuid,nodev,noexec,noatime - tmpfs t rw\n";
        let flags = MountFlags::RDONLY
            | MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOEXEC
            | MountFlags::NOATIME;
        let expected =
            vec![shown("8:1", "/", "/", MountFlags::RELATIME), shown("0:26", "/", "/mnt/a b\\c", flags)];
        assert_eq!(read(table), Some(expected));
    }

    fn shown(device: &str, root: &str, point: &str, flags: MountFlags) -> Mount {
        Mount { device: device.to_owned(), root: root.into(), point: point.into(), flags }
    }

    #[test]
    fn what_lies_on_one_file_system_is_found_wherever_that_is_mounted() {
        let mount = |device, root, point| shown(device, root, point, MountFlags::empty());
        let mounts = [
            mount("8:1", "/", "/"),
            mount("0:30", "/@home", "/home"),
            mount("0:30", "/", "/mnt/all"),
            mount("0:30", "/@home/dana", "/srv/dana"),
            mount("0:30", "/@home/dana/.ssh/keys", "/srv/keys"),
            mount("0:30", "/@var", "/var"),
            mount("0:31", "/@home", "/mnt/other"),
        ];
        let expected = ["/mnt/all/@home/dana/.ssh", "/srv/dana/.ssh", "/srv/keys"].map(PathBuf::from);
        assert_eq!(elsewhere(&mounts, Path::new("/home/dana/.ssh")), expected);
        assert!(elsewhere(&mounts, Path::new("/etc/shadow")).is_empty());
        // What is mounted below a hidden folder is hidden with it, and elsewhere too.
        let below = [
            mounts.as_slice(),
            &[mount("8:9", "/", "/home/dana/.ssh/stick"), mount("8:9", "/", "/media/stick")],
        ]
        .concat();
        assert!(elsewhere(&below, Path::new("/home/dana/.ssh")).contains(&PathBuf::from("/media/stick")));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_no_table() {
        assert_eq!(read(b"22 1 8:1 /\n"), None);
    }
}
