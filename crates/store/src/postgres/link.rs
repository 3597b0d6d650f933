//! One connection to the server, and the few of them that a store keeps.
//!
//! The pool is ours because a link carries what a pool of strangers would drop: the statements that it has prepared, and
//! whether the server warned while it answered. A link goes back only when its transaction is over; whatever else
//! happens to it (a panic, a lost connection), it is closed, and the server takes back what was not committed.

use super::{
    address::{Address, Drive},
    record,
};
use nightlatch_domain::ports::store::StoreError;
use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{AsyncMessage, Client, Connection, Socket, Statement, error::Severity, tls::TlsStream};

/// How long a request waits for a link of the pool, and a link for the server.
const WAIT: Duration = Duration::from_secs(5);

/// One connection, for one transaction at a time.
pub(super) struct Link {
    pub(super) client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
    warned: Arc<AtomicBool>,
    /// A statement was refused: the transaction cannot be committed any more.
    pub(super) failed: AtomicBool,
    /// It was refused in favour of another transaction, for example, and may go through if it is begun again.
    pub(super) again: AtomicBool,
    /// The server ends the link, or it is gone.
    pub(super) lost: AtomicBool,
    /// What was written so far must not be kept, though nothing failed.
    pub(super) undo: AtomicBool,
}

impl Link {
    async fn open(address: &Address) -> Result<Self, tokio_postgres::Error> {
        let warned = Arc::new(AtomicBool::new(false));
        let client = address.connect(Watched(Arc::clone(&warned))).await?;
        // What the server warns of at a login is noted by then, and is no warning at a commit.
        client.batch_execute("").await?;
        Ok(Self {
            client,
            statements: Mutex::default(),
            warned,
            failed: AtomicBool::new(false),
            again: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            undo: AtomicBool::new(false),
        })
    }

    /// The statement, prepared once on this link.
    pub(super) async fn prepared(&self, sql: &'static str) -> Result<Statement, tokio_postgres::Error> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).insert(sql, statement.clone());
        Ok(statement)
    }

    /// The statements do not fit the server any more: each is prepared anew.
    pub(super) fn forget_statements(&self) {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Has the request begun again, with nothing of this try kept.
    pub(super) fn begin_again(&self) -> StoreError {
        self.again.store(true, Ordering::SeqCst);
        StoreError::Unavailable
    }

    /// Begins, with nothing noted of what went before.
    pub(super) async fn begin(&self, how: Option<&str>) -> Result<(), tokio_postgres::Error> {
        for noted in [&self.failed, &self.again, &self.lost, &self.undo] {
            noted.store(false, Ordering::SeqCst);
        }
        self.warned.store(false, Ordering::SeqCst);
        match how {
            Some(how) => self.client.batch_execute(how).await,
            None => Ok(()),
        }
    }

    /// What a statement that was a transaction by itself came to. A link that was lost on it may have been lost after it.
    pub(super) fn stands<T>(&self, worked: Result<T, StoreError>) -> Result<T, StoreError> {
        if self.lost.load(Ordering::SeqCst) {
            return Err(StoreError::Unknown);
        }
        self.is_durable()?;
        worked
    }

    /// Whether nothing more can be asked over it.
    pub(super) fn is_lost(&self) -> bool {
        self.client.is_closed() || self.lost.load(Ordering::SeqCst)
    }

    /// Commits.
    pub(super) async fn commit(&self) -> Result<(), StoreError> {
        self.warned.store(false, Ordering::SeqCst);
        let ended = self.client.batch_execute("COMMIT").await;
        if let Err(error) = ended {
            return Err(record::of_commit(self, &error));
        }
        self.is_durable()
    }

    /// A warning while a commit goes on means that it is not as durable as it was asked to be: a wait for a standby was given
    /// up, for example. What nobody knows is said to be unknown.
    fn is_durable(&self) -> Result<(), StoreError> {
        if self.warned.swap(false, Ordering::SeqCst) {
            tracing::error!("the database warned while it committed: what was written may not be durable");
            return Err(StoreError::Unknown);
        }
        Ok(())
    }
}

/// A connection whose warnings are noted.
struct Watched(Arc<AtomicBool>);

impl Drive for Watched {
    fn drive<T: TlsStream + Unpin + Send + 'static>(self, mut connection: Connection<Socket, T>) {
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                // In the order of the wire: a warning is noted before the answer that follows it is handed on.
                if let AsyncMessage::Notice(notice) = message
                    && notice.parsed_severity() == Some(Severity::Warning)
                {
                    self.0.store(true, Ordering::SeqCst);
                }
            }
        });
    }
}

/// A few links to one database as one role.
pub(super) struct Pool {
    address: Address,
    idle: Mutex<Vec<Link>>,
    room: Arc<Semaphore>,
}

/// A link that was taken out of its pool.
pub(super) struct Taken {
    pub(super) link: Link,
    pool: Arc<Pool>,
    _room: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(address: Address, links_max: usize) -> Arc<Self> {
        Arc::new(Self { address, idle: Mutex::default(), room: Arc::new(Semaphore::new(links_max)) })
    }

    /// An idle link, or a new one. Nothing was written where there is none.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Taken, StoreError> {
        let room = tokio::time::timeout(WAIT, Arc::clone(&self.room).acquire_owned()).await;
        let Ok(Ok(room)) = room else { return Err(StoreError::Unavailable) };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let link = match idle.filter(|link| !link.client.is_closed()) {
            Some(link) => link,
            None => self.connect().await?,
        };
        Ok(Taken { link, pool: Arc::clone(self), _room: room })
    }

    async fn connect(&self) -> Result<Link, StoreError> {
        match tokio::time::timeout(WAIT, Link::open(&self.address)).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => {
                tracing::error!(
                    code = error.code().map(tokio_postgres::error::SqlState::code),
                    "the database cannot be reached"
                );
                Err(StoreError::Unavailable)
            }
            Err(_) => Err(StoreError::Unavailable),
        }
    }
}

impl Taken {
    /// Puts the link back: no transaction is open on it.
    pub(super) fn give_back(self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.link);
    }
}
