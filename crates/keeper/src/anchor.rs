//! The keeper's own log: what was presented, and which generation is current, outside the database.
//!
//! A database can be restored from a backup, copied to another machine, or edited. Each of these puts
//! consumed refresh tokens back, and presenting one kills the family at strict providers. So the facts
//! that decide about presenting stand in a second place that no backup of the database contains: an
//! append-only file under the state folder, synced before a first byte leaves. Where database and log
//! disagree, the log wins and nothing is presented.
//!
//! The log is held with a lock for the life of the process: whoever holds it is the keeper that it names, and may
//! take over at once what that one left when it died. It records the keeper, the machine, the file system and
//! its own inode when it is made; a difference at start means that it was copied along, and vouches for
//! nothing. Rolled-back disks are not detected by it (that takes a witness on another machine).
//!
//! It also names the boot of the machine that it is written in. When a presentation was, it says by the boot clock, which
//! begins anew with the machine: an old reading may lie a few seconds back by chance, and a token whose grace is long over
//! would be presented again. So in another boot, and where nobody knows which it is, no presentation from before has one.

mod place;
mod presented;
mod record;
mod rows;

pub use record::{Head, Presentation};

use crate::error::KeeperError;
use nightlatch_domain::{
    clock::Timestamp,
    id::{
        AttemptId, CallId, ChainId, ConnectionId, FamilyId, FlowId, InstallationId, KeeperId, OwnerId,
        TenantId,
    },
    ports::{
        files::{FileIdentity, Files, OpenFile, Opening},
        store::FeedMark,
    },
};
use place::{LOG, Place};
use record::{Facts, Identity, Record};
use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// The log is written anew when it has grown past this and mostly says what no longer matters.
const COMPACT_ABOVE_BYTES: u64 = 1 << 20;
/// So much is read or written of the log at once: it is never in memory as a whole.
const BUNDLE_BYTES: usize = 64 << 10;
/// The longest line names every owner that is remembered: 2 MiB.
const LINE_MAX_BYTES: usize = 8 << 20;
/// A damaged or foreign file is not read into memory without bound.
const LOG_MAX_BYTES: u64 = 1 << 30;

/// How the log was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There was none: it vouches for nothing that is older than itself.
    Fresh,
    /// It is the one that this machine wrote.
    Own,
    /// It was copied, or the machine was. It vouches for nothing until a human connects again.
    Moved {
        /// What differs, in a word of ours.
        reason: &'static str,
    },
}

/// The log. Its calls block on the disk: async callers go through `Core::on_disk`.
#[derive(Debug)]
pub struct AnchorLog {
    inner: Mutex<Inner>,
    /// What the log says, for those who only ask: they never wait for the disk.
    facts: Arc<RwLock<Facts>>,
}

#[derive(Debug)]
struct Inner {
    files: Arc<dyn Files>,
    place: Place,
    file: Box<dyn OpenFile>,
    bytes: u64,
    /// Below this it is not even asked whether writing the log anew is worth it.
    compact_above: u64,
    facts: Arc<RwLock<Facts>>,
    /// Which boot of the machine this is.
    boot: Option<String>,
    poisoned: bool,
}

/// Whose log it is to be.
#[derive(Debug, Clone, Copy)]
pub struct Whose<'a> {
    /// The installation.
    pub installation: InstallationId,
    /// This machine.
    pub machine: &'a str,
    /// Which boot of it this is; none where the system does not tell.
    pub boot: Option<&'a str>,
    /// Whether it is the installation's only keeper on this machine.
    pub alone: bool,
    /// The keeper, where there is no log yet.
    pub fresh: KeeperId,
}

