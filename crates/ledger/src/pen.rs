//! The pen: takes what is queued, writes it as one batch, answers who waits. A thread holds it for whatever waits for
//! the disk; what does not is written [at once](Quill) by whoever brings it, while nothing is before it.

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
/// Records of a write without the thread: more at once hold a runtime up, and may be more than one plain write.
const AT_ONCE_MAX_RECORDS: usize = 128;

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

/// What is written with.
pub(crate) struct Pen<D> {
    pub(crate) writer: Writer<D>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) alarms: Arc<Mutex<Alarms>>,
    pub(crate) meters: Arc<Meters>,
    /// Held as long as the thread writes.
    pub(crate) _lock: File,
}

/// The pen in its stand: with the thread, with a courier, or put away for good.
pub(crate) struct Stand<D> {
    pen: Mutex<Option<Pen<D>>>,
    meters: Arc<Meters>,
}

/// Writes without the thread.
pub(crate) trait Quill: Send + Sync {
    /// Carries out commands that wait for no disk, where nothing that came before is still with the thread. Nobody may
    /// send the thread anything meanwhile.
    ///
    /// # Errors
    /// The commands, untouched: they are for the thread.
    fn at_once(&self, commands: Vec<Command>) -> Result<(), Vec<Command>>;
}

impl<D: Disk> Stand<D> {
    pub(crate) fn new(pen: Pen<D>) -> Arc<Self> {
        let meters = Arc::clone(&pen.meters);
        Arc::new(Self { pen: Mutex::new(Some(pen)), meters })
    }

    /// The thread. Runs until it is closed or the last handle is gone.
    pub(crate) fn run(&self, commands: &Receiver<Vec<Command>>) {
        let mut queued = VecDeque::new();
        while let Ok(bundle) = commands.recv() {
            queued.extend(bundle);
            while !queued.is_empty() {
                queued.extend(commands.try_iter().flatten());
                let batch: Vec<_> = queued.drain(..queued.len().min(BATCH_MAX_RECORDS)).collect();
                let count = batch.len();
                let mut stand = held(&self.pen);
                let Some(pen) = stand.as_mut() else { return };
                let closed = pen.carry_out(batch);
                self.meters.are_done(count);
                self.meters.are_back(count);
                if let Some((reply, synced)) = closed {
                    // The lock goes before the answer, so that whoever waited can open again.
                    *stand = None;
                    let _ = reply.send(synced);
                    return;
                }
            }
        }
        // The last handle went without `close`; what was queued is in the file.
        let _ = held(&self.pen).take().map(|mut pen| pen.sync());
    }
}

impl<D: Disk> Quill for Stand<D> {
    fn at_once(&self, commands: Vec<Command>) -> Result<(), Vec<Command>> {
        let is_quick = |command: &Command| matches!(command, Command::Write(write) if !write.durable);
        if commands.len() > AT_ONCE_MAX_RECORDS || self.meters.away() > 0 || !commands.iter().all(is_quick) {
            return Err(commands);
        }
        let Ok(mut stand) = self.pen.try_lock() else { return Err(commands) };
        let Some(pen) = stand.as_mut().filter(|pen| pen.writer.has_room()) else { return Err(commands) };
        let count = commands.len();
        pen.carry_out(commands);
        self.meters.are_done(count);
        Ok(())
    }
}

impl<D: Disk> Pen<D> {
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

#[cfg(test)]
mod tests {
    //! What is written without the thread, and what is not.

    use super::{AT_ONCE_MAX_RECORDS, Command, Pen, Quill as _, Reply, Stand, Write};
    use crate::{
        LedgerError, entries,
        facts::IntentFacts,
        meters::Meters,
        recover::beginning,
        testing::{FakeDisk, StoppedClock, exchange, keys},
        writer::Writer,
    };
    use nightlatch_domain::tool::Effect;
    use std::{fs::File, sync::Arc};
    use tokio::sync::oneshot;

    type Told = oneshot::Receiver<Result<u64, LedgerError>>;

