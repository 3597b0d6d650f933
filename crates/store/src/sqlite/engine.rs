//! The threads that own the connections.
//!
//! SQLite has one writer at a time whatever we do, so one thread is that writer and nobody ever waits
//! on a lock for it: requests wait in a queue of stated length and are answered by a oneshot. A request
//! that finds the queue full is refused at once (`Unavailable`), because a store that is that far behind
//! serves its callers better by saying so.

use super::{feed, record};
use nightlatch_domain::ports::store::{StoreError, Stored};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::{
    io,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};
use tokio::sync::{oneshot, watch};

/// Requests that may wait for a thread, for reading and for writing each.
const QUEUE_JOBS_MAX: usize = 4096;

type Write = Box<dyn FnOnce(&mut Writer) + Send>;
type Read = Box<dyn FnOnce(&mut Connection) + Send>;

/// The writer thread, the reader threads, and the number that the feed has reached.
pub(super) struct Engine {
    writes: Option<SyncSender<Write>>,
    reads: Option<SyncSender<Read>>,
    readers: Vec<thread::JoinHandle<()>>,
    writer: Option<thread::JoinHandle<()>>,
    feed: watch::Sender<u64>,
    /// Moves with each letter that this process posts.
    pub(super) letters: watch::Sender<u64>,
}

impl Engine {
    /// Starts one thread for each connection.
    pub(super) fn start(writer: Connection, readers: Vec<Connection>, number: u64) -> io::Result<Self> {
        let feed = watch::Sender::new(number);
        let (writes, jobs) = sync_channel::<Write>(QUEUE_JOBS_MAX);
        let mut owner = Writer { connection: writer, feed: feed.clone(), shred: false };
        let writer = thread::Builder::new().name("store-write".to_owned()).spawn(move || {
            while let Ok(job) = jobs.recv() {
                job(&mut owner);
            }
        })?;
        let (reads, jobs) = sync_channel::<Read>(QUEUE_JOBS_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let readers = readers
            .into_iter()
            .map(|connection| {
                let jobs = Arc::clone(&jobs);
                thread::Builder::new()
                    .name("store-read".to_owned())
                    .spawn(move || read_all(connection, &jobs))
            })
            .collect::<io::Result<Vec<_>>>()?;
        let letters = watch::Sender::new(0);
        Ok(Self { writes: Some(writes), reads: Some(reads), readers, writer: Some(writer), feed, letters })
    }

    /// Queues one transaction that writes. An error rolls it back whole.
    pub(super) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        let (reply, answer) = oneshot::channel();
        let job: Write = Box::new(move |writer| {
            let _ = reply.send(writer.transact(work));
        });
        answered(offer(self.writes.as_ref(), job), answer, StoreError::Unknown)
    }

    /// As [`Engine::write`], and what it deleted is off the write-ahead file before it is answered.
    pub(super) fn write_and_shred<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        let (reply, answer) = oneshot::channel();
        let job: Write = Box::new(move |writer| {
            writer.shred = true;
            let _ = reply.send(writer.transact(work));
        });
        answered(offer(self.writes.as_ref(), job), answer, StoreError::Unknown)
    }

    /// Queues one read transaction: everything in it is of one moment.
    pub(super) fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        let (reply, answer) = oneshot::channel();
        let job: Read = Box::new(move |connection| {
            let _ = reply.send(read_one(connection, work));
        });
        answered(offer(self.reads.as_ref(), job), answer, StoreError::Unavailable)
    }

    /// Follows the feed's number.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.feed.subscribe()
    }
}

impl Drop for Engine {
    /// What is queued is still done; the writer ends last, so that its close empties the write-ahead file.
    fn drop(&mut self) {
        self.reads = None;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.writes = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// The thread's own end of the one connection that writes.
struct Writer {
    connection: Connection,
    feed: watch::Sender<u64>,
    /// Something was deleted that must not stay in the write-ahead file.
    shred: bool,
}

impl Writer {
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let refuse = record::refusal("transaction");
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&refuse)?;
        let value = work(&transaction)?;
        let number = feed::number(&transaction)?;
        transaction.commit().map_err(of_commit)?;
        self.feed.send_if_modified(|known| {
            let moved = *known != number;
            *known = number;
            moved
        });
        if self.shred {
            self.empty_write_ahead();
        }
        Ok(value)
    }

    /// Moves everything into the main file, whose freed pages are zeroed, and cuts the write-ahead file to
    /// nothing. Where a reader is in the way for too long it is tried again after the next write.
    fn empty_write_ahead(&mut self) {
        let busy =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        self.shred = !matches!(busy, Ok(0));
        if self.shred {
            tracing::warn!(
                "deleted secrets are still in the write-ahead file: it is emptied after the next write"
            );
        }
    }
}

/// What a commit that came back with an error is. After an error of the disk its frame may be in the write-ahead file, and
/// then it counts; what a full disk or a rule of the schema refused was not written.
pub(super) fn of_commit(error: rusqlite::Error) -> StoreError {
    let lost = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
    let refusal = record::refusal("transaction")(error);
    if lost { StoreError::Unknown } else { refusal }
}

fn read_all(mut connection: Connection, jobs: &Mutex<Receiver<Read>>) {
    loop {
        let job = match jobs.lock() {
            Ok(jobs) => jobs.recv(),
            Err(_) => return,
        };
        match job {
            Ok(job) => job(&mut connection),
            Err(_) => return,
        }
    }
}

fn read_one<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Deferred)
        .map_err(record::refusal("transaction"))?;
    work(&transaction)
}

fn offer<J>(queue: Option<&SyncSender<J>>, job: J) -> Result<(), StoreError> {
    let queue = queue.ok_or(StoreError::Unavailable)?;
    queue.try_send(job).map_err(|_| StoreError::Unavailable)
}

fn answered<'a, T: Send + 'a>(
    queued: Result<(), StoreError>,
    answer: oneshot::Receiver<Result<T, StoreError>>,
    lost: StoreError,
) -> Stored<'a, T> {
    Box::pin(async move {
        queued?;
        answer.await.map_err(|_| lost)?
    })
}
