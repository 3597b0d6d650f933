//! Raw answers on local disk, sealed: what a crash or a full disk must not lose.
//!
//! An answer of the token endpoint exists once. Before anything leaves, room for it is reserved on the
//! disk; when it has come it is sealed, written into that room and synced, and only then looked at. A slot
//! is one file, named by the attempt or the flow; whether it holds a whole answer its checksum says. After
//! a commit the slot is kept as the family's newest answer and replaces the one before.

use crate::error::KeeperError;
use aws_lc_rs::digest::{SHA256, digest};
use nightlatch_domain::{
    id::{AttemptId, FamilyId, FlowId, TenantId},
    ports::files::{Files, OpenFile, Opening},
    sealed::{SealContext, Wrapped},
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Room for an answer: 64 KiB as it came are 86 KiB sealed, and then there is the context.
const SLOT_BYTES: usize = 160 * 1024;
const MAGIC: &[u8; 8] = b"NLSPOOL1";
const SUM_LEN: usize = 32;
const HEAD_LEN: usize = MAGIC.len() + size_of::<u32>() + SUM_LEN;

/// What an answer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "kebab-case")]
pub enum Asked {
    /// A refresh.
    Attempt(AttemptId),
    /// The exchange of a flow's code.
    Flow(FlowId),
}

/// A sealed raw answer with what it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpooledAnswer {
    /// The tenant.
    pub tenant: TenantId,
    /// What it answers.
    pub asked: Asked,
    /// The answer.
    pub answer: Wrapped,
    /// Its context.
    pub context: SealContext,
}

/// The folder of slots. Its calls block on the disk: async callers go through `Core::on_disk`.
#[derive(Debug, Clone)]
pub struct Spool {
    files: Arc<dyn Files>,
    directory: PathBuf,
}

/// Room for one answer.
#[derive(Debug)]
pub struct Slot {
    file: Box<dyn OpenFile>,
    path: PathBuf,
}

impl Spool {
    /// The spool in `directory`, which is made where it is missing.
    ///
    /// # Errors
    /// [`KeeperError::File`].
    pub fn open(files: &Arc<dyn Files>, directory: &Path) -> Result<Self, KeeperError> {
        files.make_folder(directory).map_err(KeeperError::file(directory))?;
        Ok(Self { files: Arc::clone(files), directory: directory.to_owned() })
    }

    /// Reserves room for an answer, on the disk and in its folder.
    ///
    /// # Errors
    /// [`KeeperError::SlotTaken`] where somebody else's answer may be on its way into it, and
    /// [`KeeperError::File`], for a full disk above all: then nothing is sent.
    pub fn reserve(&self, asked: Asked) -> Result<Slot, KeeperError> {
        let path = self.path(asked);
        let failed = KeeperError::file(&path);
        let opened = match self.files.open(&path, Opening::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(KeeperError::SlotTaken),
            other => other,
        };
        let reserved = opened.and_then(|file| {
            file.allocate(SLOT_BYTES as u64)?;
            file.sync_all()?;
            self.files.sync_folder(&self.directory)?;
            Ok(file)
        });
        let file = reserved.map_err(|error| {
            let _ = self.files.remove(&path);
            failed(error)
        })?;
        Ok(Slot { file, path })
    }

    /// Every slot that holds a whole answer. Damaged and empty ones hold none.
    ///
    /// # Errors
    /// [`KeeperError::File`] where the folder cannot be read.
    pub fn waiting(&self) -> Result<Vec<SpooledAnswer>, KeeperError> {
        let mut found = Vec::new();
        for path in self.slots()? {
            found.extend(self.find(&path)?);
        }
        Ok(found)
    }

    /// The answer in a slot; none where there is no slot, or no whole answer in it.
    ///
    /// # Errors
    /// [`KeeperError::File`] where it cannot be read.
    pub fn answer(&self, asked: Asked) -> Result<Option<SpooledAnswer>, KeeperError> {
        self.find(&self.path(asked))
    }

    /// Keeps a slot as its family's newest answer, in place of the one before.
    ///
    /// # Errors
    /// [`KeeperError::File`].
    pub fn keep(&self, asked: Asked, family: FamilyId) -> Result<(), KeeperError> {
        let path = self.path(asked);
        let kept = self.directory.join(format!("{family}.kept"));
        let put_away = self.shorten(&path).and_then(|()| self.files.rename(&path, &kept));
        match put_away {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(KeeperError::file(&kept)(error)),
            _ => Ok(()),
        }
    }

    /// A family's newest answer, where one was put away.
    ///
    /// # Errors
    /// [`KeeperError::File`] where it cannot be read.
    pub fn kept(&self, family: FamilyId) -> Result<Option<SpooledAnswer>, KeeperError> {
        self.find(&self.directory.join(format!("{family}.kept")))
    }

    /// Forgets a slot that holds nothing worth keeping.
    pub fn forget(&self, asked: Asked) {
        let _ = self.files.remove(&self.path(asked));
    }

    /// Forgets every slot that holds no whole answer: nothing that could still fill it lives.
    ///
    /// # Errors
    /// [`KeeperError::File`] where the folder cannot be read.
    pub fn forget_empty(&self) -> Result<(), KeeperError> {
        for path in self.slots()? {
            if self.find(&path)?.is_none() {
                let _ = self.files.remove(&path);
            }
        }
        Ok(())
    }

    /// Forgets the newest answer of a family whose credential a human removed.
    pub fn forget_family(&self, family: FamilyId) {
        let _ = self.files.remove(&self.directory.join(format!("{family}.kept")));
    }

    fn slots(&self) -> Result<Vec<PathBuf>, KeeperError> {
        self.files.list_ending(&self.directory, ".slot").map_err(KeeperError::file(&self.directory))
    }

