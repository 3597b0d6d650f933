//! One key in one file: two lines, `nightlatch key v1 PURPOSE` and the key in base64url.
//!
//! The purpose is in the file, so that files that were mixed up are noticed before they are used. A
//! file is written beside its place, synced, and then linked into it: it is there whole or not at all,
//! and a link never replaces what is there, so no race and no retry can overwrite a key. Whoever writes has the folder
//! alone meanwhile: of two programs that make the same key at once, one takes the other's.

use crate::CustodyError;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    process::geteuid,
};
use std::{
    fs::{DirBuilder, File, OpenOptions, remove_file, rename},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Far more than any key of ours; a file that is longer is none.
pub(super) const KEY_MAX_BYTES: u64 = 16 * 1024;
const HEADER: &str = "nightlatch key v1 ";

/// A key file that may or may not be there.
pub(super) struct KeyFile {
    path: PathBuf,
    purpose: &'static str,
}

impl KeyFile {
    pub(super) fn new(folder: &Path, name: &str, purpose: &'static str) -> Self {
        Self { path: folder.join(name), purpose }
    }

    /// The key in the file; where there is no file, the one that `fresh` makes, if that is allowed.
    pub(super) fn load_or_create(
        &self,
        fresh_allowed: bool,
        fresh: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, CustodyError>,
    ) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        if let Some(key) = self.load()? {
            return Ok(key);
        }
        if !fresh_allowed {
            return Err(CustodyError::KeyMissing { path: self.path.clone() });
        }
        self.create(&fresh()?)?;
        self.load()?.ok_or_else(|| CustodyError::KeyMissing { path: self.path.clone() })
    }

    fn load(&self) -> Result<Option<Zeroizing<Vec<u8>>>, CustodyError> {
        let Some(text) = read_private(&self.path, KEY_MAX_BYTES)? else { return Ok(None) };
        self.parse(&text).map(Some).ok_or_else(|| CustodyError::KeyFormat { path: self.path.clone() })
    }

    fn parse(&self, text: &str) -> Option<Zeroizing<Vec<u8>>> {
        let key = text.strip_prefix(HEADER)?.strip_prefix(self.purpose)?.strip_prefix('\n')?;
        URL_SAFE_NO_PAD.decode(key.strip_suffix('\n')?).ok().map(Zeroizing::new)
    }

    fn create(&self, key: &[u8]) -> Result<(), CustodyError> {
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(key));
        let text = Zeroizing::new([HEADER, self.purpose, "\n", encoded.as_str(), "\n"].concat());
        write_private(&self.path, text.as_bytes())
    }
}

/// A folder that only its owner enters.
pub(super) fn private_folder(path: &Path) -> Result<(), CustodyError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| failed(path, source))
}

/// A file's text; none where there is no file. Refuses what others can read or own, and what is longer than
/// `max_bytes`: half a file is not what was written.
pub(super) fn read_private(path: &Path, max_bytes: u64) -> Result<Option<Zeroizing<String>>, CustodyError> {
    // No link is followed: whoever can place one must not choose what is read.
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(path, source)),
    };
    let length = check_private(path, &file)?;
    // Room for all of it at once: a string that grows leaves its earlier copies behind.
    let mut text = Zeroizing::new(String::with_capacity(length.min(max_bytes) as usize + 1));
    file.take(max_bytes + 1).read_to_string(&mut text).map_err(|source| failed(path, source))?;
    if text.len() as u64 > max_bytes {
        return Err(CustodyError::KeyFormat { path: path.to_owned() });
    }
    Ok(Some(text))
}

/// The length of a file that is for its owner only.
fn check_private(path: &Path, file: &File) -> Result<u64, CustodyError> {
    let facts = file.metadata().map_err(|source| failed(path, source))?;
    let mode = facts.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(CustodyError::KeyExposed { path: path.to_owned(), mode });
    }
    if facts.uid() != geteuid().as_raw() {
        return Err(CustodyError::KeyForeign { path: path.to_owned(), uid: facts.uid() });
    }
    Ok(facts.len())
}

/// Writes a file that is not there yet, whole and durable, or leaves the one that is.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), CustodyError> {
    let _alone = alone_beside(path).map_err(|source| failed(path, source))?;
    let draft = path.with_extension("draft");
    let written = draft_file(&draft, bytes).and_then(|()| link_into_place(&draft, path));
    let removed = remove_file(&draft);
    written.and(removed).map_err(|source| failed(path, source))?;
    sync_folder(path).map_err(|source| failed(path, source))
}

/// Writes a file whole and durable, whatever was there. Never for a key: only for what a key can make again.
pub(super) fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), CustodyError> {
    let _alone = alone_beside(path).map_err(|source| failed(path, source))?;
    let draft = path.with_extension("draft");
    let written = draft_file(&draft, bytes).and_then(|()| rename(&draft, path));
    written.and_then(|()| sync_folder(path)).map_err(|source| failed(path, source))
}

/// The folder of a file, which nobody else writes into as long as this lives: drafts have one name.
fn alone_beside(path: &Path) -> io::Result<Option<File>> {
    let Some(folder) = path.parent() else { return Ok(None) };
    let folder = File::open(folder)?;
    flock(&folder, FlockOperation::LockExclusive)?;
    Ok(Some(folder))
}

fn draft_file(draft: &Path, bytes: &[u8]) -> io::Result<()> {
    match remove_file(draft) {
        Err(other) if other.kind() != io::ErrorKind::NotFound => return Err(other),
        _ => {}
    }
    let mode = Mode::RUSR.union(Mode::WUSR).as_raw_mode();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn link_into_place(draft: &Path, path: &Path) -> io::Result<()> {
    match std::fs::hard_link(draft, path) {
        Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn failed(path: &Path, source: io::Error) -> CustodyError {
    CustodyError::KeyFile { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
