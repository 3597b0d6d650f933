//! What happened, line by line: a digest of all of it, and the last lines to read.

use std::collections::VecDeque;

/// Lines that can be shown; what came before is in the digest alone.
const SHOWN_MAX: usize = 4000;

#[derive(Debug)]
pub(super) struct Log {
    digest: u64,
    lines: u64,
    shown: VecDeque<String>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { digest: 0xCBF2_9CE4_8422_2325, lines: 0, shown: VecDeque::new() }
    }

    pub(super) fn note(&mut self, line: String) {
        // FNV-1a: two runs are compared, nobody forges anything.
        for byte in line.bytes().chain([b'\n']) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        self.lines += 1;
        if self.shown.len() == SHOWN_MAX {
            self.shown.pop_front();
        }
        self.shown.push_back(line);
    }

    /// The same for two logs only where they have the same lines.
    pub(super) fn digest(&self) -> (u64, u64) {
        (self.lines, self.digest)
    }

    pub(super) fn last(&self, lines: usize) -> Vec<String> {
        let skipped = self.shown.len().saturating_sub(lines);
        self.shown.iter().skip(skipped).cloned().collect()
    }
}
