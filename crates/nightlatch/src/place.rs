//! The data folder: where it is, who may read it, who holds it.
//!
//! It is refused before anything is opened in it: a folder that others can read or that another user owns
//! is no place for keys. One process serves a folder; the lock is the kernel's (`flock`), so that it goes
//! with its holder however that ends, and the file only says who it is.

use crate::adapters::variable;
use nightlatch_control::ApiKey;
use nightlatch_domain::clock::{Entropy, random};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// The longest path of a Unix socket (`sun_path` with its end).
const SOCKET_PATH_MAX_BYTES: usize = 107;
const TOKEN_LEN: usize = 32;

/// What is wrong with the data folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// Nothing says where it is.
    #[error("there is no HOME to put the data folder under; say where it is with `--data DIR`")]
    Nowhere,
    /// It is not there yet.
    #[error("`{0}` is no data folder yet; `nightlatch up` makes it")]
    Absent(PathBuf),
    /// Others can read it.
    #[error(
        "`{path}` can be read by others (mode {mode:03o}); run `chmod 700 {path}`, and look who could have read it"
    )]
    Exposed {
        /// The folder or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another user owns it.
    #[error(
        "`{path}` belongs to uid {owner}, and this is uid {own}; run nightlatch as its owner, or choose another folder with `--data`"
    )]
    Foreign {
        /// The folder or file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// Another process holds it.
    #[error(
        "`{path}` is in use by {holder}; stop it with `nightlatch stop`, or choose another folder with `--data`"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// The socket's path would be too long for the kernel.
    #[error("`{0}` is too long for a Unix socket (107 bytes); choose a shorter data folder with `--data`")]
    TooLong(PathBuf),
    /// The file system said no.
    #[error("`{path}` cannot be read or written: {source}; check its disk and its permissions")]
    File {
        /// The folder or file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The token is not one.
    #[error("`{0}` is no token of this program; stop nightlatch, remove the file, and start it again")]
    BadToken(PathBuf),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes; nothing was made")]
    NoEntropy,
}

/// The data folder's places.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    root: PathBuf,
}

/// The hold on a data folder; it ends with the value, or the process.
#[derive(Debug)]
pub(crate) struct Hold {
    _file: File,
}

impl Place {
    /// The folder that was named, else the one below `XDG_DATA_HOME` or `HOME`.
    pub(crate) fn of(named: Option<PathBuf>) -> Result<Self, PlaceError> {
        let share = || {
            let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/share"));
            variable("XDG_DATA_HOME").map(PathBuf::from).or_else(home)
        };
        let root = named.or_else(|| Some(share()?.join("nightlatch"))).ok_or(PlaceError::Nowhere)?;
        let root = std::path::absolute(&root).map_err(|source| PlaceError::File { path: root, source })?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// `run/api.sock`.
    pub(crate) fn socket(&self) -> Result<PathBuf, PlaceError> {
        let path = self.path("run/api.sock");
        if path.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
            return Err(PlaceError::TooLong(path));
        }
        Ok(path)
    }

    /// Where the keeper's anchor log lies: outside the data folder, so that no copy of the folder holds it.
    pub(crate) fn state() -> Result<PathBuf, PlaceError> {
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        let state = variable("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
        state.map(|state| state.join("nightlatch")).ok_or(PlaceError::Nowhere)
    }

    /// Makes the folder where it is not there, and refuses one that is not ours alone.
    pub(crate) fn prepare(&self) -> Result<(), PlaceError> {
        make_folder(&self.root)?;
        ours_alone(&self.root)?;
        // Below a folder that is closed, a wider mode lets nobody in.
        let below = ["run", "ledger", "spool", "policies", "profiles"];
        below.iter().try_for_each(|name| make_folder(&self.path(name)))
    }

    /// Whether the folder is there, ours and closed to others: for commands that only read it.
    pub(crate) fn check(&self) -> Result<(), PlaceError> {
        if !self.root.exists() {
            return Err(PlaceError::Absent(self.root.clone()));
        }
        ours_alone(&self.root)
    }

    /// Takes hold of the folder for this process.
    pub(crate) fn hold(&self) -> Result<Hold, PlaceError> {
        let mut file = self.open_lock()?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(PlaceError::InUse { path: self.root.clone(), holder: holder(&mut file) });
        }
        let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        noted.map_err(|source| PlaceError::File { path: self.path("run/lock"), source })?;
        Ok(Hold { _file: file })
    }

    /// Keeps any process from taking hold of the folder, for a command that makes something in it; other such commands
    /// may run beside it. None where a process holds it.
    pub(crate) fn share(&self) -> Result<Option<Hold>, PlaceError> {
        make_folder(&self.path("run"))?;
        let file = self.open_lock()?;
        let is_shared = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        Ok(is_shared.then_some(Hold { _file: file }))
    }

    /// Whether a process holds the folder.
    pub(crate) fn is_held(&self) -> bool {
        let lock = self.open_lock();
        lock.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
    }

