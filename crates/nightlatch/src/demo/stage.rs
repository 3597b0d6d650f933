//! The stage: one temporary folder, the simulator in this process, two installations of Nightlatch, a
//! human, and the actors.
//!
//! The second installation has its timer off, so that in it nobody but the callers themselves can cause
//! the refresh that they all wait for. An operator may say so in `nightlatch.toml`.

use super::{
    human::Browser,
    install::{Installation, Known, Login, TOOL},
    lines::{Ask, Told},
    parts::{Player, TOKEN_VARIABLE},
    report::Counted,
};
use crate::{
    adapters::SystemClock, cli::ACTOR, demo::parts::NAIVE_REDIRECT_URI, error::Failure, output::hint,
};
use nightlatch_custody::entropy::SystemEntropy;
use nightlatch_simulator::{Account, Counters, Policy, Registered, Simulator, SimulatorError};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// The idle window of the provider's refresh tokens where the demo waits for it: seconds in place of months.
/// The keeper uses a token at half of it, which leaves a busy machine four seconds to do so.
pub(crate) const IDLE: Duration = Duration::from_secs(9);

/// Ten lives of the tokens whose end is waited for.
const EXPIRED_WITHIN: Duration = Duration::from_secs(60);

/// Everything that the demo set up; [`Stage::strike`] takes it away.
pub(crate) struct Stage {
    /// The provider.
    pub(crate) simulator: Simulator,
    account: Account,
    /// Where the keeper's timer runs.
    pub(crate) main: Installation,
    /// Where it does not.
    pub(crate) timerless: Installation,
    /// Where the agents' programs work: they see nothing else of the folder.
    agents: PathBuf,
    program: PathBuf,
    /// This program, where a sandbox shows it.
    visible_program: PathBuf,
    folder: TempDir,
}

/// What an agent behind Nightlatch was given by commands: a connection, a task, a grant.
pub(crate) struct Granted {
    /// The registration that the connection uses.
    pub(crate) client: Registered,
    /// The connection's id.
    pub(crate) connection: String,
    /// The task's id.
    pub(crate) task: String,
    /// What the agent holds.
    pub(crate) reference: String,
    name: String,
}

impl Stage {
    /// Starts everything. What was started ends if something else does not start.
    pub(crate) async fn set(refresh_timer: bool) -> Result<Self, Failure> {
        hint("setting the stage: a provider, and `nightlatch up` in a temporary folder");
        let folder = tempfile::Builder::new().prefix("nightlatch-demo-").tempdir()?;
        let simulator = Simulator::start(Arc::new(SystemClock), Arc::new(SystemEntropy::new())).await;
        let simulator = simulator.map_err(failure)?;
        let account = simulator.provider().open_account("dana").map_err(failure)?;
        let base = simulator.base().to_owned();
        let known = Known { base: &base, idle_secs: Some(IDLE.as_secs()), refresh_timer };
        let timerless = Known { base: &base, idle_secs: None, refresh_timer: false };
        let (main, timerless) = tokio::try_join!(
            Installation::start(folder.path().join("main"), &known),
            Installation::start(folder.path().join("timerless"), &timerless),
        )?;
        let agents = folder.path().join("agents");
        std::fs::create_dir(&agents)?;
        let program = std::env::current_exe()?;
        let visible_program = visible(program.clone(), &agents)?;
        Ok(Self { simulator, account, main, timerless, agents, program, visible_program, folder })
    }

    /// Ends everything that was started and removes what was written.
    pub(crate) async fn strike(self) {
        let Self { simulator, main, timerless, folder, .. } = self;
        tokio::join!(main.stop(), timerless.stop());
        drop(simulator);
        let path = folder.path().to_owned();
        if let Err(error) = folder.close() {
            hint(format!("`{}` could not be removed: {error}", path.display()));
        }
    }

    /// A browser of the human, without cookies.
    fn human(&self) -> Browser {
        Browser::of(&self.account.login, &self.account.password)
    }

    /// Whose account it is.
    pub(crate) fn login(&self) -> &str {
        &self.account.login
    }

