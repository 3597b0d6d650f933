//! Ends a task whose `run` was killed.
//!
//! `run` ends its task by itself however its program ends; only where it is killed it cannot. So a second process waits
//! at the other end of a pipe, in a session of its own where no signal to `run`'s group arrives. A word says that all
//! is done. An end without that word is `run`'s end, and the task is ended from here: it would stay awake for as long
//! as its leases last, with an enrolled key that nobody holds any more.

use crate::{cli::WATCH, commands::Seat, error::Failure};
use nightlatch_control::{api::TaskView, client::segment};
use nightlatch_domain::id::TaskId;
use rustix::process::setsid;
use serde_json::json;
use std::{
    io::{self, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

/// What `run` says when it has ended the task itself.
const DONE: &[u8] = b".";

/// The process, as `run` sees it.
#[derive(Debug)]
pub(super) struct Watcher(Child);

impl Watcher {
    /// Starts it; `act` is what becomes of the task.
    pub(super) fn start(data: &Path, act: &str, task: TaskId) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.env_clear().arg("--data").arg(data).args([WATCH, act, &task.to_string()]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self(child))
    }

    /// There is nothing left to watch.
    pub(super) fn dismiss(mut self) {
        if let Some(mut line) = self.0.stdin.take() {
            let _ = line.write_all(DONE);
        }
        let _ = self.0.wait();
    }
}

/// The process itself: waits for the end of `run`, and ends its task where that did not.
pub(crate) async fn watch(seat: &Seat, act: &str, task: &str) -> Result<(), Failure> {
    // It fails for the leader of a session only, which has left the other one already.
    let _ = setsid();
    let mut said = Vec::new();
    let read = io::stdin().take(1).read_to_end(&mut said);
    if read.is_ok() && said == DONE {
        return Ok(());
    }
    let client = super::super::client_of(&seat.place()?)?;
    client.post::<TaskView>(&format!("/v1/tasks/{}/{}", segment(task), segment(act)), &json!({})).await?;
    Ok(())
}
