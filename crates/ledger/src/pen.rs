//! The writing thread: takes all that is queued, writes it as one batch, answers who waits.

use crate::{
    LedgerError,
    alarms::Alarms,
    chain::Link,
    disk::Disk,
    meters::Meters,
    record::{Entry, Record},
    writer::Writer,
};
use nightlatch_domain::clock::Clock;
use std::{
    collections::VecDeque,
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Receiver},
};
use tokio::{sync::oneshot, time::Instant};

/// Records of one write.
const BATCH_MAX_RECORDS: usize = 512;

/// What the thread is asked for.
pub(crate) enum Command {
    /// Write an entry.
    Write(Box<Write>),
    /// Wait for the disk and name the last record.
    Head(Reply<Link>),
    /// The same, and end.
    Close(Reply<Link>),
}

/// Who waits for an answer.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, LedgerError>>;

/// An entry, and who waits for its number.
pub(crate) struct Write {
    pub(crate) entry: Entry,
    /// Whether the answer waits for the disk.
    pub(crate) durable: bool,
    pub(crate) reply: Reply<u64>,
}

/// What the writing thread holds.
pub(crate) struct Pen<D> {
    pub(crate) writer: Writer<D>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) alarms: Arc<Mutex<Alarms>>,
    pub(crate) meters: Arc<Meters>,
    /// Held as long as the thread writes.
    pub(crate) lock: File,
}

impl<D: Disk> Pen<D> {
    /// Runs until it is closed or the last handle is gone.
    pub(crate) fn run(mut self, commands: &Receiver<Vec<Command>>) {
        let mut queued = VecDeque::new();
        while let Ok(bundle) = commands.recv() {
            queued.extend(bundle);
            while !queued.is_empty() {
                queued.extend(commands.try_iter().flatten());
                let batch: Vec<_> = queued.drain(..queued.len().min(BATCH_MAX_RECORDS)).collect();
                let count = batch.len();
                let closed = self.carry_out(batch);
                self.meters.are_done(count);
                if let Some((reply, synced)) = closed {
                    // The lock goes before the answer, so that whoever waited can open again.
                    drop(self.lock);
                    let _ = reply.send(synced);
                    return;
                }
            }
        }
        // The last handle went without `close`; what was queued is in the file.
        let _ = self.sync();
    }

    /// Carries commands out in their order, what is to be written together as one write. Answers whom to tell of the
    /// end, if they ask for it.
    fn carry_out(&mut self, batch: Vec<Command>) -> Option<(Reply<Link>, Result<Link, LedgerError>)> {
        let mut writes = Vec::with_capacity(batch.len());
        for command in batch {
            match command {
                Command::Write(write) => writes.push(*write),
                Command::Head(reply) => {
                    self.write(std::mem::take(&mut writes));
                    let _ = reply.send(self.sync());
                }
                Command::Close(reply) => {
                    self.write(writes);
                    return Some((reply, self.sync()));
                }
            }
        }
        self.write(writes);
        None
    }

    fn write(&mut self, writes: Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        let (entries, waiting): (Vec<_>, Vec<_>) =
            writes.into_iter().map(|write| (write.entry, (write.durable, write.reply))).unzip();
        let records = match self.writer.append(self.clock.now(), entries) {
            Ok(records) => records,
            Err(error) => {
                return waiting.into_iter().for_each(|(_, reply)| drop(reply.send(Err(error.clone()))));
            }
        };
        self.note_alarms(&records);
        self.acknowledge(records.iter().map(|record| record.seq).zip(waiting));
    }

    /// Reads are answered now, the others after one sync for all of them.
    fn acknowledge(&mut self, written: impl Iterator<Item = (u64, (bool, Reply<u64>))>) {
        let mut durable = Vec::new();
        for (seq, (waits, reply)) in written {
            if waits {
                durable.push((seq, reply));
            } else {
                // A caller that went away needs no answer.
                let _ = reply.send(Ok(seq));
            }
        }
        if durable.is_empty() {
            return;
        }
        let synced = self.sync();
        for (seq, reply) in durable {
            let _ = reply.send(synced.clone().map(|_| seq));
        }
    }

    /// Waits for the disk, where it has not everything yet, and notes for how long.
    fn sync(&mut self) -> Result<Link, LedgerError> {
        if !self.writer.is_ahead_of_disk() {
            return self.writer.sync();
        }
        let began = Instant::now();
        let synced = self.writer.sync();
        self.meters.syncs.observe(began.elapsed());
        synced
    }

    fn note_alarms(&self, records: &[Record]) {
        let mut alarms = held(&self.alarms);
        records.iter().for_each(|record| alarms.note(record));
    }
}

/// A thread that panicked while it held one of these left nothing half done in it.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