    /// Every secret that the provider gave out so far, to whomever, and the human's password.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut secrets = self.simulator.provider().issued(None);
        secrets.push(self.account.password.clone());
        secrets
    }

    /// The provider's counters for one client.
    pub(crate) fn counters(&self, client: &Registered) -> Result<Counters, Failure> {
        self.simulator.provider().counters(&client.client_id).map_err(failure)
    }

    /// The same as the report shows them.
    pub(crate) fn counted(&self, client: &Registered) -> Result<Counted, Failure> {
        let counters = self.counters(client)?;
        Ok(Counted {
            refreshes: counters.refreshes,
            reuse_detected: counters.reuse_detected,
            families_revoked: counters.families_revoked,
        })
    }

    /// The provider ends what a client was granted, without telling anybody.
    pub(crate) fn revoke(&self, client: &Registered) -> Result<(), Failure> {
        self.simulator.provider().revoke(&client.client_id).map(drop).map_err(failure)
    }

    /// Waits until the provider itself takes no access token of this client any more.
    pub(crate) async fn until_expired(&self, client: &Registered) -> Result<(), Failure> {
        let late = self.simulator.now().plus(EXPIRED_WITHIN);
        while self.simulator.provider().has_living_access(&client.client_id, self.simulator.now()) {
            if self.simulator.now() > late {
                return Err(Failure::Finding("somebody refreshes a token that should expire".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits by the provider's own time.
    pub(crate) async fn wait(&self, span: Duration) {
        let end = self.simulator.now().plus(span);
        while self.simulator.now() < end {
            tokio::time::sleep(end.since(self.simulator.now())).await;
        }
    }

    /// Registers an ordinary client.
    pub(crate) fn register_naive(&self, policy: Policy) -> Result<Registered, Failure> {
        self.simulator.provider().register(&[NAIVE_REDIRECT_URI], policy).map_err(failure)
    }

    /// Starts an ordinary client; all of one `name` share its token file.
    pub(crate) fn naive(&self, name: &str, number: usize, client: &Registered) -> Result<Player, Failure> {
        let transcript = self.folder.path().join(format!("{name}-{number}.received"));
        let mut actor = self.main.command();
        actor.args([ACTOR, "naive", "--issuer", self.simulator.base()]);
        actor.args(["--client-id", &client.client_id]).arg("--transcript").arg(&transcript);
        actor.arg("--file").arg(self.folder.path().join(format!("{name}-tokens.json")));
        actor.env(TOKEN_VARIABLE, &client.client_secret);
        Player::start(actor, transcript)
    }

    /// Its human logs in, once, at a browser.
    pub(crate) async fn log_in(&self, naive: &mut Player) -> Result<(), Failure> {
        let Told::Open { address, ends_at } = naive.ask(&Ask::LogIn).await? else {
            return Err(Failure::Finding("the ordinary client has no login".to_owned()));
        };
        let landed = self.human().open_until(&address, &ends_at).await;
        let address = landed.map_err(|lost| Failure::Finding(lost.to_string()))?;
        naive.ask(&Ask::Landed { address }).await.map(drop)
    }

    /// Connects an account and gives an agent a grant, by the commands of any user.
    pub(crate) async fn grant(
        &self,
        at: &Installation,
        name: &str,
        policy: Policy,
    ) -> Result<Granted, Failure> {
        let client = self.simulator.provider().register(&[&at.redirect_uri], policy).map_err(failure)?;
        let connected = self.connect(at, &client, ["--name", name]).await?;
        at.ask(&["agent", "add", name]).await?;
        let task = text(&at.ask(&["task", "open", "--agent", name, "--name", name]).await?, "/id")?;
        let grant = at.ask(&["grant", "add", "--task", &task, &format!("{TOOL}/{name}:read")]).await?;
        Ok(Granted {
            client,
            connection: text(&connected, "/connection/id")?,
            reference: text(&grant, "/reference")?,
            name: name.to_owned(),
            task,
        })
    }

    /// The human logs in for Nightlatch; `which` is a new connection's name or the one to reconnect.
    pub(crate) async fn connect(
        &self,
        at: &Installation,
        client: &Registered,
        which: [&str; 2],
    ) -> Result<Value, Failure> {
        let login = Login { client_id: &client.client_id, client_secret: &client.client_secret, which };
        at.connect(&login, &mut self.human()).await
    }

    /// Starts an agent under `run`, for its task: it finds a proxy and a reference, and nothing else.
    pub(crate) fn agent(
        &self,
        at: &Installation,
        granted: &Granted,
        number: usize,
    ) -> Result<Player, Failure> {
        let transcript = self.agents.join(format!("{}-{number}.received", granted.name));
        let mut run = at.command();
        run.args(["run", "--no-start", "--task", &granted.task, "--"]).arg(&self.visible_program);
        run.args([ACTOR, "agent", "--url", self.simulator.base(), "--transcript"]).arg(&transcript);
        run.current_dir(&self.agents);
        Player::start(run, transcript)
    }

    /// What a person may look at while the demo stays up.
    pub(crate) fn what_to_try(&self) -> String {
        format!(
            "\
What to try next, in another terminal:
  alias nightlatch='{program}'; export NIGHTLATCH_DATA={data}
  nightlatch health          every connection, and until when it lives
  nightlatch ledger tail     every call, each with its decision
  nightlatch grant list      what the agents held: references, worth nothing to anybody else
  nightlatch run --grant {TOOL}/two-logins -- sh -c 'curl -s {api}/api/mail -H \"authorization: Bearer ${TOKEN_VARIABLE}\"'
  curl {admin}/issued        what the provider gave out, and no agent ever saw
With an account of your own: `nightlatch up`, then `nightlatch connect github`.",
            program = self.program.display(),
            data = self.main.data().display(),
            api = self.simulator.base(),
            admin = self.simulator.admin(),
        )
    }
}

/// Folders over which a sandbox puts empty ones.
const COVERED: [&str; 4] = ["/tmp", "/var/tmp", "/run", "/dev/shm"];

/// This program where the agents' sandbox shows it: where it was built, or beside them.
fn visible(program: PathBuf, agents: &Path) -> Result<PathBuf, Failure> {
    if !COVERED.iter().any(|folder| program.starts_with(folder)) {
        return Ok(program);
    }
    let beside = agents.join("nightlatch");
    if std::fs::hard_link(&program, &beside).is_err() {
        std::fs::copy(&program, &beside)?;
    }
    Ok(beside)
}

fn text(value: &Value, pointer: &str) -> Result<String, Failure> {
    let found = value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Failure::Finding(format!("a command's result has no `{pointer}`")))
}

fn failure(error: SimulatorError) -> Failure {
    Failure::Start(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::visible;
    use std::path::PathBuf;

    #[test]
    fn a_program_that_a_sandbox_would_cover_is_put_beside_the_agents() {
        let agents = tempfile::tempdir().unwrap();
        let program = agents.path().join("built");
        std::fs::write(&program, b"x").unwrap();
        let elsewhere = PathBuf::from("/opt/nightlatch");
        assert_eq!(visible(elsewhere.clone(), agents.path()).unwrap(), elsewhere);
        let covered = PathBuf::from("/run/..").join(program.strip_prefix("/").unwrap());
        assert_eq!(visible(covered, agents.path()).unwrap(), agents.path().join("nightlatch"));
        assert_eq!(std::fs::read(agents.path().join("nightlatch")).unwrap(), b"x");
    }
}
