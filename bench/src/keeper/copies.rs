//! What lies beside the database of a keeper that keeps as many chains as there are copies of its one chain, each of which it
//! refreshed once: its log, and in the spool a name for each family's newest answer. The answers themselves are empty: a keeper
//! that starts reads names.
//!
//! What writes the copies into the database (`bench/chains.py`) gives the last characters of an id to the copy's number; here
//! the same is done, so that the log knows every copy by the keeper's own word. It is written by the log itself, but for the
//! syncs, of which there would be millions.

use crate::{Fault, Ground, running::MACHINE};
use nightlatch_domain::{
    clock::Timestamp,
    id::{AttemptId, ChainId, FamilyId, InstallationId, KeeperId},
    ports::{
        files::{FileIdentity, Files, Held, OpenFile, Opening},
        store::ChainView,
    },
};
use nightlatch_keeper::{
    SystemFiles,
    anchor::{AnchorLog, Found, Head, Presentation, Whose},
    boot_id,
};
use serde_json::{Value, json};
use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

/// Characters of an id that are the copy's number.
const NUMBER: usize = 10;

pub(crate) async fn anchor(ground: &Ground, chains: usize) -> Result<Value, Fault> {
    let store = &ground.stores.keeper;
    let soonest = store.due(Timestamp::from_millis(i64::MAX), 1).await?;
    let (tenant, chain, _) = soonest.first().copied().ok_or("there is no chain to copy")?;
    let view = store.chain(tenant, chain).await?.ok_or("the chain to copy cannot be read")?;
    let era = store.standing().await?.era;
    let installation = store.installation(ground.id(InstallationId::new)?).await?.id;
    let fresh = ground.id(KeeperId::new)?;
    let folder = ground.folder.join("state").join(installation.to_string());
    let files: Arc<dyn Files> = Arc::new(Unsynced);
    let boot = boot_id();
    let (boot, alone) = (boot.as_deref(), ground.stores.alone);
    let whose = Whose { installation, machine: MACHINE, boot, alone, fresh };
    let (log, found) = AnchorLog::open(&files, &folder, whose)?;
    if found != Found::Own {
        return Err(format!("the log is not the keeper's own: {found:?}").into());
    }
    let spool = ground.folder.join("spool");
    for number in 0..chains {
        let (presented, head) = copied(&view, number)?;
        std::fs::File::create(spool.join(format!("{}.kept", head.family)))?;
        log.present(presented, era)?;
        log.set_head(presented.chain, head)?;
    }
    Ok(json!({}))
}

/// The presentation that brought a copy to its head, and the head.
fn copied(view: &ChainView, number: usize) -> Result<(Presentation, Head), Fault> {
    let family: FamilyId = copy_of(&view.family.id, number)?;
    let attempt: AttemptId =
        copy_of(&view.head.attempt.ok_or("the chain to copy was not refreshed")?, number)?;
    let chain: ChainId = copy_of(&view.chain.id, number)?;
    let (tenant, generation) = (view.chain.tenant, view.head.number);
    let presented = Presentation { tenant, chain, family, generation: generation - 1, attempt, boot: None };
    Ok((presented, Head { family, generation }))
}

fn copy_of<T: FromStr<Err: Into<Fault>>>(id: &impl Display, number: usize) -> Result<T, Fault> {
    let id = id.to_string();
    let kept = id.len().checked_sub(NUMBER).and_then(|kept| id.get(..kept)).ok_or("an id is too short")?;
    format!("{kept}{number:0NUMBER$}").parse().map_err(Into::into)
}

/// This machine's files, which are never synced.
#[derive(Debug)]
struct Unsynced;

impl Files for Unsynced {
    fn open(&self, path: &Path, how: Opening) -> io::Result<Box<dyn OpenFile>> {
        Ok(Box::new(UnsyncedFile(SystemFiles.open(path, how)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemFiles.remove(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        SystemFiles.list(folder)
    }

    fn list_ending(&self, folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
        SystemFiles.list_ending(folder, ending)
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        SystemFiles.make_folder(folder)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn hold(&self, lock: &Path) -> io::Result<Option<Held>> {
        SystemFiles.hold(lock)
    }
}

#[derive(Debug)]
struct UnsyncedFile(Box<dyn OpenFile>);

impl OpenFile for UnsyncedFile {
    fn read_all(&self) -> io::Result<Vec<u8>> {
        self.0.read_all()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn size_bytes(&self) -> io::Result<u64> {
        self.0.size_bytes()
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        self.0.identity()
    }
}
