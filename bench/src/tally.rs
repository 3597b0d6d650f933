//! What came of many requests.

use crate::Fault;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Tally {
    requests: u64,
    pub(crate) failed: u64,
    bytes: u64,
    /// Why the last one failed.
    fault: Option<String>,
    micros: Vec<u64>,
}

impl Tally {
    /// One request, and the bytes of its answer's body or why there is none.
    pub(crate) fn count(&mut self, asked: Result<usize, Fault>) {
        match asked {
            Ok(bytes) => {
                self.requests += 1;
                self.bytes += bytes as u64;
            }
            Err(fault) => {
                self.failed += 1;
                self.fault = Some(fault.to_string());
            }
        }
    }

    /// How long one of them took.
    pub(crate) fn took(&mut self, time: Duration) {
        self.micros.push(time.as_micros().try_into().unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.bytes += other.bytes;
        self.fault = other.fault.or(self.fault.take());
        self.micros.extend(other.micros);
    }

    pub(crate) fn shown(mut self) -> Value {
        self.micros.sort_unstable();
        let at = |percent: usize| self.micros.get(self.micros.len() * percent / 100);
        json!({
            "requests": self.requests,
            "failed": self.failed,
            "bytes": self.bytes,
            "why": self.fault,
            "p50_us": at(50),
            "p99_us": at(99),
        })
    }
}
