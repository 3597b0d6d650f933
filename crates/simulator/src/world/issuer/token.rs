//! Tokens: how they are given, and what becomes of one that comes.

use super::{
    Books,
    temper::{Again, Reuse, Rotation},
};
use crate::world::engine::Moment;
use std::time::Duration;

/// A family as the provider knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grown {
    /// Whose it is.
    pub account: String,
    /// When the human consented.
    pub consented_at: Moment,
    /// Why it ended, if it did.
    pub ended: Option<&'static str>,
    /// When it was taken back, if that is why.
    pub revoked_at: Option<Moment>,
    /// Refresh tokens that were given in it.
    pub given: u64,
}

/// One arrival of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: Moment,
    /// Whether it brought tokens.
    pub brought: bool,
}

/// An access token with its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The token.
    pub token: String,
    /// What is said of its life, in seconds.
    pub says_secs: Option<u64>,
}

/// What a request brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The access token.
    pub access: Given,
    /// The refresh token, where one is given.
    pub refresh: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Tokens.
    Tokens(Tokens),
    /// An error of RFC 6749 §5.2.
    Refused(&'static str),
}

pub(super) struct Refresh {
    pub(super) family: usize,
    pub(super) number: u64,
    pub(super) given_at: Moment,
    pub(super) used_at: Option<Moment>,
    /// Whether another was given in its place.
    pub(super) is_dead: bool,
    successor: Option<String>,
    pub(super) arrivals: Vec<Arrival>,
}

pub(super) struct Access {
    pub(super) family: usize,
    pub(super) until: Moment,
    pub(super) is_dead: bool,
}

impl Books {
    /// A refresh token comes.
    pub fn present(&mut self, token: &str, at: Moment) -> Verdict {
        let was_consumed =
            self.refresh.get(token).is_some_and(|known| known.used_at.is_some() || known.is_dead);
        self.tally.consumed_again += u64::from(was_consumed);
        let verdict = self.judge(token, at);
        let brought = matches!(verdict, Verdict::Tokens(_));
        if let Some(known) = self.refresh.get_mut(token) {
            known.arrivals.push(Arrival { at, brought });
            match known.arrivals.len() {
                1 => self.tally.first_presentations += 1,
                _ => self.tally.repeats += 1,
            }
        }
        match brought {
            true => self.tally.refreshed += 1,
            false => self.tally.refused += 1,
        }
        verdict
    }

    fn judge(&mut self, token: &str, at: Moment) -> Verdict {
        const REFUSED: Verdict = Verdict::Refused("invalid_grant");
        let Some(known) = self.refresh.get(token) else { return REFUSED };
        let (family, used_at, is_dead, given_at) =
            (known.family, known.used_at, known.is_dead, known.given_at);
        if !self.lives(family) {
            return REFUSED;
        }
        if is_dead {
            return self.reused(family);
        }
        match used_at {
            None if self.temper.idle.is_some_and(|idle| at.since(given_at) >= idle) => {
                self.end(family, "idle");
                REFUSED
            }
            None => Verdict::Tokens(self.first(token, family, at)),
            Some(used_at) if self.is_in_grace(token, used_at, at) => {
                Verdict::Tokens(self.once_more(token, family, at))
            }
            Some(_) => self.reused(family),
        }
    }

    fn first(&mut self, token: &str, family: usize, at: Moment) -> Tokens {
        let keeps = match self.temper.rotation {
            Rotation::Always => false,
            Rotation::Never => true,
            Rotation::SometimesNone(odds) => self.dice.strikes(odds),
        };
        let access = self.give_access(family, at);
        if keeps {
            if let Some(known) = self.refresh.get_mut(token) {
                known.given_at = at;
            }
            return Tokens { access, refresh: None };
        }
        let refresh = self.give_refresh(family, at);
        if let Some(known) = self.refresh.get_mut(token) {
            known.used_at = Some(at);
            known.successor = Some(refresh.clone());
        }
        Tokens { access, refresh: Some(refresh) }
    }

    fn once_more(&mut self, token: &str, family: usize, at: Moment) -> Tokens {
        let before = self.refresh.get(token).and_then(|known| known.successor.clone());
        let access = self.give_access(family, at);
        if self.temper.again == Again::Same {
            return Tokens { access, refresh: before };
        }
        if let (Again::LastWins, Some(before)) = (self.temper.again, before)
            && let Some(before) = self.refresh.get_mut(&before)
        {
            before.is_dead = true;
        }
        let refresh = self.give_refresh(family, at);
        if let Some(known) = self.refresh.get_mut(token) {
            known.successor = Some(refresh.clone());
        }
        Tokens { access, refresh: Some(refresh) }
    }

    fn is_in_grace(&self, token: &str, used_at: Moment, at: Moment) -> bool {
        let successor = self.refresh.get(token).and_then(|known| known.successor.as_ref());
        let was_used = successor
            .and_then(|successor| self.refresh.get(successor))
            .is_some_and(|successor| successor.used_at.is_some());
        at.since(used_at) < self.temper.grace && !(self.temper.until_successor_used && was_used)
    }

    fn reused(&mut self, family: usize) -> Verdict {
        self.tally.reuse_detected += 1;
        if self.temper.reuse == Reuse::EndsFamily {
            self.end(family, "reuse");
            self.tally.ended_by_reuse += 1;
        }
        Verdict::Refused("invalid_grant")
    }

    pub(super) fn give_refresh(&mut self, family: usize, at: Moment) -> String {
        let token = self.secret("refresh");
        let number = self.families.get_mut(family).map_or(0, |family| {
            family.given += 1;
            family.given
        });
        let given = Refresh {
            family,
            number,
            given_at: at,
            used_at: None,
            is_dead: false,
            successor: None,
            arrivals: Vec::new(),
        };
        self.refresh.insert(token.clone(), given);
        token
    }

    pub(super) fn give_access(&mut self, family: usize, at: Moment) -> Given {
        let dies = self.temper.old_access_dies;
        // What is past its end is nobody's question any more.
        self.access.retain(|_, access| access.until > at && !(access.family == family && dies));
        let token = self.secret("access");
        let until = at.plus(self.temper.access);
        self.access.insert(token.clone(), Access { family, until, is_dead: false });
        Given { token, says_secs: self.temper.says.map(|says: Duration| says.as_secs()) }
    }
}
