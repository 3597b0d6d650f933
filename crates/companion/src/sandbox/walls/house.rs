//! The home folder as the program finds it: an empty one, and in it what may be seen.
//!
//! A cover lies over what is there while the walls are raised. It does not hold what comes to lie there later (a
//! first login, while the program runs), and it falls off where somebody replaces what it lies on. So the home
//! folder is not covered in parts but made anew: every entry is mounted where it lies, but those that are hidden, or
//! would be; a folder that holds such a place is made anew as well. What comes into these folders from outside
//! afterwards is not seen, whatever it is.

use super::{Refused, fresh, made, put, refused, taken};
use rustix::mount::{MountFlags, UnmountFlags, unmount};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::{Path, PathBuf},
};

/// Entries that are mounted: an ordinary home has some hundred of them; with more it is covered in parts.
const PARTS_MAX: usize = 4096;
/// Where the home folder lies meanwhile: in the `/dev` that was just made.
const MEANWHILE: &str = "/dev/home";

/// What there is to know of a home folder that is made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct House {
    /// Not shown, whether or not it is there.
    unseen: Vec<PathBuf>,
    /// The working folder, which is put in its place by itself.
    work: PathBuf,
}

/// A part of it.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// A folder that is made anew; what it holds follows.
    Folder(PathBuf),
    /// A link: what it leads to is shown or not where that lies.
    Link(PathBuf),
    /// A file or a folder, with all that it holds.
    Whole(PathBuf),
}

impl House {
    /// A home folder of which `unseen` is not shown; none where it cannot be made anew, since the machine's own
    /// places or all of the working folder lie in it, or too much does.
    pub(in super::super) fn of(home: &Path, work: &Path, unseen: Vec<PathBuf>) -> Option<Self> {
        let of_the_machine = ["/dev", "/proc", "/sys"].iter().any(|place| home.starts_with(place));
        let around_it =
            ["/usr", "/run", "/tmp", "/var/tmp"].iter().any(|place| Path::new(place).starts_with(home));
        let house = Self { unseen, work: work.to_owned() };
        let may_be = !of_the_machine && !around_it && !home.starts_with(work) && home.is_dir();
        (may_be && house.parts(home, home).len() <= PARTS_MAX).then_some(house)
    }

