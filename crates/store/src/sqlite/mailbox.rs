//! Letters between the planes of one machine, and who is there. Another process that has the file open is not told of a
//! letter; it looks.

use super::{
    SqliteStore,
    record::{self, Doc, Word, number},
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
use rusqlite::params;
use std::time::Duration;

/// Between two looks whether a letter lies there.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Mailbox for SqliteStore {
    fn arrive(&self, card: Card) -> Stored<'_, ()> {
        self.engine.write(move |at| {
            let sql = "INSERT INTO peer (peer_id, card, beats) VALUES (?1, ?2, 0)
                 ON CONFLICT (peer_id) DO UPDATE SET card = excluded.card";
            record::write(at, "peer", sql, params![Word(&card.peer), Doc(&card)])?;
            Ok(())
        })
    }

    fn beat(&self, peer: PeerId) -> Stored<'_, bool> {
        self.engine.write(move |at| {
            let sql = "UPDATE peer SET beats = beats + 1 WHERE peer_id = ?1";
            Ok(record::write(at, "peer", sql, params![Word(&peer)])? == 1)
        })
    }

    fn leave(&self, peer: PeerId) -> Stored<'_, ()> {
        self.engine.write(move |at| {
            record::write(at, "peer", "DELETE FROM peer WHERE peer_id = ?1", params![Word(&peer)])?;
            Ok(())
        })
    }

    fn present(&self) -> Stored<'_, Vec<Present>> {
        self.engine.read(move |at| {
            let sql = "SELECT substr(peer_id, 1, 64) AS peer_id, substr(card, 1, ?1) AS card, beats FROM peer
                 ORDER BY peer_id";
            let found = record::all(at, "peer", sql, [CARD_MAX_CHARS], |row| Ok(letters::present(row)))?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    fn post(&self, letter: Letter) -> Stored<'_, Posted> {
        if let Err(error) = letters::fits(&letter) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let posted = self.engine.write(move |at| {
            let sql = "INSERT INTO letter
                     (to_peer, from_peer, number, answers, expires_at, sealed, signature)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
                 WHERE (SELECT count(*) FROM letter WHERE to_peer = ?1) < ?8";
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
                    WAITING_MAX
                ],
            )?;
            Ok(if written == 1 { Posted::Lies } else { Posted::Full })
        });
        Box::pin(async move {
            match posted.await {
                Err(StoreError::Missing(_)) => Ok(Posted::Absent),
                posted => {
                    self.engine.letters.send_modify(|count| *count = count.wrapping_add(1));
                    posted
                }
            }
        })
    }

    fn collect(&self, to: PeerId, limit: u32) -> Stored<'_, Vec<Letter>> {
        self.engine.write(move |at| {
            let sql = "DELETE FROM letter WHERE to_peer = ?1 AND (from_peer, number) IN
                     (SELECT from_peer, number FROM letter WHERE to_peer = ?1
                      ORDER BY from_peer, number LIMIT ?2)
                 RETURNING to_peer, substr(from_peer, 1, 64) AS from_peer, number, answers, expires_at,
                     substr(sealed, 1, ?3) AS sealed, substr(signature, 1, 256) AS signature";
            let params = params![Word(&to), limit, SEALED_MAX_CHARS];
            let found = record::all(at, "letter", sql, params, |row| Ok(letters::letter(row).ok()))?;
            Ok(letters::in_order(found))
        })
    }

    fn withdraw(&self, letter: LetterPlace) -> Stored<'_, bool> {
        self.engine.write(move |at| {
            let sql = "DELETE FROM letter WHERE to_peer = ?1 AND from_peer = ?2 AND number = ?3";
            let params = params![Word(&letter.to), Word(&letter.from), number(letter.number)];
            Ok(record::write(at, "letter", sql, params)? == 1)
        })
    }

    fn throw_away(&self, expired_before: Timestamp) -> Stored<'_, u64> {
        self.engine.write(move |at| {
            let sql = "DELETE FROM letter WHERE expires_at < ?1";
            Ok(record::write(at, "letter", sql, [expired_before.millis()])? as u64)
        })
    }

    fn arrived(&self, to: PeerId, within_millis: u64) -> Boxed<'_, ()> {
        let mut posted = self.engine.letters.subscribe();
        Box::pin(async move {
            let lies = async {
                while !self.lies(to).await {
                    let _ = tokio::time::timeout(LOOK_AGAIN, posted.changed()).await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(within_millis), lies).await;
        })
    }
}

impl SqliteStore {
    async fn lies(&self, to: PeerId) -> bool {
        let sql = "SELECT 1 FROM letter WHERE to_peer = ?1 LIMIT 1";
        let found =
            self.engine.read(move |at| record::one(at, "letter", sql, params![Word(&to)], |_| Ok(())));
        matches!(found.await, Ok(Some(())))
    }
}