impl AnchorLog {
    /// Opens the log that a keeper finds below the installation's `folder`, makes all that is missing, and holds its
    /// lock.
    ///
    /// # Errors
    /// [`KeeperError::AnchorHeld`] while another process holds it, [`KeeperError::AnchorDamaged`] for a
    /// bad record that is not the torn last one, [`KeeperError::File`] for anything of the system.
    pub fn open(
        files: &Arc<dyn Files>,
        folder: &Path,
        whose: Whose<'_>,
    ) -> Result<(Self, Found), KeeperError> {
        let place = place::take(&**files, folder, whose.alone, whose.fresh)?;
        let path = place.folder.join(LOG);
        let file = open_file(&**files, &path)?;
        let (mut facts, whole_bytes) = read(&*file, &path)?;
        cut(&*file, whole_bytes).map_err(KeeperError::file(&path))?;
        let own = identity(&*file, whose.installation, place.keeper, (whose.machine, whose.boot));
        let own = own.map_err(KeeperError::file(&path))?;
        let found = compare(facts.identity.as_ref(), &own);
        let is_of_now = |written: &Identity| written.keeper.is_some() && written.boot == own.boot;
        let is_of_now = facts.identity.as_ref().is_some_and(is_of_now);
        facts.are_read_in(own.boot.as_deref());
        let facts = Arc::new(RwLock::new(facts));
        let shared = Arc::clone(&facts);
        let compact_above = COMPACT_ABOVE_BYTES;
        let bytes = whole_bytes;
        let (files, boot) = (Arc::clone(files), own.boot.clone());
        let mut inner = Inner { files, place, file, bytes, compact_above, facts, boot, poisoned: false };
        match found {
            Found::Fresh => {
                inner.append(Record::Identity(own))?;
                inner.sync_directory()?;
            }
            Found::Own => {
                // Of another boot, or from before there was more than one keeper.
                if !is_of_now {
                    inner.append(Record::Identity(own))?;
                }
                inner.compact_if_worth_it()?;
            }
            Found::Moved { .. } => {}
        }
        Ok((Self { inner: Mutex::new(inner), facts: shared }, found))
    }

    /// Anchors a presentation: durable when this returns.
    ///
    /// # Errors
    /// [`KeeperError::PresentedBefore`] where the generation stands as presented and was not withdrawn,
    /// [`KeeperError::OlderEra`] where this log acts in a later era already; otherwise the presentation is not in the log.
    pub fn present(&self, one: Presentation, era: u64) -> Result<(), KeeperError> {
        let mut inner = self.inner();
        inner.refuse_older(era)?;
        let below = |head: &Head| head.family == one.family && one.generation < head.generation;
        let refused = {
            let facts = inner.facts();
            let known = facts.presented.has(one.family, one.generation);
            let known = known || facts.taken.has(one.family, one.generation);
            known || facts.heads.get(&one.chain).is_some_and(below)
        };
        // I1, I2: neither a second time nor below the anchored head, whatever the database says.
        if refused {
            return Err(KeeperError::PresentedBefore);
        }
        inner.append(Record::Present(one))
    }

    /// Anchors the one retry of a generation whose answer was lost: durable when this returns.
    ///
    /// # Errors
    /// [`KeeperError::PresentedBefore`] where this log knows of such a retry already, or of a later head; otherwise
    /// it is not in the log.
    pub fn present_again(&self, one: Presentation, era: u64) -> Result<(), KeeperError> {
        let mut inner = self.inner();
        inner.refuse_older(era)?;
        let below = |head: &Head| head.family == one.family && one.generation < head.generation;
        let refused = {
            let facts = inner.facts();
            let known = facts.again.has(one.family, one.generation);
            known || facts.heads.get(&one.chain).is_some_and(below)
        };
        if refused {
            return Err(KeeperError::PresentedBefore);
        }
        inner.append(Record::Again(one))
    }

    /// Anchors that claims under these owners are this log's, before the first is asked for.
    ///
    /// # Errors
    /// As [`AnchorLog::set_head`].
    pub fn draw(&self, owners: Vec<OwnerId>) -> Result<(), KeeperError> {
        let mut inner = self.inner();
        inner.append(Record::Owners { owners })?;
        inner.compact_if_worth_it()
    }

    /// Withdraws a presentation of which it is certain that it was none.
    ///
    /// # Errors
    /// As [`AnchorLog::set_head`].
    pub fn void(&self, attempt: AttemptId) -> Result<(), KeeperError> {
        self.inner().append(Record::Void { attempt })
    }

