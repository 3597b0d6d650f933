//! The threads that own the connections.
//!
//! SQLite has one writer at a time whatever we do, so one thread is that writer and nobody ever waits
//! on a lock for it: requests wait in a queue of stated length and are answered by a oneshot. A request
//! that finds the queue full is refused at once (`Unavailable`), because a store that is that far behind
//! serves its callers better by saying so.
//!
//! What is found by its key is read where it is asked for, by a connection that is free and waits for no lock: some ten
//! microseconds, where two threads that wake one another take several times that. For everything else there are the
//! threads.
//!
//! What is queued when a transaction ends its work goes into the same transaction, each request behind a savepoint of its
//! own, so that many pay for one sync of the disk and none waits for another to come. Nobody is answered before the
//! commit; where that fails, it fails for all of them, and one that was refused takes back nothing but itself.

use super::{feed, record};
use nightlatch_domain::ports::store::{StoreError, Stored};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, TryLockError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};
use tokio::sync::{oneshot, watch};

/// Requests that may wait for a thread, for reading and for writing each.
const QUEUE_JOBS_MAX: usize = 4096;

/// Requests that share a commit at most. What is queued behind them, a kill as well, waits for the commits before its own.
const TOGETHER_MAX: usize = 256;

type Write = Box<dyn Request>;
type Read = Box<dyn FnOnce(&mut Connection) + Send>;

/// The writer thread, the reader threads, and the number that the feed has reached.
pub(super) struct Engine {
    writes: Option<SyncSender<Write>>,
    reads: Option<SyncSender<Read>>,
    /// For what is read where it is asked for.
    at_hand: Vec<Mutex<Connection>>,
    readers: Vec<thread::JoinHandle<()>>,
    writer: Option<thread::JoinHandle<()>>,
    feed: watch::Sender<u64>,
    /// Moves with each letter that this process posts.
    pub(super) letters: watch::Sender<u64>,
}

impl Engine {
    /// Starts one thread for each connection but those at hand.
    pub(super) fn start(
        writer: Connection,
        readers: Vec<Connection>,
        at_hand: Vec<Connection>,
        number: u64,
    ) -> io::Result<Self> {
        let feed = watch::Sender::new(number);
        let (writes, jobs) = sync_channel::<Write>(QUEUE_JOBS_MAX);
        let mut owner = Writer { connection: writer, feed: feed.clone(), shred: false };
        let writer = thread::Builder::new().name("store-write".to_owned()).spawn(move || {
            while let Ok(job) = jobs.recv() {
                owner.carry_out(job, &jobs);
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
        let at_hand = at_hand.into_iter().map(Mutex::new).collect();
        Ok(Self {
            writes: Some(writes),
            reads: Some(reads),
            at_hand,
            readers,
            writer: Some(writer),
            feed,
            letters,
        })
    }

    /// Queues one transaction that writes. An error rolls it back whole.
    pub(super) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        self.ask(work, false)
    }

    /// As [`Engine::write`], and what it deleted is off the write-ahead file before it is answered.
    pub(super) fn write_and_shred<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        self.ask(work, true)
    }

    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        shreds: bool,
    ) -> Stored<'_, T> {
        let (reply, answer) = oneshot::channel();
        let job: Write = Box::new(Asked { work: Some(work), done: None, reply, shreds });
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

    /// One read transaction that looks a few rows up by their keys.
    pub(super) fn look_up<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        Box::pin(async move {
            match self.at_once(work) {
                Ok(done) => done,
                Err(work) => self.read(work).await,
            }
        })
    }

    /// What the work comes to, or the work itself where no connection is free or the file is locked.
    fn at_once<T, F: FnOnce(&Connection) -> Result<T, StoreError>>(
        &self,
        work: F,
    ) -> Result<Result<T, StoreError>, F> {
        let Some(mut connection) = self.at_hand.iter().find_map(free) else { return Err(work) };
        match begin(&mut connection) {
            Some(transaction) => Ok(work(&transaction)),
            None => Err(work),
        }
    }

    /// Follows the feed's number.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.feed.subscribe()
    }
}

