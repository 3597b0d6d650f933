//! Provider: until when a tool's provider asked to be left alone.
//!
//! A provider counts a connection's calls whoever makes them, so what it says to one agent is in effect for
//! all of them. Kept for each connection and host: one hostile host stops nothing else. A refusal for a limit
//! (429, and the like) stops the whole of it; a window that an answer reports as used up stops only the
//! operation that used it, and not for long, since providers have several windows and do not say whose it was.
//!
//! **Nobody is parked for ever.** A wait is held to a maximum, then one call is let through to ask; it decides
//! for the others, which wait for its answer's head and no longer than a moment.

use super::said::Said;
use crate::{limits::Limits, quick::Quick};
use nightlatch_domain::{
    clock::Boot,
    exchange::Exchange,
    id::{ConnectionId, TenantId},
    tool::OperationId,
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What is waited at first where no time was given; it doubles with each such refusal.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How long the others wait for the one that asks.
const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// Operations of one connection and host that are remembered as used up: manifests list about a hundred, and
/// few have a window of their own.
const OPERATIONS_MAX: usize = 64;

/// The pauses of every connection.
pub(super) struct Provider {
    lines: Mutex<Quick<(TenantId, ConnectionId), Vec<Line>>>,
    longest: Duration,
    used_up_longest: Duration,
}

/// One host of a connection. Their number is the connection's, which was confirmed for each.
struct Line {
    host: String,
    port: u16,
    /// Nobody calls before this.
    until: Boot,
    /// Refusals for a limit, one after another.
    strikes: u32,
    /// One call asks whether the limit still holds; the others wait until then.
    probed_until: Option<Boot>,
    /// Until when the window of an operation is used up.
    operations: Vec<(OperationId, Boot)>,
}

impl Provider {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            lines: Mutex::default(),
            longest: limits.provider_wait_max,
            used_up_longest: limits.provider_window_max,
        }
    }

    /// # Errors
    /// How long to wait.
    pub(super) fn pass(&self, exchange: &Exchange, now: Boot) -> Result<(), Duration> {
        let mut lines = self.lines();
        let Some(lines) = lines.get_mut(&key(exchange)) else { return Ok(()) };
        let Some(line) = lines.iter_mut().find(|line| line.is_of(exchange)) else { return Ok(()) };
        line.pass(&exchange.matched.operation, now)
    }

    pub(super) fn heard(&self, exchange: &Exchange, said: Said, now: Boot) {
        let mut all = self.lines();
        if said == Said::Nothing && all.is_empty() {
            return;
        }
        let lines = all.entry(key(exchange)).or_default();
        let place = lines.iter().position(|line| line.is_of(exchange));
        let place = place.unwrap_or_else(|| {
            lines.push(Line::new(exchange, now));
            lines.len() - 1
        });
        if let Some(line) = lines.get_mut(place) {
            self.take_in(line, exchange, said, now);
        }
        lines.retain(|line| line.says_something(now));
        if lines.is_empty() {
            all.remove(&key(exchange));
        }
    }

    fn take_in(&self, line: &mut Line, exchange: &Exchange, said: Said, now: Boot) {
        match said {
            Said::NotBefore(wait) => line.refused(wait.clamp(FIRST_WAIT, self.longest), now),
            // Calls that were under way together are refused together: that is one refusal.
            Said::Limited if now < line.until => {}
            Said::Limited => {
                let doubled = FIRST_WAIT.saturating_mul(1 << line.strikes.min(16));
                line.refused(doubled.min(self.longest), now);
            }
            // A call that left before the refusal and was served says nothing on what came after it.
            Said::Nothing | Said::UsedUp(_) if now < line.until => {}
            Said::Nothing => line.served(),
            Said::UsedUp(wait) => {
                line.served();
                let until = now.plus(wait.min(self.used_up_longest));
                line.used_up(&exchange.matched.operation, until, now);
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, Quick<(TenantId, ConnectionId), Vec<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn key(exchange: &Exchange) -> (TenantId, ConnectionId) {
    (exchange.caller.tenant, exchange.connection)
}

impl Line {
    fn new(exchange: &Exchange, now: Boot) -> Self {
        let (host, port) = (exchange.host.host.clone(), exchange.host.port);
        Self { host, port, until: now, strikes: 0, probed_until: None, operations: Vec::new() }
    }

    fn is_of(&self, exchange: &Exchange) -> bool {
        self.host == exchange.host.host && self.port == exchange.host.port
    }

    fn pass(&mut self, operation: &OperationId, now: Boot) -> Result<(), Duration> {
        let left = |until: Boot| (now < until).then(|| until.since(now));
        if let Some(wait) = left(self.until) {
            return Err(wait);
        }
        if let Some(wait) = self.probed_until.and_then(left) {
            return Err(wait);
        }
        let used_up = self.operations.iter().find(|(own, _)| own == operation);
        if let Some(wait) = used_up.and_then(|(_, until)| left(*until)) {
            return Err(wait);
        }
        if self.strikes > 0 {
            self.probed_until = Some(now.plus(PROBE_WITHIN));
        }
        Ok(())
    }

    fn refused(&mut self, wait: Duration, now: Boot) {
        if now >= self.until {
            self.strikes = self.strikes.saturating_add(1);
        }
        self.until = self.until.max(now.plus(wait));
        self.probed_until = None;
    }

    const fn served(&mut self) {
        (self.strikes, self.probed_until) = (0, None);
    }

    fn used_up(&mut self, operation: &OperationId, until: Boot, now: Boot) {
        self.operations.retain(|(own, ends)| own != operation && *ends > now);
        if self.operations.len() < OPERATIONS_MAX {
            self.operations.push((operation.clone(), until));
        }
    }

    fn says_something(&self, now: Boot) -> bool {
        self.strikes > 0 || now < self.until || self.operations.iter().any(|(_, until)| now < *until)
    }
}

#[cfg(test)]
mod tests;