    /// Anchors a chain's head. It never goes back: neither within a family, nor to a family that is not
    /// about to begin; a refresh that is overtaken by a reconnect says its word too late.
    ///
    /// # Errors
    /// [`KeeperError::File`] where it could not be written, and [`KeeperError::AnchorPoisoned`] where
    /// what was half written could not be cut off again.
    pub fn set_head(&self, chain: ChainId, head: Head) -> Result<(), KeeperError> {
        let mut inner = self.inner();
        let is_newer = |facts: &Facts| match facts.heads.get(&chain) {
            None => true,
            Some(anchored) if anchored.family == head.family => anchored.generation < head.generation,
            Some(_) => facts.redeems.contains_key(&head.family),
        };
        let is_newer = is_newer(&inner.facts());
        if !is_newer {
            return Ok(());
        }
        inner.append(Record::Head { chain, head })?;
        inner.compact_if_worth_it()
    }

    /// Anchors heads that another's word stands for: a human's, or that of the logs beside this one, with what others may
    /// have presented of them. What this log knew of these heads, as it was seen, gives way; what it knows to be presented
    /// stays.
    ///
    /// # Errors
    /// As [`AnchorLog::set_head`].
    pub fn take_over(
        &self,
        heads: &[(ChainId, Option<Head>, Head)],
        presented: &[Presentation],
    ) -> Result<(), KeeperError> {
        let mut inner = self.inner();
        let records = {
            let facts = inner.facts();
            // What this keeper itself anchored meanwhile stays.
            let is_new = |(chain, seen, head): &&(ChainId, Option<Head>, Head)| {
                let anchored = facts.heads.get(chain).copied();
                anchored == *seen && anchored != Some(*head)
            };
            let heads = heads.iter().filter(is_new);
            let heads = heads.map(|(chain, _, head)| Record::Head { chain: *chain, head: *head });
            heads.chain(presented.iter().copied().map(Record::Taken)).collect()
        };
        inner.append_all(records)?;
        inner.compact_if_worth_it()
    }

    /// Anchors that a flow's code is about to be redeemed for a family.
    ///
    /// # Errors
    /// As [`AnchorLog::set_head`].
    pub fn redeem(&self, flow: FlowId, family: FamilyId) -> Result<(), KeeperError> {
        self.inner().append(Record::Redeem { flow, family })
    }

    /// Anchors the generation of a static secret.
    ///
    /// # Errors
    /// As [`AnchorLog::set_head`].
    pub fn set_static(&self, connection: ConnectionId, generation: u64) -> Result<(), KeeperError> {
        let mut inner = self.inner();
        let is_there = inner.facts().statics.get(&connection) == Some(&generation);
        if is_there {
            return Ok(());
        }
        inner.append(Record::Static { connection, generation })
    }

    /// Anchors that a human removed a connection.
    ///
    /// # Errors
    /// As [`AnchorLog::set_head`].
    pub fn end(&self, tenant: TenantId, connection: ConnectionId) -> Result<(), KeeperError> {
        self.inner().append(Record::Ended { connection, tenant: Some(tenant) })
    }

    /// From now on nothing of an older era is presented.
    ///
    /// # Errors
    /// As [`AnchorLog::set_head`].
    pub fn enter(&self, era: u64) -> Result<(), KeeperError> {
        self.inner().append(Record::Era { era })
    }

    /// Remembers the last move of the feed's counter row that was seen.
    ///
    /// # Errors
    /// As [`AnchorLog::set_head`].
    pub fn remember(&self, mark: FeedMark) -> Result<(), KeeperError> {
        let mut inner = self.inner();
        inner.append(Record::Mark { mark })?;
        inner.compact_if_worth_it()
    }

    /// Notes that this log knows the history of its installation.
    ///
    /// # Errors
    /// As [`AnchorLog::set_head`].
    pub fn vouch(&self) -> Result<(), KeeperError> {
        self.inner().append(Record::Vouched)
    }

    /// Notes beside whom this log acts.
    ///
    /// # Errors
    /// As [`AnchorLog::set_head`].
    pub fn note_keepers(&self, keepers: Vec<KeeperId>) -> Result<(), KeeperError> {
        self.inner().append(Record::Keepers { keepers })
    }