impl Drop for Engine {
    /// What is queued is still done; the writer ends last, so that its close empties the write-ahead file.
    fn drop(&mut self) {
        self.at_hand.clear();
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

/// One request that writes.
trait Request: Send {
    /// Does its work; `false` where that is to be taken back.
    fn work(&mut self, at: &Connection) -> bool;
    /// Whether what it deleted must not stay in the write-ahead file.
    fn shreds(&self) -> bool;
    /// Answers, once it is known what became of the commit.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Asked<T, F> {
    work: Option<F>,
    done: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    shreds: bool,
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T, StoreError> + Send> Request for Asked<T, F> {
    fn work(&mut self, at: &Connection) -> bool {
        self.done = self.work.take().map(|work| work(at));
        matches!(self.done, Some(Ok(_)))
    }

    fn shreds(&self) -> bool {
        self.shreds
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let done = self.done.unwrap_or(Err(StoreError::Unavailable));
        // Where the commit failed nothing is true that rests on what was written before in it: a refusal no more than the rest.
        let _ = self.reply.send(committed.and(done));
    }
}

impl Writer {
    /// Carries out a request and what is queued behind it, and answers them.
    fn carry_out(&mut self, first: Write, queue: &Receiver<Write>) {
        let mut together = vec![first];
        let committed = self.transact(&mut together, queue);
        if self.shred && committed.is_ok() {
            self.empty_write_ahead();
        }
        for request in together {
            request.answer(committed.clone());
        }
    }

    fn transact(&mut self, together: &mut Vec<Write>, queue: &Receiver<Write>) -> Result<(), StoreError> {
        let refuse = record::refusal("transaction");
        let mut transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&refuse)?;
        let mut next = 0;
        while let Some(request) = together.get_mut(next) {
            self.shred |= request.shreds();
            let point = transaction.savepoint().map_err(&refuse)?;
            let stands = request.work(&point);
            if point.is_autocommit() {
                // The disk was full, for example: SQLite took all of it back by itself.
                return Err(StoreError::Unavailable);
            }
            let ended = if stands { point.commit() } else { point.finish() };
            ended.map_err(&refuse)?;
            next += 1;
            if next == together.len() && next < TOGETHER_MAX {
                together.extend(queue.try_recv());
            }
        }
        let number = feed::number(&transaction)?;
        transaction.commit().map_err(of_commit)?;
        self.feed.send_if_modified(|known| {
            let moved = *known != number;
            *known = number;
            moved
        });
        Ok(())
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

fn free(one: &Mutex<Connection>) -> Option<MutexGuard<'_, Connection>> {
    match one.try_lock() {
        Ok(connection) => Some(connection),
        // What panicked took its transaction back.
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// A read transaction that has its view of the file; none where that would have to be waited for.
fn begin(connection: &mut Connection) -> Option<Transaction<'_>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred).ok()?;
    transaction.prepare_cached("PRAGMA schema_version").ok()?.query_row([], |_| Ok(())).ok()?;
    Some(transaction)
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

#[cfg(test)]
mod tests {
    //! What is looked up waits for nobody, and whoever panics with a connection takes nothing from the others.

    use super::{super::SqliteStore, StoreError, free};
    use nightlatch_domain::clock::Timestamp;

    #[tokio::test]
    async fn what_is_looked_up_while_no_connection_is_free_is_read_by_the_threads() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("db.sqlite"), Timestamp::from_millis(1)).unwrap();
        let held: Vec<_> = store.engine.at_hand.iter().map(|one| free(one).unwrap()).collect();
        assert!(store.engine.at_once(|_| Ok(())).is_err(), "none is free");
        assert_eq!(store.engine.look_up(|_| Ok(1)).await, Ok(1));
        drop(held);
        assert_eq!(store.engine.at_once(|_| Ok(2)).ok(), Some(Ok(2)));
    }

    #[tokio::test]
    async fn a_look_up_that_panics_costs_no_connection_and_one_that_writes_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("db.sqlite"), Timestamp::from_millis(1)).unwrap();
        for _ in 0..2 * store.engine.at_hand.len() {
            let own = store.clone();
            let panicked =
                tokio::spawn(async move { own.engine.look_up::<()>(|_| panic!("as it must")).await });
            assert!(panicked.await.unwrap_err().is_panic());
        }
        assert_eq!(store.engine.at_once(|_| Ok(())).ok(), Some(Ok(())));
        assert!(store.engine.at_hand.iter().all(|one| free(one).is_some()));
        let writes = |at: &rusqlite::Connection| {
            at.execute("DELETE FROM tenant", []).map_err(super::record::refusal("tenant"))
        };
        assert_eq!(store.engine.at_once(writes).ok(), Some(Err(StoreError::Unavailable)));
    }
}