    fn open_lock(&self) -> Result<File, PlaceError> {
        let path = self.path("run/lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(&path).map_err(|source| PlaceError::File { path, source })
    }

    /// The key of the API, made at the first start.
    pub(crate) fn make_token(&self, entropy: &dyn Entropy) -> Result<ApiKey, PlaceError> {
        let path = self.path("api.token");
        if !path.exists() {
            let bytes = Zeroizing::new(random::<TOKEN_LEN>(entropy).map_err(|_| PlaceError::NoEntropy)?);
            let text = Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            write_whole(&path, text.as_bytes())?;
        }
        self.token()
    }

    /// The key of the API, as a command reads it.
    pub(crate) fn token(&self) -> Result<ApiKey, PlaceError> {
        let path = self.path("api.token");
        ours_alone(&path)?;
        let text = fs::read(&path).map_err(|source| PlaceError::File { path: path.clone(), source })?;
        let text = Zeroizing::new(text);
        let text = text.trim_ascii();
        if text.len() != 2 * TOKEN_LEN || !text.iter().all(u8::is_ascii_hexdigit) {
            return Err(PlaceError::BadToken(path));
        }
        Ok(ApiKey::new(text))
    }
}

/// Writes a file for this user alone that appears whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), PlaceError> {
    write_with_mode(path, bytes, 0o600)
}

/// The same with other permission bits. Others may be able to write to the folder, so the draft is made and never
/// opened: what lies in its place is taken away, and no link there is followed (open(2), `O_EXCL`).
pub(crate) fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PlaceError> {
    let fresh = path.with_extension("fresh");
    let write = || {
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(|source| PlaceError::File { path: path.to_owned(), source })
}

fn make_folder(path: &Path) -> Result<(), PlaceError> {
    if !path.exists() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| PlaceError::File { path: path.to_owned(), source })?;
    }
    Ok(())
}

/// Refuses what another user owns, or others can read.
pub(crate) fn ours_alone(path: &Path) -> Result<(), PlaceError> {
    let found = fs::metadata(path).map_err(|source| PlaceError::File { path: path.to_owned(), source })?;
    let (owner, own) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != own {
        return Err(PlaceError::Foreign { path: path.to_owned(), owner, own });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PlaceError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Who holds the lock, as far as can be told.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(32).read_to_string(&mut text));
    match read.ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(pid) => format!("{} (pid {pid})", program(pid)),
        None => "another process".to_owned(),
    }
}

/// The name of a process, for people.
pub(crate) fn program(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.map_or_else(|_| "a process".to_owned(), |name| format!("`{}`", name.trim()))
}

#[cfg(test)]
mod tests {
    use super::{Place, PlaceError, write_with_mode};
    use nightlatch_custody::entropy::SystemEntropy;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
        path::Path,
    };

    fn place(folder: &tempfile::TempDir) -> Place {
        let place = Place::of(Some(folder.path().join("data"))).unwrap();
        place.prepare().unwrap();
        place
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_folder_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let mode = fs::metadata(place(&folder).root()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_folder_or_token_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(&folder);
        place.make_token(&SystemEntropy::new()).unwrap();
        for mode in [0o750, 0o705, 0o701, 0o770] {
            chmod(place.root(), mode);
            assert!(matches!(place.prepare(), Err(PlaceError::Exposed { .. })), "{mode:o}");
            assert!(matches!(place.check(), Err(PlaceError::Exposed { .. })), "{mode:o}");
        }
        chmod(place.root(), 0o700);
        chmod(&place.path("api.token"), 0o640);
        assert!(matches!(place.token(), Err(PlaceError::Exposed { .. })));
    }

    #[test]
    fn a_token_is_made_once_and_cut_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(&folder);
        place.make_token(&SystemEntropy::new()).unwrap();
        let first = fs::read(place.path("api.token")).unwrap();
        place.make_token(&SystemEntropy::new()).unwrap();
        assert_eq!(fs::read(place.path("api.token")).unwrap(), first);
        fs::write(place.path("api.token"), &first[..40]).unwrap();
        assert!(matches!(place.token(), Err(PlaceError::BadToken(_))));
    }

    #[test]
    fn a_file_that_is_written_whole_follows_no_link_and_has_its_mode_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("trust.pem"), folder.path().join("other"));
        fs::write(&other, "other").unwrap();
        chmod(&other, 0o600);
        for place in ["trust.fresh", "trust.pem"] {
            symlink(&other, folder.path().join(place)).unwrap();
        }
        write_with_mode(&path, b"certificates", 0o644).unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), path.is_symlink()), (&b"certificates"[..], false));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&other)), (0o644, 0o600));
        assert_eq!(fs::read(&other).unwrap(), b"other");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn one_process_holds_a_folder_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(&folder);
        let hold = place.hold().unwrap();
        assert!(place.is_held());
        let refused = place.hold().unwrap_err().to_string();
        assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
        assert!(place.share().unwrap().is_none());
        drop(hold);
        assert!(!place.is_held() && place.hold().is_ok());
        let shared = [place.share().unwrap(), place.share().unwrap()];
        assert!(shared.iter().all(Option::is_some));
        assert!(matches!(place.hold(), Err(PlaceError::InUse { .. })));
    }
}
