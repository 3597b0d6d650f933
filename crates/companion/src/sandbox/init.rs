//! The keeper of the program: starts it, passes signals on, reaps what it leaves behind, and says how it ended.
//!
//! As the first process of a pid namespace it takes everything with it when it ends. Elsewhere it is the subreaper of
//! what the program leaves behind, and ends that one process after another.

use super::{
    orders::{Ended, NotStarted, Order, Report, Start},
    signals::{self, Heard},
    stage,
    wire::{Line, Live},
};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait, waitpid};
use std::{
    fs,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    process::Stdio,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// How long a program that is only asked something may take, and how much of its answer is read.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_MAX_BYTES: u64 = 256;
/// How long it may take until a program runs: as long as its file and its folder take to be found.
const ENTERED_WITHIN: Duration = Duration::from_secs(20);

/// The keeper, before its program runs.
#[derive(Debug)]
pub(super) struct Keeper {
    line: Line,
    heard: Heard,
    children: tokio::signal::unix::Signal,
}

impl Keeper {
    /// Listens to signals before anybody can send one.
    pub(super) fn new(line: Line) -> io::Result<Self> {
        Ok(Self { line, heard: Heard::listen()?, children: signal(SignalKind::child())? })
    }

    /// Serves until the program has ended, or `run` is gone: also in the moment between the start of the program and
    /// the word of it.
    pub(super) async fn serve(self) -> io::Result<()> {
        let served = self.obey().await;
        clear_away();
        served
    }

    async fn obey(mut self) -> io::Result<()> {
        loop {
            let (order, beside) = self.line.receive::<Order>()?;
            match (order, beside) {
                (Order::Ask(start), Some(input)) => {
                    let answer = self.ask(&start, &input).await;
                    self.line.send(&Report::Answer(answer), None)?;
                }
                (Order::Start(start), Some(input)) => match enter(&start, &input, Stdio::inherit()) {
                    Ok(program) => {
                        self.line.send(&Report::Started, None)?;
                        drop(input);
                        return Watch::over(program, self)?.until_the_end().await;
                    }
                    Err(refused) => return self.line.send(&Report::NotStarted(refused), None),
                },
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// What a program prints within a bound of time; it is the user's own, yet found by the sandbox's means only.
    async fn ask(&mut self, start: &Start, input: &OwnedFd) -> Option<String> {
        let (mut read, write) = io::pipe().ok()?;
        let asked = enter(start, input, Stdio::from(write)).ok()?;
        let ended = tokio::time::timeout(ANSWER_WITHIN, async {
            while !reaped().iter().any(|(pid, status)| *pid == asked && !status.stopped()) {
                self.children.recv().await;
            }
        });
        let ended = ended.await;
        // Whatever it left behind would stand beside the program before that has come to its place.
        end_children(&[]);
        ended.ok()?;
        let mut text = String::new();
        // What is there is read, and nothing waited for.
        rustix::io::ioctl_fionbio(&read, true).ok()?;
        let _ = read.by_ref().take(ANSWER_MAX_BYTES).read_to_string(&mut text);
        Some(text)
    }
}

/// A process that takes its place in the sandbox and becomes the program.
fn enter(start: &Start, input: &OwnedFd, stdout: Stdio) -> Result<Pid, NotStarted> {
    let cannot = |error: io::Error| NotStarted { code: 126, why: error.to_string() };
    let (line, theirs) = Line::pair().map_err(cannot)?;
    let child = stage::start("enter", theirs, stdout).map_err(cannot)?;
    line.patience(Some(ENTERED_WITHIN)).map_err(cannot)?;
    line.send(start, Some(input.as_fd())).map_err(cannot)?;
    match line.receive::<Report>() {
        // Its end of the line went with `exec`.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Pid::from_child(&child)),
        Ok((Report::NotStarted(refused), _)) => Err(refused),
        Ok(_) => Err(cannot(io::ErrorKind::InvalidData.into())),
        Err(error) => {
            let _ = kill_process(Pid::from_child(&child), Signal::KILL);
            Err(cannot(error))
        }
    }
}

/// The keeper, while its program runs.
struct Watch {
    program: Pid,
    line: Live,
    heard: Heard,
    children: tokio::signal::unix::Signal,
}

impl Watch {
    fn over(program: Pid, keeper: Keeper) -> io::Result<Self> {
        let Keeper { line, heard, children } = keeper;
        Ok(Self { program, line: line.into_live()?, heard, children })
    }

    async fn until_the_end(mut self) -> io::Result<()> {
        let ended = loop {
            if let Some(ended) = self.look().await? {
                break ended;
            }
            tokio::select! {
                _ = self.children.recv() => {}
                // It came to the program as well: all that counts is that it was counted.
                _ = self.heard.next() => {}
                order = self.line.receive::<Order>() => match order {
                    Ok(Order::Signal { number, count }) => self.pass_on(number, count).await,
                    Ok(_) => {}
                    // `run` is gone.
                    Err(_) => return Ok(()),
                },
            }
        };
        clear_away();
        self.line.send(&Report::Ended(ended)).await
    }

    /// What became of the program and of what it left behind.
    async fn look(&mut self) -> io::Result<Option<Ended>> {
        for (pid, status) in reaped() {
            if pid != self.program {
                continue;
            }
            if let Some(code) = status.exit_status() {
                return Ok(Some(Ended::Exited(code)));
            }
            if let Some(number) = status.terminating_signal() {
                return Ok(Some(Ended::Killed(number)));
            }
            if status.stopped() {
                self.line.send(&Report::Stopped).await?;
            }
        }
        Ok(None)
    }

    async fn pass_on(&mut self, number: i32, count: u64) {
        // The order may have been read in the very moment in which the signal came here too: the runtime looks once
        // more before that is counted.
        tokio::task::yield_now().await;
        if let Some(which) = signals::passed(number).filter(|_| self.heard.lacks(number, count)) {
            let _ = kill_process(self.program, which);
        }
    }
}

/// Whose state has changed since it was asked last.
fn reaped() -> Vec<(Pid, WaitStatus)> {
    let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
    std::iter::from_fn(|| wait(options).ok().flatten()).collect()
}

/// Ends what the program left behind. In a pid namespace the end of this process does it.
fn clear_away() {
    if getpid().as_raw_nonzero().get() != 1 {
        end_children(&[]);
    }
}

/// Ends all children of this process, and theirs, but those that are spared.
pub(super) fn end_children(spared: &[Pid]) {
    loop {
        // What is killed hands its own children over to us: so again, until nobody is left.
        let ended: Vec<Pid> = children().into_iter().filter(|child| !spared.contains(child)).collect();
        let Some(first) = ended.first() else { return };
        for child in &ended {
            let _ = kill_process(*child, Signal::KILL);
        }
        let _ = waitpid(Some(*first), WaitOptions::empty());
    }
}

/// The processes whose parent this one is.
pub(super) fn children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // pid (comm) state ppid …; the name may hold anything, also parentheses.
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?;
            (parent == own).then_some(pid)
        })
        .collect()
}