    /// A pen that no thread has, over a disk that a test commands.
    fn stand(disk: &FakeDisk) -> (Arc<Stand<FakeDisk>>, Arc<Meters>) {
        let (meters, clock) = (Arc::<Meters>::default(), Arc::<StoppedClock>::default());
        let writer = Writer::new(disk.clone(), disk.tape(1), beginning(), 1 << 21);
        let _lock = File::open("/dev/null").unwrap();
        let pen = Pen { writer, clock, alarms: Arc::default(), meters: Arc::clone(&meters), _lock };
        (Stand::new(pen), meters)
    }

    fn write(meters: &Meters, durable: bool) -> (Command, Told) {
        let (reply, told): (Reply<u64>, _) = oneshot::channel();
        let entry = entries::intent(&keys(), &exchange(1, Effect::Read), IntentFacts::default()).unwrap();
        meters.is_left();
        (Command::Write(Box::new(Write { entry, durable, reply })), told)
    }

    #[test]
    fn what_waits_for_no_disk_is_written_and_answered_without_the_thread() {
        let disk = FakeDisk::default();
        let (stand, meters) = stand(&disk);
        let (command, mut told) = write(&meters, false);
        assert!(stand.at_once(vec![command]).is_ok());
        assert_eq!(told.try_recv().unwrap().unwrap(), 1);
        assert_eq!((disk.lines().len(), meters.queued()), (1, 0));
        assert_eq!(disk.with(|plates| plates.syncs), 0);
    }

    #[test]
    fn what_waits_for_the_disk_and_whatever_comes_with_it_is_for_the_thread() {
        let disk = FakeDisk::default();
        let (stand, meters) = stand(&disk);
        let commands = vec![write(&meters, false).0, write(&meters, true).0];
        assert_eq!(stand.at_once(commands).unwrap_err().len(), 2);
        let head = Command::Head(oneshot::channel().0);
        assert_eq!(stand.at_once(vec![head]).unwrap_err().len(), 1);
        assert!(disk.lines().is_empty());
    }

    #[test]
    fn a_crowd_is_for_the_thread() {
        let disk = FakeDisk::default();
        let (stand, meters) = stand(&disk);
        let crowd = |count| (0..count).map(|_| write(&meters, false).0).collect::<Vec<_>>();
        let commands = stand.at_once(crowd(AT_ONCE_MAX_RECORDS + 1)).unwrap_err();
        assert_eq!((commands.len(), disk.lines().len()), (AT_ONCE_MAX_RECORDS + 1, 0));
        assert!(stand.at_once(crowd(AT_ONCE_MAX_RECORDS)).is_ok());
    }

    #[test]
    fn nothing_overtakes_what_the_thread_was_sent_and_has_not_carried_out() {
        let disk = FakeDisk::default();
        let (stand, meters) = stand(&disk);
        meters.are_sent(1);
        let commands = stand.at_once(vec![write(&meters, false).0]).unwrap_err();
        assert!(disk.lines().is_empty());
        meters.are_back(1);
        assert!(stand.at_once(commands).is_ok());
    }

    #[test]
    fn a_pen_that_is_in_use_or_put_away_writes_nothing_here() {
        let disk = FakeDisk::default();
        let (stand, meters) = stand(&disk);
        let taken = stand.pen.lock().unwrap();
        let commands = stand.at_once(vec![write(&meters, false).0]).unwrap_err();
        drop(taken);
        *stand.pen.lock().unwrap() = None;
        assert!(stand.at_once(commands).is_err());
        assert!(disk.lines().is_empty());
    }

    #[test]
    fn a_batch_that_would_need_more_than_a_plain_write_is_for_the_thread() {
        let disk = FakeDisk::default();
        let (stand, meters) = stand(&disk);
        stand.pen.lock().unwrap().as_mut().unwrap().writer =
            Writer::new(disk.clone(), disk.tape(1), beginning(), 4096);
        assert!(stand.at_once(vec![write(&meters, false).0]).is_err(), "a new segment would begin");
    }
}
