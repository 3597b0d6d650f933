//! Transactions: begun, carried out, begun again where another one had to go first, committed.
//!
//! A request runs in a task of its own: dropping its future does not take it back. Each is given what it works on and
//! lends it to every try, since a try may have to be repeated whole.

use super::{
    address::Address,
    link::{Link, Pool, Taken},
    mailbox::Ears,
};
use nightlatch_domain::ports::{
    Boxed,
    store::{StoreError, Stored},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Tries of a transaction before its caller is told that the store is too busy.
const TRIES_MAX: u32 = 10;
/// The pause before the second try; it grows with each.
const PAUSE: Duration = Duration::from_millis(2);

/// The beginning of a transaction that writes.
pub(super) const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on";

/// How a transaction is begun.
#[derive(Clone, Copy)]
enum Mode {
    /// Each statement sees what was committed before it: what follows the feed's counter row sees every kill before it.
    Write,
    /// The same, begun by its work, beside what that reads first.
    Begun,
    /// The same, of one statement, which is a transaction by itself.
    Alone,
    /// As [`Mode::Write`], of what need not outlive a crash of the server: its commit waits for no disk.
    Light,
    /// One statement, or several that need not be of one moment.
    Read,
    /// Everything in it is of one moment.
    Moment,
}

impl Mode {
    fn begin(self) -> Option<&'static str> {
        match self {
            // Whatever the server, the database or the role have as their default: what is answered is on the disk.
            Self::Write => Some(WRITE),
            Self::Light => Some("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = off"),
            Self::Begun | Self::Alone | Self::Read => None,
            Self::Moment => Some("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        }
    }

    fn lost(self) -> StoreError {
        match self {
            Self::Write | Self::Begun | Self::Alone | Self::Light => StoreError::Unknown,
            Self::Read | Self::Moment => StoreError::Unavailable,
        }
    }
}

/// The links of one plane: a pool for its work, and one link that only kills use.
pub(super) struct Engine {
    pub(super) work: Arc<Pool>,
    pub(super) kills: Arc<Pool>,
    pub(super) ears: Ears,
    pub(super) address: Address,
}

impl Engine {
    /// One transaction that writes. An error rolls it back whole.
    pub(super) fn write<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        run(&self.work, Mode::Write, given, work)
    }

    /// As [`Engine::write`]; the work begins it, with [`record::begin_with`](super::record::begin_with).
    pub(super) fn write_begun<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        run(&self.work, Mode::Begun, given, work)
    }

    /// As [`Engine::write`], of a single statement: what the session has as its default holds for it.
    pub(super) fn write_alone<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        run(&self.work, Mode::Alone, given, work)
    }

    /// As [`Engine::write`], for what need not outlive a crash of the server.
    pub(super) fn write_lightly<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        run(&self.work, Mode::Light, given, work)
    }

    /// As [`Engine::write`], on the link that is kept free for it.
    pub(super) fn kill<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        run(&self.kills, Mode::Write, given, work)
    }

    /// Reads.
    pub(super) fn read<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        run(&self.work, Mode::Read, given, work)
    }

    /// Reads what must be of one moment.
    pub(super) fn read_moment<A, T, F>(&self, given: A, work: F) -> Stored<'_, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
    {
        run(&self.work, Mode::Moment, given, work)
    }
}

fn run<'s, A, T, F>(pool: &Arc<Pool>, mode: Mode, given: A, work: F) -> Stored<'s, T>
where
    A: Send + Sync + 'static,
    T: Send + 'static,
    F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>> + Send + Sync + 'static,
{
    let pool = Arc::clone(pool);
    let task = tokio::spawn(async move {
        for tries in 0..TRIES_MAX {
            // Of nothing, too, a timer makes a whole millisecond.
            if tries > 0 {
                tokio::time::sleep(PAUSE * tries).await;
            }
            if let Some(ended) = once(pool.take().await?, mode, &given, &work).await {
                return ended;
            }
        }
        Err(StoreError::Unavailable)
    });
    Box::pin(async move { task.await.unwrap_or_else(|_| Err(mode.lost())) })
}

/// One try. None where it left nothing behind and is to be begun again.
async fn once<A, T, F>(taken: Taken, mode: Mode, given: &A, work: &F) -> Option<Result<T, StoreError>>
where
    F: for<'a> Fn(&'a Link, &'a A) -> Boxed<'a, Result<T, StoreError>>,
{
    let link = &taken.link;
    if link.begin(mode.begin()).await.is_err() {
        // A link that the server closed while it was idle.
        return None;
    }
    let worked = work(link, given).await;
    let ended = match mode {
        Mode::Read => worked,
        Mode::Alone => link.stands(worked),
        Mode::Write | Mode::Begun | Mode::Light | Mode::Moment => end(link, worked).await,
    };
    // Without a beginning of its own, only its statement finds out that the link was closed while it was idle.
    let unread = matches!(mode, Mode::Read) && ended.is_err() && link.lost.load(Ordering::SeqCst);
    let again = unread || link.again.load(Ordering::SeqCst);
    if !link.is_lost() && !matches!(ended, Err(StoreError::Unknown)) {
        taken.give_back();
    }
    if again { None } else { Some(ended) }
}

async fn end<T>(link: &Link, worked: Result<T, StoreError>) -> Result<T, StoreError> {
    let unfit = worked.is_err() || link.failed.load(Ordering::SeqCst) || link.undo.load(Ordering::SeqCst);
    if unfit { roll_back(link, worked).await } else { commit(link, worked).await }
}

async fn roll_back<T>(link: &Link, worked: Result<T, StoreError>) -> Result<T, StoreError> {
    if link.client.batch_execute("ROLLBACK").await.is_err() {
        // The server rolls back by itself.
        link.lost.store(true, Ordering::SeqCst);
    }
    let failed = link.failed.load(Ordering::SeqCst);
    worked.and_then(|value| if failed { Err(StoreError::Unavailable) } else { Ok(value) })
}

async fn commit<T>(link: &Link, worked: Result<T, StoreError>) -> Result<T, StoreError> {
    let value = worked?;
    link.commit().await.map(|()| value)
}
