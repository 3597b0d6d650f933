//! The table of mounts as the kernel prints it (`/proc/self/mountinfo`, proc(5)).

use rustix::mount::MountFlags;
use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// One line: where, and with which options of this mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
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
    let point = fields.nth(4)?;
    let options = std::str::from_utf8(fields.next()?).ok()?;
    let flags = options.split(',').fold(MountFlags::empty(), |flags, option| flags | flag(option));
    Some(Mount { point: PathBuf::from(OsString::from_vec(unescaped(point))), flags })
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

    use super::{Mount, read};
    use rustix::mount::MountFlags;
    use std::path::PathBuf;

    #[test]
    fn a_table_is_read_with_its_escapes_and_options() {
        let table = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            30 22 0:26 / /mnt/a\\040b\\134c ro,nosuid,nodev,noexec,noatime - tmpfs t rw\n";
        let flags = MountFlags::RDONLY
            | MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOEXEC
            | MountFlags::NOATIME;
        let expected = vec![
            Mount { point: PathBuf::from("/"), flags: MountFlags::RELATIME },
            Mount { point: PathBuf::from("/mnt/a b\\c"), flags },
        ];
        assert_eq!(read(table), Some(expected));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_no_table() {
        assert_eq!(read(b"22 1 8:1 /\n"), None);
    }
}
