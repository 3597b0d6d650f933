//! The provider of the model: what a refresh token yields the first time, and what it yields when it comes again.

use crate::{machine::Reading, second::Second};
use std::time::Duration;

/// How a provider treats a refresh token that comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Same,
    BothLive,
    LastWins,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    pub(super) kind: Kind,
    pub(super) grace_ms: u64,
    /// Whether a late reuse kills the family, or is only refused.
    pub(super) revokes: bool,
    pub(super) second: Second,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Token {
    pub(super) consumed_at: Option<u64>,
    pub(super) first_child: Option<usize>,
    pub(super) dead: bool,
    pub(super) firsts: u32,
    pub(super) retries: u32,
}

/// What a provider answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Tokens(usize),
    Refused,
    Later,
    Garbage,
}

pub(super) struct Provider {
    pub(super) class: Class,
    pub(super) tokens: Vec<Token>,
}

impl Provider {
    pub(super) fn issue(&mut self) -> usize {
        self.tokens.push(Token::default());
        self.tokens.len() - 1
    }

    pub(super) fn present(&mut self, token: usize, now: u64) -> Said {
        if self.tokens[token].dead {
            return Said::Refused;
        }
        let Some(at) = self.tokens[token].consumed_at else {
            let child = self.issue();
            (self.tokens[token].consumed_at, self.tokens[token].first_child) = (Some(now), Some(child));
            return Said::Tokens(child);
        };
        if now - at >= self.class.grace_ms {
            if self.class.revokes {
                self.tokens.iter_mut().for_each(|token| token.dead = true);
            }
            return Said::Refused;
        }
        let first = self.tokens[token].first_child.unwrap();
        match self.class.kind {
            Kind::Same => Said::Tokens(first),
            Kind::BothLive => Said::Tokens(self.issue()),
            Kind::LastWins => {
                self.kill(first);
                let child = self.issue();
                self.tokens[token].first_child = Some(child);
                Said::Tokens(child)
            }
        }
    }

    pub(super) fn kill(&mut self, token: usize) {
        self.tokens[token].dead = true;
        if let Some(child) = self.tokens[token].first_child {
            self.kill(child);
        }
    }

    pub(super) fn is_live(&self, token: usize) -> bool {
        !self.tokens[token].dead && self.tokens[token].consumed_at.is_none()
    }
}

pub(super) fn reading(said: &Said) -> Reading {
    match said {
        Said::Tokens(_) => Reading::Tokens,
        Said::Refused => Reading::Permanent { code: "invalid_grant".into() },
        Said::Later => Reading::NotProcessed { code: "slow_down".into(), retry_after: None },
        Said::Garbage => Reading::Unclear { code: "http-502".into() },
    }
}

pub(super) fn class(number: u8) -> Class {
    let window = |secs| Some(Duration::from_secs(secs));
    let (kind, grace_ms, revokes, second) = match number % 7 {
        // Strict, and nothing is known of it; or that its reuse reaches this chain only.
        0 => (Kind::LastWins, 0, true, Second::NEVER),
        1 => (Kind::LastWins, 0, true, Second { window: None, last: true }),
        2 => (Kind::LastWins, 0, false, Second { window: None, last: true }),
        3 => (Kind::Same, 60_000, true, Second { window: window(55), last: false }),
        4 => (Kind::BothLive, 60_000, true, Second { window: window(55), last: true }),
        5 => (Kind::LastWins, 60_000, true, Second { window: window(55), last: false }),
        _ => (Kind::BothLive, 86_400_000, false, Second { window: window(86_395), last: false }),
    };
    Class { kind, grace_ms, revokes, second }
}
