//! Signals, passed on to the program exactly once.
//!
//! `run`, the stages and the program share one process group, so that a shell's job control and a pipeline work as
//! they do without `run`. What the terminal sends (Ctrl-C, Ctrl-Z) therefore reaches the program by itself, and what
//! is sent to `run` alone does not. Nobody can ask a signal where it came from without `unsafe`, so two witnesses
//! count: `run` says how many it has had of a kind, and the stage beside the program passes on only what it has not
//! had itself. The kernel signals a whole group before any member runs on, so the stage's count is never behind.

use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    fs, io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What is passed on.
const PASSED: &[Signal] = &[
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::TSTP,
    Signal::CONT,
];

/// What would only stop us: the program that reads or writes the terminal has had it too, and its stop is what counts.
const ENDURED: &[Signal] = &[Signal::TTIN, Signal::TTOU];

/// How often each signal came.
pub(super) type Counts = BTreeMap<i32, u64>;

/// The signals of this process, from now on.
#[derive(Debug)]
pub(super) struct Heard {
    streams: Vec<(i32, Stream)>,
    counts: Counts,
}

impl Heard {
    /// Listens to all but those that whoever started us wants ignored (`nohup`, a background job of a script).
    pub(super) fn listen() -> io::Result<Self> {
        let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        let heard = |which: &Signal| ignored & (1 << (which.as_raw() - 1)) == 0;
        let streams = PASSED.iter().chain(ENDURED).filter(|which| heard(which)).map(|which| {
            let number = which.as_raw();
            Ok((number, signal(SignalKind::from_raw(number))?))
        });
        Ok(Self { streams: streams.collect::<io::Result<_>>()?, counts: Counts::new() })
    }

    /// The next signal, by number, and how often it came so far.
    pub(super) async fn next(&mut self) -> (i32, u64) {
        let number = std::future::poll_fn(|context| self.poll(context)).await;
        (number, self.count(number))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<i32> {
        let came = |stream: &mut Stream, context: &mut Context<'_>| {
            matches!(Pin::new(stream).poll_recv(context), Poll::Ready(Some(())))
        };
        let passed = |number: i32| PASSED.iter().any(|which| which.as_raw() == number);
        let mut first = None;
        for (number, stream) in &mut self.streams {
            while first.is_none() && came(stream, context) {
                if passed(*number) {
                    first = Some(*number);
                }
            }
        }
        first.map_or(Poll::Pending, Poll::Ready)
    }

    fn count(&mut self, number: i32) -> u64 {
        let count = self.counts.entry(number).or_default();
        *count += 1;
        *count
    }

    /// Whether this is more than came here, and if so takes it as passed on.
    pub(super) fn lacks(&mut self, number: i32, count: u64) -> bool {
        while let Poll::Ready(own) = self.poll(&mut Context::from_waker(std::task::Waker::noop())) {
            self.count(own);
        }
        let own = self.counts.entry(number).or_default();
        let lacking = *own < count;
        *own = (*own).max(count);
        lacking
    }
}

/// A signal by its number, where it is one that is passed on.
pub(super) fn passed(number: i32) -> Option<Signal> {
    PASSED.iter().copied().find(|which| which.as_raw() == number)
}

/// The mask of ignored signals in `/proc/self/status` (proc(5)).
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    //! Proves that a signal which reached the whole group is not passed on, and one that reached `run` alone is.

    use super::{Heard, ignored};
    use rustix::process::{Signal, getpid, kill_process};

    #[test]
    fn the_kernels_mask_of_ignored_signals_is_read() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000000005\n"), 5);
        assert_eq!(ignored("Name:\tx\n"), 0);
    }

    #[tokio::test]
    async fn what_came_to_both_is_passed_on_by_none_and_what_came_to_one_is_passed_on_once() {
        let mut stage = Heard::listen().unwrap();
        let winch = Signal::WINCH.as_raw();
        kill_process(getpid(), Signal::WINCH).unwrap();
        assert_eq!(stage.next().await, (winch, 1));
        assert!(!stage.lacks(winch, 1), "the terminal had sent it to both");
        assert!(stage.lacks(winch, 2), "it was sent to `run` alone");
        assert!(!stage.lacks(winch, 2), "it was passed on twice");
    }
}