    /// Makes `home` anew of `tree`, which was taken of it.
    pub(super) fn build(&self, home: &Path, tree: &std::os::fd::OwnedFd) -> Result<(), Refused> {
        let meanwhile = Path::new(MEANWHILE);
        made(meanwhile, fs::create_dir(meanwhile))?;
        put(meanwhile, tree)?;
        made(home, DirBuilder::new().recursive(true).mode(0o755).create(home))?;
        fresh(home, MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755")?;
        for part in self.parts(meanwhile, home) {
            show(&part, meanwhile, home)?;
        }
        copy_mode(meanwhile, home)?;
        unmount(meanwhile, UnmountFlags::DETACH).map_err(refused("cannot take away", meanwhile))?;
        made(meanwhile, fs::remove_dir(meanwhile))
    }

    /// The parts of a home folder that lies at `there` now and will lie at `home`, by their names in it; a folder
    /// before what it holds. What cannot be listed is not shown.
    fn parts(&self, there: &Path, home: &Path) -> Vec<Part> {
        let mut parts = Vec::new();
        self.collect(there, home, Path::new(""), &mut parts);
        parts
    }

    fn collect(&self, there: &Path, home: &Path, within: &Path, parts: &mut Vec<Part>) {
        let entries = fs::read_dir(there.join(within)).into_iter().flatten().filter_map(Result::ok);
        for entry in entries {
            let (Ok(kind), name) = (entry.file_type(), within.join(entry.file_name())) else { continue };
            let place = home.join(&name);
            if parts.len() > PARTS_MAX || self.unseen.contains(&place) {
                continue;
            }
            if kind.is_symlink() {
                parts.push(Part::Link(name));
            } else if place == self.work {
                parts.push(Part::Folder(name));
            } else if kind.is_dir() && self.unseen.iter().any(|path| path.starts_with(&place)) {
                parts.push(Part::Folder(name.clone()));
                self.collect(there, home, &name, parts);
            } else if kind.is_dir() || kind.is_file() {
                parts.push(Part::Whole(name));
            }
        }
    }
}

fn show(part: &Part, there: &Path, home: &Path) -> Result<(), Refused> {
    match part {
        Part::Folder(name) => {
            let (from, to) = (there.join(name), home.join(name));
            made(&to, fs::create_dir(&to))?;
            copy_mode(&from, &to)
        }
        Part::Link(name) => {
            let Ok(target) = fs::read_link(there.join(name)) else { return Ok(()) };
            let path = home.join(name);
            made(&path, symlink(target, &path))
        }
        Part::Whole(name) => {
            let (from, to) = (there.join(name), home.join(name));
            // What this user may not even pass through is not shown, nor what is gone by now.
            let (Ok(found), Ok(tree)) = (fs::metadata(&from), taken(&from)) else { return Ok(()) };
            let point = if found.is_dir() { fs::create_dir(&to) } else { File::create(&to).map(drop) };
            made(&to, point)?;
            put(&to, &tree)
        }
    }
}

/// A folder that is made anew is as open as it was.
fn copy_mode(from: &Path, to: &Path) -> Result<(), Refused> {
    let Ok(found) = fs::metadata(from) else { return Ok(()) };
    made(to, fs::set_permissions(to, found.permissions()))
}

#[cfg(test)]
mod tests {
    //! Proves which parts of a home folder are shown, and when it is not made anew.

    use super::{House, PARTS_MAX, Part};
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
        path::{Path, PathBuf},
    };

    #[test]
    fn what_is_hidden_or_would_be_is_no_part_and_what_lies_beside_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        for path in [".ssh/deep", ".config/htop", "work/deep", "project/.config/gh", "elsewhere"] {
            fs::create_dir_all(home.join(path)).unwrap();
        }
        fs::write(home.join(".bashrc"), "").unwrap();
        symlink("elsewhere", home.join(".aws")).unwrap();
        symlink(".ssh", home.join("keys")).unwrap();
        let _socket = UnixListener::bind(home.join("bound")).unwrap();
        let unseen = [".ssh", ".aws", ".config/gh", ".local/share/nightlatch", "elsewhere"];
        let unseen = unseen.map(|name| home.join(name)).to_vec();
        let house = House::of(&home, &home.join("work"), unseen).unwrap();
        let mut parts = house.parts(&home, &home);
        let name = |part: &Part| match part {
            Part::Folder(name) | Part::Link(name) | Part::Whole(name) => name.clone(),
        };
        parts.sort_by_key(name);
        let expected = [
            Part::Whole(".bashrc".into()),
            Part::Folder(".config".into()),
            Part::Whole(".config/htop".into()),
            Part::Link("keys".into()),
            Part::Whole("project".into()),
            Part::Folder("work".into()),
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn a_home_that_holds_the_machine_or_the_working_folder_or_too_much_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        fs::create_dir_all(home.join("work")).unwrap();
        let of = |home: &Path, work: PathBuf| House::of(home, &work, Vec::new()).is_some();
        assert!(of(&home, home.join("work")) && of(&home, folder.path().join("other")));
        assert!(!of(&home, home.clone()) && !of(&home, folder.path().to_owned()));
        assert!(!of(&home.join("absent"), home.join("work")));
        for home in ["/", "/dev", "/proc/self", "/var", "/tmp"] {
            assert!(!of(Path::new(home), folder.path().join("other")), "{home}");
        }
        (0..=PARTS_MAX).for_each(|name| fs::write(home.join(name.to_string()), "").unwrap());
        assert!(!of(&home, home.join("work")));
    }
}
