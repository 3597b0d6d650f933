//! Ends a task whose `run` was killed.
//!
//! `run` ends its task by itself however its program ends; only where it is killed it cannot. So a second process waits
//! at the other end of a pipe, in a session of its own where no signal to `run`'s group arrives. A word says that all
//! is done. An end without that word is `run`'s end, or it could not end the task, and the task is ended from here: it
//! would stay awake for as long as its leases last, with an enrolled key that nobody holds any more. A server that is
//! not there just now is waited for, as long as its data folder is.

use crate::{cli::WATCH, commands::Seat, error::Failure};
use nightlatch_control::{ClientError, api::TaskView, client::segment};
use nightlatch_domain::id::TaskId;
use rustix::process::setsid;
use serde_json::json;
use std::{
    io::{self, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::time::sleep;

/// What `run` says when it has ended the task itself.
const DONE: &[u8] = b".";
/// A server that is started again answers within seconds; a task that is nobody's is not left for long.
const TRY_EVERY: Duration = Duration::from_secs(2);
/// Ten minutes: whoever has ended the server for longer ends what is awake when it is started again, or lets its
/// leases end.
const TRIES_MAX: usize = 300;

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
    let path = format!("/v1/tasks/{}/{}", segment(task), segment(act));
    until_answered(TRY_EVERY, async || {
        let place = seat.place()?;
        // An installation that was removed has no tasks, and nobody starts its server again.
        if !place.root().exists() {
            return Ok(());
        }
        let client = super::super::client_of(&place)?;
        Ok(client.post::<TaskView>(&path, &json!({})).await.map(drop)?)
    })
    .await
}

/// Tries again while nobody answers. A no is an answer.
async fn until_answered(
    every: Duration,
    mut ask: impl AsyncFnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    for _ in 1..TRIES_MAX {
        match ask().await {
            Err(Failure::Api(ClientError::Silent | ClientError::Broken(_))) => sleep(every).await,
            answered => return answered,
        }
    }
    ask().await
}

#[cfg(test)]
mod tests {
    //! Proves that a server which is away for a while is waited for, and not for ever.

    use super::{TRIES_MAX, until_answered};
    use crate::error::Failure;
    use nightlatch_control::ClientError;
    use std::time::Duration;

    async fn asked(mut answer: impl FnMut(usize) -> Result<(), Failure>) -> (bool, usize) {
        let mut times = 0;
        let done = until_answered(Duration::ZERO, async || {
            times += 1;
            answer(times)
        });
        (done.await.is_ok(), times)
    }

    #[tokio::test]
    async fn a_task_is_ended_once_the_server_is_back_and_a_no_is_taken() {
        let silent = || Err(ClientError::Silent.into());
        assert_eq!(asked(|times| if times < 5 { silent() } else { Ok(()) }).await, (true, 5));
        assert_eq!(asked(|_| Err(ClientError::NoEntropy.into())).await, (false, 1));
        assert_eq!(asked(|_| silent()).await, (false, TRIES_MAX));
    }
}
