//! Letters between the planes, and who is there. Who waits for a letter listens for its own name; where that
//! connection is lost, it looks again and again until there is another.

use super::{
    PostgresStore,
    address::{Address, Drive},
    record::{self, Doc, Word, number, params},
};
use crate::letters::{self, CARD_MAX_CHARS, SEALED_MAX_CHARS};
use nightlatch_domain::{
    clock::Timestamp,
    id::PeerId,
    ports::{
        Boxed,
        mailbox::{Card, Letter, LetterPlace, Mailbox, Posted, Present, WAITING_MAX},
        store::{StoreError, Stored},
    },
};
use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    task::AbortHandle,
};
use tokio_postgres::{AsyncMessage, Connection, Socket, tls::TlsStream};

/// What is told of is the name of whoever has a letter.
const CHANNEL: &str = "nightlatch_letter";
/// Between two looks whether a letter lies there, while nobody listens.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The same while somebody does: a word may have been lost with its connection.
const LOOK_SELDOM: Duration = Duration::from_secs(1);

impl Mailbox for PostgresStore {
    fn arrive(&self, card: Card) -> Stored<'_, ()> {
        self.write(card, |at, card| {
            Box::pin(async move {
                let sql = "INSERT INTO peer (peer_id, card, beats) VALUES ($1, $2, 0)
                     ON CONFLICT (peer_id) DO UPDATE SET card = excluded.card";
                record::write(at, "peer", sql, params![Word(&card.peer), Doc(card)]).await?;
                Ok(())
            })
        })
    }

    fn beat(&self, peer: PeerId) -> Stored<'_, bool> {
        self.lightly(peer, |at, peer| {
            Box::pin(async move {
                let sql = "UPDATE peer SET beats = beats + 1 WHERE peer_id = $1";
                Ok(record::write(at, "peer", sql, params![Word(peer)]).await? == 1)
            })
        })
    }

    fn leave(&self, peer: PeerId) -> Stored<'_, ()> {
        self.write(peer, |at, peer| {
            Box::pin(async move {
                record::write(at, "peer", "DELETE FROM peer WHERE peer_id = $1", params![Word(peer)]).await?;
                Ok(())
            })
        })
    }

    fn present(&self) -> Stored<'_, Vec<Present>> {
        self.read((), |at, ()| {
            Box::pin(async move {
                let sql = "SELECT substr(peer_id, 1, 64) AS peer_id, substr(card, 1, $1::bigint::int) AS card, beats
                     FROM peer ORDER BY peer_id";
                let found =
                    record::all(at, "peer", sql, params![CARD_MAX_CHARS], |row| Ok(letters::present(row)));
                Ok(found.await?.into_iter().flatten().collect())
            })
        })
    }

    fn post(&self, letter: Letter) -> Stored<'_, Posted> {
        if let Err(error) = letters::fits(&letter) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let posted = self.lightly(letter, |at, letter| {
            Box::pin(async move {
                let sql = "INSERT INTO letter
                         (to_peer, from_peer, number, answers, expires_at, sealed, signature)
                     SELECT $1, $2, $3, $4, $5, $6, $7
                     WHERE (SELECT count(*) FROM letter WHERE to_peer = $1) < $8";
                let place = letter.place;
                let written = record::write(
                    at,
                    "letter",
                    sql,
                    params![
                        Word(&place.to),
                        Word(&place.from),
                        number(place.number),
                        letter.answers.map(number),
                        letter.expires_at.millis(),
                        Doc(&letter.sealed),
                        letter.signature,
                        i64::from(WAITING_MAX)
                    ],
                )
                .await?;
                if written == 0 {
                    return Ok(Posted::Full);
                }
                let sql = "SELECT pg_notify($1, $2)";
                record::all(at, "letter", sql, params![CHANNEL, Word(&place.to)], |_| Ok(())).await?;
                Ok(Posted::Lies)
            })
        });
        Box::pin(async move {
            match posted.await {
                Err(StoreError::Missing(_)) => Ok(Posted::Absent),
                posted => posted,
            }
        })
    }

    fn collect(&self, to: PeerId, limit: u32) -> Stored<'_, Vec<Letter>> {
        self.lightly((to, limit), |at, (to, limit)| {
            Box::pin(async move {
                let sql = "DELETE FROM letter WHERE to_peer = $1 AND (from_peer, number) IN
                         (SELECT from_peer, number FROM letter WHERE to_peer = $1
                          ORDER BY from_peer, number LIMIT $2)
                     RETURNING to_peer, substr(from_peer, 1, 64) AS from_peer, number, answers, expires_at,
                         substr(sealed, 1, $3::bigint::int) AS sealed, substr(signature, 1, 256) AS signature";
                let params = params![Word(to), i64::from(*limit), SEALED_MAX_CHARS];
                let found = record::all(at, "letter", sql, params, |row| Ok(letters::letter(row).ok()));
                Ok(letters::in_order(found.await?))
            })
        })
    }

    fn withdraw(&self, letter: LetterPlace) -> Stored<'_, bool> {
        self.lightly(letter, |at, letter| {
            Box::pin(async move {
                let sql = "DELETE FROM letter WHERE to_peer = $1 AND from_peer = $2 AND number = $3";
                let params = params![Word(&letter.to), Word(&letter.from), number(letter.number)];
                Ok(record::write(at, "letter", sql, params).await? == 1)
            })
        })
    }

    fn throw_away(&self, expired_before: Timestamp) -> Stored<'_, u64> {
        self.lightly(expired_before, |at, before| {
            Box::pin(async move {
                let sql = "DELETE FROM letter WHERE expires_at < $1";
                record::write(at, "letter", sql, params![before.millis()]).await
            })
        })
    }

    fn arrived(&self, to: PeerId, within_millis: u64) -> Boxed<'_, ()> {
        let (told, ears) = (self.engine.ears.of(to), &self.engine.ears);
        Box::pin(async move {
            let lies = async {
                while !self.lies(to).await {
                    let pause = if ears.hears() { LOOK_SELDOM } else { LOOK_AGAIN };
                    let _ = tokio::time::timeout(pause, told.notified()).await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(within_millis), lies).await;
        })
    }
}

