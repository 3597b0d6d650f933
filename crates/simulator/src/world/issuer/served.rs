//! The books at an address: RFC 6749 §5 and RFC 7009 as they are spoken, and an account to probe.

use super::{Books, Tally, Temper, Verdict};
use crate::world::{
    dice::Dice,
    engine::Moment,
    message::{Ask, Reply},
    net::{Served, Server},
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A provider on the network.
pub struct Issuer {
    books: Mutex<Books>,
}

impl Issuer {
    /// A provider with empty books.
    #[must_use]
    pub fn new(temper: Temper, dice: Dice) -> Self {
        Self { books: Mutex::new(Books::new(temper, dice)) }
    }

    /// Its books, to be read by whoever judges and written by humans and administrators.
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has counted.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.books().tally()
    }
}

impl Server for Issuer {
    fn take(&self, request: &[u8], at: Moment) -> Served {
        let mut books = self.books();
        let takes = books.temper.takes_millis.clone();
        let after = Duration::from_millis(books.dice.within(takes));
        let reply = match Ask::read(request) {
            None => Reply::json(400, r#"{"error":"invalid_request"}"#.to_owned()),
            Some(ask) => match (ask.method.as_str(), ask.path.as_str()) {
                ("POST", "/token") => books.token(&ask, at),
                ("POST", "/revoke") => {
                    books.revoke(&ask.field("token").unwrap_or_default(), at);
                    Reply::json(200, "{}".to_owned())
                }
                ("GET", "/me") => books.me(&ask, at),
                _ => Reply::json(404, "{}".to_owned()),
            },
        };
        Served { answer: Some(reply.bytes()), after }
    }
}

impl Books {
    fn token(&mut self, ask: &Ask, at: Moment) -> Reply {
        let odds = self.temper.turns_away;
        if self.dice.strikes(odds) {
            self.tally.turned_away += 1;
            return Reply::json(503, r#"{"error":"temporarily_unavailable"}"#.to_owned());
        }
        let field = |name: &str| ask.field(name).unwrap_or_default();
        let verdict = match field("grant_type").as_str() {
            "authorization_code" => self.redeem(&field("code"), at),
            "refresh_token" => {
                let verdict = self.present(&field("refresh_token"), at);
                let odds = self.temper.denies_what_it_did;
                if matches!(verdict, Verdict::Tokens(_)) && self.dice.strikes(odds) {
                    self.tally.done_and_denied += 1;
                    return Reply::json(502, "{}".to_owned());
                }
                verdict
            }
            _ => Verdict::Refused("unsupported_grant_type"),
        };
        match verdict {
            Verdict::Refused(error) => Reply::json(400, format!(r#"{{"error":"{error}"}}"#)),
            Verdict::Tokens(tokens) => {
                let mut body = serde_json::Map::new();
                body.insert("access_token".to_owned(), tokens.access.token.into());
                body.insert("token_type".to_owned(), "Bearer".into());
                if let Some(secs) = tokens.access.says_secs {
                    body.insert("expires_in".to_owned(), secs.into());
                }
                if let Some(refresh) = tokens.refresh {
                    body.insert("refresh_token".to_owned(), refresh.into());
                }
                Reply::json(200, serde_json::Value::Object(body).to_string())
            }
        }
    }

    fn me(&self, ask: &Ask, at: Moment) -> Reply {
        let bearer = ask.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match bearer.and_then(|token| self.account_of(token, at)) {
            Some(account) => {
                Reply::json(200, format!(r#"{{"id":"{account}","login":"{account}@example.com"}}"#))
            }
            None => Reply::json(401, "{}".to_owned()),
        }
    }
}