    /// The keepers beside whom this log last acted.
    #[must_use]
    pub fn keepers(&self) -> Vec<KeeperId> {
        self.facts().keepers.clone()
    }

    /// The newest era that this log acted in; 0 where it knows of none.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.facts().era
    }

    /// The last move of the feed's counter row that this log remembers.
    #[must_use]
    pub fn mark(&self) -> Option<FeedMark> {
        self.facts().mark
    }

    /// Whether this log knows the history of its installation.
    #[must_use]
    pub fn is_vouched(&self) -> bool {
        self.facts().vouched
    }

    /// The connections whose removal this log knows.
    #[must_use]
    pub fn ended(&self) -> Vec<(TenantId, ConnectionId)> {
        let facts = self.facts();
        facts.ended.iter().filter_map(|(id, tenant)| Some(((*tenant)?, *id))).collect()
    }

    /// Anchors that a call's mandate is acted on, once: durable when this returns.
    ///
    /// # Errors
    /// [`KeeperError::MandateSpent`] where it was before, or could have been before this log began; otherwise as
    /// [`AnchorLog::set_head`].
    pub fn spend(&self, call: CallId, until: Timestamp) -> Result<(), KeeperError> {
        let mut inner = self.inner();
        let is_new = {
            let facts = inner.facts();
            let is_known_time = facts.mandates_since.is_some_and(|since| since <= call.time());
            is_known_time && !facts.mandates.contains_key(&call)
        };
        if !is_new {
            return Err(KeeperError::MandateSpent);
        }
        inner.append(Record::Mandate { call, until })?;
        inner.compact_if_worth_it()
    }

    /// From this time on the log has every mandate that is acted on: of older ones nobody knows.
    ///
    /// # Errors
    /// As [`AnchorLog::set_head`].
    pub fn begin_mandates(&self, at: Timestamp) -> Result<(), KeeperError> {
        self.inner().append(Record::MandatesSince { at })
    }

    /// Whether it is known since when the log has every mandate.
    #[must_use]
    pub fn has_mandates(&self) -> bool {
        self.facts().mandates_since.is_some()
    }

    /// Takes a moved log over: from now on it vouches for nothing that it knew, and is this machine's.
    ///
    /// # Errors
    /// As [`AnchorLog::set_head`].
    pub fn settle_here(&self, installation: InstallationId, machine: &str) -> Result<(), KeeperError> {
        let mut inner = self.inner();
        inner.append(Record::DistrustAll)?;
        let here = (machine, inner.boot.as_deref());
        let own = identity(&*inner.file, installation, inner.place.keeper, here);
        let own = own.map_err(KeeperError::file(&inner.place.folder))?;
        inner.append(Record::Identity(own))
    }

    /// The keeper that whoever holds this log is.
    #[must_use]
    pub fn keeper(&self) -> KeeperId {
        self.inner().place.keeper
    }

    /// The anchored head of a chain.
    #[must_use]
    pub fn head(&self, chain: ChainId) -> Option<Head> {
        self.facts().heads.get(&chain).copied()
    }

    /// The presentation of a generation, if it stands.
    #[must_use]
    pub fn presentation(&self, family: FamilyId, generation: u64) -> Option<Presentation> {
        self.facts().presented.get(family, generation)
    }

    /// The retry of a generation, if it stands.
    #[must_use]
    pub fn retry(&self, family: FamilyId, generation: u64) -> Option<Presentation> {
        self.facts().again.get(family, generation)
    }

    /// What a keeper that was forgotten may have presented of a generation.
    #[must_use]
    pub fn taken(&self, family: FamilyId, generation: u64) -> Option<Presentation> {
        self.facts().taken.get(family, generation)
    }

    /// Whether a claim under this owner is this log's.
    #[must_use]
    pub fn drew(&self, owner: OwnerId) -> bool {
        self.facts().owners.contains(&owner)
    }

    /// The chains after that one of which a presentation is known, in order, at most so many.
    #[must_use]
    pub fn known_after(&self, after: Option<ChainId>, limit: usize) -> Vec<(TenantId, ChainId)> {
        self.facts().known_after(after).take(limit).map(|one| (one.tenant, one.chain)).collect()
    }

    /// The flow that a family was redeemed for.
    #[must_use]
    pub fn flow_of(&self, family: FamilyId) -> Option<FlowId> {
        self.facts().redeems.get(&family).copied()
    }

    /// The anchored generation of a static secret.
    #[must_use]
    pub fn static_generation(&self, connection: ConnectionId) -> Option<u64> {
        self.facts().statics.get(&connection).copied()
    }

    /// Whether a human removed the connection.
    #[must_use]
    pub fn has_ended(&self, connection: ConnectionId) -> bool {
        self.facts().ended.contains_key(&connection)
    }

    /// The newest presentation of a chain.
    #[must_use]
    pub fn newest_of(&self, chain: ChainId) -> Option<Presentation> {
        self.facts().newest_of(chain)
    }

    fn facts(&self) -> RwLockReadGuard<'_, Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn facts(&self) -> RwLockReadGuard<'_, Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts_mut(&self) -> RwLockWriteGuard<'_, Facts> {
        self.facts.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse_older(&self, era: u64) -> Result<(), KeeperError> {
        if era < self.facts().era { Err(KeeperError::OlderEra) } else { Ok(()) }
    }

    /// Durable when this returns; otherwise the record is not in the log, or nothing is written to it
    /// any more.
    fn append(&mut self, record: Record) -> Result<(), KeeperError> {
        self.append_all(vec![record])
    }

    /// The same for several, by one write.
    fn append_all(&mut self, records: Vec<Record>) -> Result<(), KeeperError> {
        if self.poisoned {
            return Err(KeeperError::AnchorPoisoned);
        }
        let path = self.place.folder.join(LOG);
        let unwritable = || KeeperError::file(&path)(io::ErrorKind::InvalidData.into());
        let lines = records.iter().map(Record::line).collect::<Option<String>>().ok_or_else(unwritable)?;
        let written = self.file.append(lines.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // A half-written line, or a whole one that was never synced, must not speak later.
            self.poisoned = cut(&*self.file, self.bytes).is_err();
            return Err(KeeperError::file(&path)(error));
        }
        self.bytes += lines.len() as u64;
        let mut facts = self.facts_mut();
        records.into_iter().for_each(|record| facts.apply(record));
        Ok(())
    }

    /// Writes the log anew beside the old one and puts it in its place by rename.
    fn compact_if_worth_it(&mut self) -> Result<(), KeeperError> {
        if self.bytes < self.compact_above {
            return Ok(());
        }
        // What is forgotten decides nothing any more, whether the log is written anew or not.
        self.facts_mut().forget_the_past();
        let lengths = |facts: &Facts| {
            facts.lines().filter_map(|record| record.line()).map(|line| line.len() as u64).sum()
        };
        let live: u64 = lengths(&self.facts());
        self.compact_above = live.saturating_mul(2).max(COMPACT_ABOVE_BYTES);
        if self.bytes < self.compact_above {
            return Ok(());
        }
        self.rewrite()
    }

    fn rewrite(&mut self) -> Result<(), KeeperError> {
        let path = self.place.folder.join(LOG);
        let beside = self.place.folder.join("anchors.new");
        let failed = |error| KeeperError::file(&beside)(error);
        let _ = self.files.remove(&beside);
        let fresh = open_file(&*self.files, &beside)?;
        let inode = fresh.identity().map_err(failed)?.inode;
        let bytes = write_all(&*fresh, &self.facts(), inode).map_err(failed)?;
        fresh.sync_all().map_err(failed)?;
        self.files.rename(&beside, &path).map_err(failed)?;
        // From here on the old file has no name: what were written to it would be lost.
        (self.file, self.bytes) = (fresh, bytes);
        if let Some(identity) = &mut self.facts_mut().identity {
            identity.inode = inode;
        }
        let synced = self.sync_directory();
        self.poisoned |= synced.is_err();
        synced
    }

    fn sync_directory(&self) -> Result<(), KeeperError> {
        let folder = &self.place.folder;
        self.files.sync_folder(folder).map_err(KeeperError::file(folder))
    }
}