    fn find(&self, path: &Path) -> Result<Option<SpooledAnswer>, KeeperError> {
        match self.files.open(path, Opening::Read).and_then(|file| file.read_all()) {
            // It may be put away just then.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {
                Ok(None)
            }
            other => Ok(whole(&other.map_err(KeeperError::file(path))?)),
        }
    }

    fn path(&self, asked: Asked) -> PathBuf {
        let name = match asked {
            Asked::Attempt(id) => id.to_string(),
            Asked::Flow(id) => id.to_string(),
        };
        self.directory.join(format!("{name}.slot"))
    }

    /// Gives back the room that the answer did not need.
    fn shorten(&self, path: &Path) -> io::Result<()> {
        let file = self.files.open(path, Opening::ReadWrite)?;
        let bytes = file.read_all()?;
        let len = bytes.get(MAGIC.len()..).and_then(|rest| rest.first_chunk::<4>());
        let len = len.ok_or(io::ErrorKind::UnexpectedEof)?;
        file.set_len(HEAD_LEN as u64 + u64::from(u32::from_be_bytes(*len)))
    }
}

impl Slot {
    /// Writes the answer and syncs it: durable when this returns.
    ///
    /// # Errors
    /// [`KeeperError::SlotTooSmall`], [`KeeperError::File`].
    pub fn write(&self, answer: &SpooledAnswer) -> Result<(), KeeperError> {
        let invalid = |_| KeeperError::file(&self.path)(io::ErrorKind::InvalidData.into());
        let json = serde_json::to_vec(answer).map_err(invalid)?;
        let len = u32::try_from(json.len()).map_err(|_| KeeperError::SlotTooSmall)?;
        if HEAD_LEN + json.len() > SLOT_BYTES {
            return Err(KeeperError::SlotTooSmall);
        }
        let sum = digest(&SHA256, &json);
        let bytes = [MAGIC.as_slice(), &len.to_be_bytes(), sum.as_ref(), &json].concat();
        let written = self.file.write_at(&bytes, 0).and_then(|()| self.file.sync_data());
        written.map_err(KeeperError::file(&self.path))
    }
}

fn whole(bytes: &[u8]) -> Option<SpooledAnswer> {
    let rest = bytes.strip_prefix(MAGIC.as_slice())?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<SUM_LEN>()?;
    let json = rest.get(..usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    if digest(&SHA256, json).as_ref() != sum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    //! A slot gives back what was written whole, and nothing else.

    use super::{Asked, HEAD_LEN, SLOT_BYTES, Spool, SpooledAnswer};
    use crate::SystemFiles;
    use nightlatch_domain::{
        clock::Timestamp,
        id::{AttemptId, FamilyId, TenantId},
        sealed::{SealContext, SecretKind, Wrapped},
    };
    use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

    fn open(folder: &Path) -> Spool {
        Spool::open(&(Arc::new(SystemFiles) as _), folder).unwrap()
    }

    fn answer(bytes: usize) -> SpooledAnswer {
        let tenant = TenantId::new(Timestamp::from_millis(1), [1; 10]);
        SpooledAnswer {
            tenant,
            asked: asked(),
            answer: Wrapped { format: 1, data_key: "k".into(), ciphertext: "c".repeat(bytes) },
            context: SealContext {
                tenant,
                kind: SecretKind::Answer,
                chain: None,
                family: None,
                family_number: None,
                connection: None,
                generation: 1,
                provider: None,
                client: None,
                token_endpoint: None,
                refresh_endpoint: None,
                revocation_endpoint: None,
                client_auth: None,
                hosts: Vec::new(),
            },
        }
    }

    fn asked() -> Asked {
        Asked::Attempt(AttemptId::new(Timestamp::from_millis(1), [2; 10]))
    }

    #[test]
    fn an_answer_is_found_again_and_an_empty_slot_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(&folder.path().join("spool"));
        let slot = spool.reserve(asked()).unwrap();
        assert_eq!(spool.waiting().unwrap(), []);
        slot.write(&answer(90 * 1024)).unwrap();
        assert_eq!(spool.waiting().unwrap(), [answer(90 * 1024)]);
        let family = FamilyId::new(Timestamp::from_millis(1), [3; 10]);
        spool.keep(asked(), family).unwrap();
        assert_eq!(spool.waiting().unwrap(), []);
        assert_eq!(spool.kept(family).unwrap(), Some(answer(90 * 1024)));
        spool.forget_family(family);
        assert_eq!(spool.kept(family).unwrap(), None);
    }

    #[test]
    fn a_reserved_slot_holds_its_room_before_anything_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let slot = open(folder.path()).reserve(asked()).unwrap();
        assert!(fs::metadata(&slot.path).unwrap().blocks() * 512 >= SLOT_BYTES as u64);
        assert!(slot.write(&answer(SLOT_BYTES)).is_err());
    }

    #[test]
    fn a_slot_that_is_reserved_again_keeps_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(folder.path());
        spool.reserve(asked()).unwrap().write(&answer(10)).unwrap();
        assert!(matches!(spool.reserve(asked()), Err(crate::KeeperError::SlotTaken)));
        assert_eq!(spool.waiting().unwrap(), [answer(10)]);
    }

    #[test]
    fn every_torn_write_reads_as_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(folder.path());
        let slot = spool.reserve(asked()).unwrap();
        slot.write(&answer(10)).unwrap();
        let whole = fs::read(&slot.path).unwrap();
        for at in [0, 5, 9, 20, HEAD_LEN + 3] {
            let mut torn = whole.clone();
            torn[at] ^= 0x55;
            fs::write(&slot.path, torn).unwrap();
            assert_eq!(spool.waiting().unwrap(), [], "{at}");
        }
    }
}
