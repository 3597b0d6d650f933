//! Budgets: how much a grant is good for, in all.
//!
//! A limit of calls says how fast; a budget says how much until a human is asked again. It is written
//! `calls=100,writes=5,bytes=1G`, is part of the grant's row (so that the keeper vouches for it), and what was
//! spent of it outlives restarts.
//!
//! **Never less than was spent.** Before a call leaves, what it may use is reserved in the store, in chunks, so
//! that most calls write nothing. After a crash the whole of what was reserved counts as spent: at most a chunk
//! is lost, and it is lost to the agent.

use crate::tool::Effect;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How much a grant is good for. A part that is not said has no end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Budget {
    /// Calls that left for the tool.
    pub calls: Option<u64>,
    /// Those of them that were no reads.
    pub writes: Option<u64>,
    /// Bytes of bodies, both ways together.
    pub bytes: Option<u64>,
}

/// Why a text is no budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no budget; write what it is good for, for example `calls=100,writes=5,bytes=1G`")]
pub struct BudgetError(pub String);

impl FromStr for Budget {
    type Err = BudgetError;
    fn from_str(text: &str) -> Result<Self, BudgetError> {
        let wrong = || BudgetError(text.chars().take(64).collect());
        let mut budget = Self::default();
        for part in text.split(',') {
            let (name, amount) = part.split_once('=').ok_or_else(wrong)?;
            let place = match name {
                "calls" => &mut budget.calls,
                "writes" => &mut budget.writes,
                "bytes" => &mut budget.bytes,
                _ => return Err(wrong()),
            };
            let amount = if name == "bytes" { bytes(amount) } else { amount.parse().ok() };
            if place.replace(amount.ok_or_else(wrong)?).is_some() {
                return Err(wrong());
            }
        }
        Ok(budget)
    }
}

/// A number of bytes, with `K`, `M`, `G` or `T` for powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    const UNITS: [char; 4] = ['K', 'M', 'G', 'T'];
    let Some(power) = text.chars().last().and_then(|last| UNITS.iter().position(|unit| *unit == last)) else {
        return text.parse().ok();
    };
    let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    number.checked_mul(1024u64.checked_pow(u32::try_from(power).ok()? + 1)?)
}

impl fmt::Display for Budget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("calls", self.calls), ("writes", self.writes), ("bytes", self.bytes)];
        let said: Vec<String> = parts
            .into_iter()
            .filter_map(|(name, amount)| amount.map(|amount| format!("{name}={}", shown(name, amount))))
            .collect();
        out.write_str(&said.join(","))
    }
}

fn shown(name: &str, amount: u64) -> String {
    let units = [("T", 1u64 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    let unit = units.iter().find(|(_, size)| name == "bytes" && amount > 0 && amount.is_multiple_of(*size));
    unit.map_or_else(|| amount.to_string(), |(unit, size)| format!("{}{unit}", amount / size))
}

impl TryFrom<String> for Budget {
    type Error = BudgetError;
    fn try_from(text: String) -> Result<Self, BudgetError> {
        text.parse()
    }
}

impl From<Budget> for String {
    fn from(budget: Budget) -> Self {
        budget.to_string()
    }
}

/// An amount of each: what was spent, what is reserved, what is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Calls.
    pub calls: u64,
    /// Those that were no reads.
    pub writes: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Spent {
    /// What there must be for a call of this effect to leave. What its bodies take is counted as they pass.
    #[must_use]
    pub const fn of_call(effect: Effect) -> Self {
        Self { calls: 1, writes: if matches!(effect, Effect::Read) { 0 } else { 1 }, bytes: 1 }
    }

    /// Part by part.
    #[must_use]
    pub fn each(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            calls: of(self.calls, other.calls),
            writes: of(self.writes, other.writes),
            bytes: of(self.bytes, other.bytes),
        }
    }

    /// The first part of which there is less than in `wanted`: a word of the grammar.
    #[must_use]
    pub const fn lacks(self, wanted: Self) -> Option<&'static str> {
        if self.calls < wanted.calls {
            Some("calls")
        } else if self.writes < wanted.writes {
            Some("writes")
        } else if self.bytes < wanted.bytes {
            Some("bytes")
        } else {
            None
        }
    }
}

impl Budget {
    /// The end of each part; one that was not said has none.
    #[must_use]
    pub fn ends(&self) -> Spent {
        let end = |part: Option<u64>| part.unwrap_or(u64::MAX);
        Spent { calls: end(self.calls), writes: end(self.writes), bytes: end(self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Spent};
    use crate::tool::Effect;
    use proptest::prelude::{any, proptest};

    #[test]
    fn a_budget_is_read_as_it_is_written() {
        let budget: Budget = "calls=100,writes=5,bytes=1G".parse().unwrap();
        assert_eq!((budget.calls, budget.writes, budget.bytes), (Some(100), Some(5), Some(1 << 30)));
        assert_eq!(budget.to_string(), "calls=100,writes=5,bytes=1G");
        assert_eq!("bytes=1500".parse::<Budget>().unwrap().to_string(), "bytes=1500");
        assert_eq!("writes=0".parse::<Budget>().unwrap().writes, Some(0));
    }

    #[test]
    fn what_could_be_meant_in_two_ways_is_no_budget() {
        for text in [
            "",
            "calls",
            "calls=",
            "calls=-1",
            "calls=1,calls=2",
            "calls=1K",
            "bytes=1X",
            "bytes=G",
            "call=1",
            "calls=1,",
            "bytes=99999999999T",
        ] {
            assert!(text.parse::<Budget>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_lacking_is_named() {
        let spent = |calls, writes, bytes| Spent { calls, writes, bytes };
        assert_eq!(spent(1, 0, 1).lacks(Spent::of_call(Effect::Read)), None);
        assert_eq!(spent(1, 0, 1).lacks(Spent::of_call(Effect::Destructive)), Some("writes"));
        assert_eq!(spent(0, 9, 9).lacks(Spent::of_call(Effect::Read)), Some("calls"));
        assert_eq!(spent(1, 1, 0).lacks(Spent::of_call(Effect::Read)), Some("bytes"));
        assert_eq!("calls=3".parse::<Budget>().unwrap().ends(), spent(3, u64::MAX, u64::MAX));
    }

    proptest! {
        #[test]
        fn what_is_read_prints_and_reads_the_same(calls in any::<Option<u64>>(), bytes in any::<Option<u64>>()) {
            let budget = Budget { calls, writes: None, bytes };
            if budget != Budget::default() {
                assert_eq!(budget.to_string().parse::<Budget>(), Ok(budget));
            }
        }
    }
}