impl PostgresStore {
    async fn lies(&self, to: PeerId) -> bool {
        let found = self.read(to, |at, to| {
            Box::pin(async move {
                let sql = "SELECT 1 FROM letter WHERE to_peer = $1 LIMIT 1";
                record::holds(at, "letter", sql, params![Word(to)]).await
            })
        });
        found.await.unwrap_or(false)
    }
}

/// Listens for the names of whoever has a letter, once somebody waits for one.
pub(super) struct Ears {
    address: Address,
    heard: Arc<Heard>,
    listens: OnceLock<AbortHandle>,
}

#[derive(Default)]
struct Heard {
    waiting: Mutex<BTreeMap<String, Arc<Notify>>>,
    hears: AtomicBool,
}

impl Ears {
    pub(super) fn new(address: Address) -> Self {
        Self { address, heard: Arc::default(), listens: OnceLock::new() }
    }

    /// What is told when `to` has a letter. A word that nobody waited for is kept for the next who does.
    fn of(&self, to: PeerId) -> Arc<Notify> {
        self.listens.get_or_init(|| {
            tokio::spawn(listen(self.address.clone(), Arc::clone(&self.heard))).abort_handle()
        });
        let mut waiting = self.heard.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(waiting.entry(to.to_string()).or_default())
    }

    fn hears(&self) -> bool {
        self.heard.hears.load(Ordering::SeqCst)
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        if let Some(listens) = self.listens.get() {
            listens.abort();
        }
    }
}

async fn listen(address: Address, heard: Arc<Heard>) {
    loop {
        if let Err(error) = hear(&address, &heard).await {
            tracing::debug!(code = error.code().map(tokio_postgres::error::SqlState::code), "nobody listens");
        }
        heard.hears.store(false, Ordering::SeqCst);
        tokio::time::sleep(LOOK_SELDOM).await;
    }
}

async fn hear(address: &Address, heard: &Arc<Heard>) -> Result<(), tokio_postgres::Error> {
    let (ends, ended) = oneshot::channel();
    let client = address.connect(Ear { heard: Arc::clone(heard), _ends: ends }).await?;
    client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
    heard.hears.store(true, Ordering::SeqCst);
    // The connection ends with its client, and the client is not needed without it.
    let _ = ended.await;
    Ok(())
}

/// A connection whose words are told on.
struct Ear {
    heard: Arc<Heard>,
    /// Dropped with it.
    _ends: oneshot::Sender<()>,
}

impl Drive for Ear {
    fn drive<T: TlsStream + Unpin + Send + 'static>(self, mut connection: Connection<Socket, T>) {
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(word) = message {
                    let waiting = self.heard.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    waiting.get(word.payload()).inspect(|told| told.notify_one());
                }
            }
        });
    }
}
