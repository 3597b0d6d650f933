//! An actor, as the demo holds it: a subprocess that answers one line with one line. It ends with its
//! handle: its input closes, and what does not end by itself is killed.

use crate::{
    demo::{
        lines::{Answered, Ask, Told},
        scan::{ScanError, actor_of},
    },
    error::Failure,
};
use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// An answer may wait for a refresh, on a machine that is busy with something else.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// A program that its library has thrown an error at ends soon.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A running actor.
pub(crate) struct Player {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Where it writes every byte that it receives.
    pub(crate) transcript: PathBuf,
}

impl Player {
    /// Starts an actor: this command with nothing inherited but what is set on it.
    pub(crate) fn start(mut command: Command, transcript: PathBuf) -> Result<Self, Failure> {
        let errors = File::create(transcript.with_extension("errors"))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).kill_on_drop(true);
        let mut child = command.spawn()?;
        let gone = || Failure::Start("an actor of the demo has no standard input or output".to_owned());
        let input = child.stdin.take().ok_or_else(gone)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(gone)?).lines();
        Ok(Self { child, input, output, transcript })
    }

    /// The actor's own process, which under `run` is not the one that was started.
    pub(crate) fn pid(&self) -> Result<u32, ScanError> {
        self.child.id().ok_or(ScanError::Gone).and_then(actor_of)
    }

    /// Asks, and waits for what it tells.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Result<Told, Failure> {
        self.say(ask).await?;
        self.told().await
    }

    /// Asks without waiting.
    pub(crate) async fn say(&mut self, ask: &Ask) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(ask).map_err(std::io::Error::from)?;
        line.push(b'\n');
        self.input.write_all(&line).await?;
        Ok(self.input.flush().await?)
    }

    /// What it tells next.
    pub(crate) async fn told(&mut self) -> Result<Told, Failure> {
        let line = timeout(ANSWER_WITHIN, self.output.next_line()).await;
        let line =
            line.map_err(|_| Failure::Finding(format!("an actor said nothing for {ANSWER_WITHIN:?}")))??;
        let line = line.ok_or_else(|| self.gone())?;
        match serde_json::from_str(&line).map_err(std::io::Error::from)? {
            Told::Broken { why } => Err(Failure::Finding(why)),
            told => Ok(told),
        }
    }

    fn gone(&self) -> Failure {
        let errors = fs::read_to_string(self.transcript.with_extension("errors")).unwrap_or_default();
        Failure::Finding(format!("an actor ended before it answered: {}", errors.trim()))
    }

    /// What its calls were answered.
    pub(crate) async fn answers(&mut self) -> Result<Vec<Answered>, Failure> {
        match self.told().await? {
            Told::Answers { answers } => Ok(answers),
            other => Err(Failure::Finding(format!("an actor told {other:?} in place of answers"))),
        }
    }

    /// One call, and its answer.
    pub(crate) async fn call(&mut self, path: &str) -> Result<Answered, Failure> {
        self.say(&Ask::Call { path: path.to_owned() }).await?;
        let answers = self.answers().await?;
        let none = || Failure::Finding("an actor made no call".to_owned());
        answers.into_iter().next().ok_or_else(none)
    }

    /// Whether it ends although nobody told it to.
    pub(crate) async fn ends_by_itself(&mut self) -> bool {
        timeout(END_WITHIN, self.child.wait()).await.is_ok()
    }

    /// Lets it end, and waits for it.
    pub(crate) async fn end(self) -> Result<(), Failure> {
        let Self { mut child, input, output, .. } = self;
        drop((input, output));
        let ended = timeout(ANSWER_WITHIN, child.wait()).await;
        ended.map_err(|_| Failure::Finding("an actor did not end".to_owned()))??;
        Ok(())
    }
}