/// Writes every line that says what `facts` say, a bundle at a time; how many bytes they are.
fn write_all(file: &dyn OpenFile, facts: &Facts, inode: u64) -> io::Result<u64> {
    let (mut bundle, mut bytes) = (String::new(), 0);
    for record in facts.lines().map(|record| at_inode(record, inode)) {
        let line = record.line().ok_or(io::ErrorKind::InvalidData)?;
        bytes += line.len() as u64;
        bundle.push_str(&line);
        if bundle.len() >= BUNDLE_BYTES {
            file.append(bundle.as_bytes())?;
            bundle.clear();
        }
    }
    file.append(bundle.as_bytes())?;
    Ok(bytes)
}

fn at_inode(record: Record, inode: u64) -> Record {
    match record {
        Record::Identity(identity) => Record::Identity(Identity { inode, ..identity }),
        other => other,
    }
}

fn open_file(files: &dyn Files, path: &Path) -> Result<Box<dyn OpenFile>, KeeperError> {
    files.open(path, Opening::Append).map_err(KeeperError::file(path))
}

/// What the whole lines say, and how many bytes they take: the rest is a torn tail.
fn read(file: &dyn OpenFile, path: &Path) -> Result<(Facts, u64), KeeperError> {
    let size = file.size_bytes().map_err(KeeperError::file(path))?;
    let damaged = |line| KeeperError::AnchorDamaged { path: path.to_owned(), line };
    if size > LOG_MAX_BYTES {
        return Err(damaged(0));
    }
    let (mut facts, mut whole_bytes, mut number) = (Facts::default(), 0, 0);
    let (mut bundle, mut unread, mut offset) = (vec![0; BUNDLE_BYTES], Vec::new(), 0);
    loop {
        if unread.len() > LINE_MAX_BYTES {
            return Err(damaged(number + 1));
        }
        let read = file.read_at(&mut bundle, offset).map_err(KeeperError::file(path))?;
        offset += read as u64;
        unread.extend_from_slice(bundle.get(..read).unwrap_or_default());
        let mut taken = 0;
        for line in unread.split_inclusive(|byte| *byte == b'\n') {
            // The rest of it is yet to be read, or was never written.
            let Some(text) = line.strip_suffix(b"\n") else { break };
            number += 1;
            match std::str::from_utf8(text).ok().and_then(Record::read) {
                Some(record) => facts.apply(record),
                None if whole_bytes + line.len() as u64 == size => return Ok((facts, whole_bytes)),
                None => return Err(damaged(number)),
            }
            whole_bytes += line.len() as u64;
            taken += line.len();
        }
        unread.drain(..taken);
        if read == 0 {
            return Ok((facts, whole_bytes));
        }
    }
}

fn cut(file: &dyn OpenFile, bytes: u64) -> io::Result<()> {
    if file.size_bytes()? != bytes {
        file.set_len(bytes)?;
        file.sync_all()?;
    }
    Ok(())
}

fn identity(
    file: &dyn OpenFile,
    installation: InstallationId,
    keeper: KeeperId,
    (machine, boot): (&str, Option<&str>),
) -> io::Result<Identity> {
    let FileIdentity { filesystem, inode } = file.identity()?;
    let (machine, boot) = (machine.to_owned(), boot.map(str::to_owned));
    Ok(Identity { installation, keeper: Some(keeper), machine, boot, filesystem, inode })
}

fn compare(written: Option<&Identity>, own: &Identity) -> Found {
    // A log that lost its very first line to a crash was as good as never made.
    let Some(written) = written else { return Found::Fresh };
    let differs = |reason| Found::Moved { reason };
    match () {
        () if written.installation != own.installation => differs("log-of-another-installation"),
        () if written.keeper.is_some() && written.keeper != own.keeper => differs("log-of-another-keeper"),
        () if written.machine != own.machine => differs("machine-changed"),
        () if written.filesystem != own.filesystem => differs("file-system-changed"),
        () if written.inode != own.inode => differs("log-copied"),
        () => Found::Own,
    }
}

#[cfg(test)]
mod tests;
