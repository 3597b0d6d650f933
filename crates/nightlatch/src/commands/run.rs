//! `run`: an unchanged program in a sandbox, its requests through a companion, for one task.
//!
//! In this order, so that nothing is opened that could not be used, and whatever was opened is ended again: the
//! sandbox; the task and its grants; a key made in memory and enrolled with a one-time code that is asked for here and
//! never shown; the trust bundle; the program. However it ends, the task that was opened for it is completed, and a
//! task that was named sleeps.

mod environment;
mod hooks;
mod node;
mod own;
mod refusals;
mod scratch;
mod tools;
mod watcher;

pub(super) use watcher::watch;

use super::{Seat, background};
use crate::{adapters::variable, cli::Run, error::Failure, output::hint, place::Place};
use environment::Surroundings;
use hooks::Hooks;
use nightlatch_companion::{
    Address, Companion, Config, Guard, Identity, Limits, Password,
    sandbox::{self, Ended, Plan, Prepared, Program, Strength},
};
use nightlatch_control::{
    Client,
    api::{AddGrant, EnrolmentIssued, IssueEnrolment, OpenTask, TaskView},
    client::segment,
};
use nightlatch_custody::entropy::SystemEntropy;
use rustix::{
    fs::Mode,
    process::{DumpableBehavior, set_dumpable_behavior},
};
use scratch::Scratch;
use serde_json::json;
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
};
use tools::Tool;
use watcher::Watcher;

/// The longest that a task of `run` may last.
const TASK_SECS: u64 = 24 * 3600;
/// The agent that acts unless another is named; the first start makes it.
const AGENT: &str = "laptop";
/// Variables of the user that name files or folders of credentials, which are hidden wherever they lie.
const CREDENTIALS_AT: &[&str] = &[
    "NETRC",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_CONFIG_DIR",
    "CLOUDSDK_CONFIG",
    "DOCKER_CONFIG",
    "GH_CONFIG_DIR",
    "GNUPGHOME",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "NPM_CONFIG_USERCONFIG",
    "PASSWORD_STORE_DIR",
    "PGPASSFILE",
    "PIP_CONFIG_FILE",
    "SSH_AUTH_SOCK",
    "npm_config_userconfig",
];
/// `SIGSYS`: a system call that the filter of the sandbox does not know.
const BAD_CALL: i32 = 31;
/// What stands before the password in the proxy's URL; nobody reads it.
const PROXY_USER: &str = "run";

/// Runs a program; fails with [`Failure::Ended`] where it ended with another code than 0.
pub(super) async fn run(seat: &Seat, asked: Run, umask: Mode) -> Result<(), Failure> {
    // The companion's key is in this memory, where a debugger of the same user would find it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(std::io::Error::from)?;
    let place = seat.place()?;
    let client = background::client(&place, !asked.no_start).await?;
    let scratch = Scratch::make(&SystemEntropy::new())?;
    let prepared = sandbox::prepare(&plan(&place, &asked, &scratch, umask)?)?;
    for line in &prepared.advice {
        hint(format!("nightlatch: {line}"));
    }
    let session = Session::open(client, &asked, prepared.strength).await?;
    let watcher = Watcher::start(place.root(), session.act(&asked), session.task.id)?;
    let hooks = Hooks::of(&std::env::current_dir()?, &home());
    let played = session.play(prepared, &asked, &scratch).await;
    // Whatever came of it, the task does not stay open.
    let closed = session.close(&asked).await;
    if closed.is_ok() {
        watcher.dismiss();
    }
    hooks.tell();
    if matches!(played, Ok(Ended::Killed(BAD_CALL))) {
        hint("nightlatch: the sandbox ends programs that are not this machine's own kind (32 bits)");
    }
    match (played?.code(), closed) {
        (0, closed) => closed,
        (code, closed) => {
            if let Err(failure) = closed {
                hint(format!("nightlatch: {failure}"));
            }
            Err(Failure::Ended(code))
        }
    }
}

/// The user's home folder; one that is not there where nobody says.
fn home() -> PathBuf {
    variable("HOME").map_or_else(|| PathBuf::from("/nonexistent"), PathBuf::from)
}

fn plan(place: &Place, asked: &Run, scratch: &Scratch, umask: Mode) -> Result<Plan, Failure> {
    let home = home();
    let named = CREDENTIALS_AT.iter().filter_map(|name| variable(name));
    // A list of files, as in `PATH`.
    let clusters = variable("KUBECONFIG").unwrap_or_default();
    let hidden = own::folders(place)?
        .into_iter()
        .chain(named.map(PathBuf::from))
        .chain(std::env::split_paths(&clusters));
    // The null device is nobody's credential.
    let hidden = hidden.filter(|path| path.is_absolute() && !path.starts_with("/dev")).collect();
    let configuration = variable("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
    Ok(Plan {
        home,
        configuration,
        work: std::env::current_dir()?,
        scratch: scratch.folder().to_owned(),
        hidden,
        umask: umask.as_raw_mode(),
        confined: !asked.unconfined,
    })
}

/// The task for which a program runs.
struct Session {
    client: Client,
    task: TaskView,
    agent: String,
    /// The ledger's last record before it began.
    before: u64,
}

impl Session {
    async fn open(client: Client, asked: &Run, strength: Strength) -> Result<Self, Failure> {
        let before = refusals::last(&client).await?;
        let task: TaskView = match &asked.task {
            Some(task) => client.get(&format!("/v1/tasks/{}", segment(task))).await?,
            None => client.post("/v1/tasks", &new_task(asked, strength)).await?,
        };
        let agent = asked.agent.clone().unwrap_or_else(|| task.agent.to_string());
        Ok(Self { client, task, agent, before })
    }

    /// Runs the program to its end.
    async fn play(&self, mut prepared: Prepared, asked: &Run, scratch: &Scratch) -> Result<Ended, Failure> {
        let (companion, around) = tokio::select! {
            set_up = self.set_up(prepared.listener()?, prepared.strength, asked, scratch) => set_up?,
            number = prepared.interrupted() => return Ok(Ended::Killed(number)),
        };
        around.notes.iter().for_each(|note| hint(format!("nightlatch: {note}")));
        node::warn_of_old(&prepared, &around);
        let (program, arguments) = asked.command.split_first().unzip();
        let program = Program {
            program: program.cloned().unwrap_or_default(),
            arguments: arguments.unwrap_or_default().to_vec(),
            environment: around.environment,
        };
        let ended = prepared.start(program)?.ended().await;
        companion.close().await;
        Ok(ended?)
    }

    /// Grants, companion, trust: all that the program will find around it.
    async fn set_up(
        &self,
        listener: TcpListener,
        strength: Strength,
        asked: &Run,
        scratch: &Scratch,
    ) -> Result<(Companion, Surroundings), Failure> {
        let tools = self.tools(asked).await?;
        let guard = guard(strength)?;
        let proxy = proxy_url(&listener, &guard)?;
        let companion = self.companion(listener, guard).await?;
        let bundle = scratch.bundle(&companion.trust().await?)?;
        Ok((companion, Surroundings::new(&proxy, &bundle, scratch, &tools)))
    }

    /// The tools that the task has grants for, the grants of this command line first.
    async fn tools(&self, asked: &Run) -> Result<Vec<Tool>, Failure> {
        let mut grants = Vec::new();
        for grant in &asked.grants {
            let request = AddGrant {
                task: self.task.id.to_string(),
                grant: grant.clone(),
                for_secs: None,
                budget: None,
            };
            grants.push(self.client.post("/v1/grants", &request).await?);
        }
        grants.extend(self.task.grants.iter().filter(|grant| grant.state == "live").cloned());
        let mut tools = Vec::new();
        for grant in grants {
            tools.push(Tool::of(&self.client, grant).await?);
        }
        Ok(tools)
    }

    /// A companion whose key this task's agent is admitted by. The code is seen by nobody.
    async fn companion(&self, listener: TcpListener, guard: Guard) -> Result<Companion, Failure> {
        let codes = format!("/v1/agents/{}/codes", segment(&self.agent));
        let request = IssueEnrolment { task: Some(self.task.id.to_string()) };
        let issued: EnrolmentIssued = self.client.post(&codes, &request).await?;
        let config = Config {
            gateway: Address::parse(&issued.gateway_url)?,
            dial: None,
            gateway_key: issued.gateway_pin.parse()?,
            identity: Identity::generate()?,
            listener,
            guard,
            limits: Limits::default(),
        };
        let companion = Companion::start(config)?;
        companion.enrol(&issued.code.0).await?;
        Ok(companion)
    }

    /// What becomes of the task.
    const fn act(&self, asked: &Run) -> &'static str {
        if asked.task.is_some() { "sleep" } else { "complete" }
    }

    /// Ends the task that was opened here, puts another to sleep, and says what was refused meanwhile.
    async fn close(&self, asked: &Run) -> Result<(), Failure> {
        let act = self.act(asked);
        let ended =
            self.client.post::<TaskView>(&format!("/v1/tasks/{}/{act}", self.task.id), &json!({})).await;
        if let Err(error) = refusals::tell(&self.client, &self.task, self.before, asked).await {
            hint(format!("nightlatch: what was refused during this run cannot be said: {error}"));
        }
        ended.map(drop).map_err(|error| {
            let why = format!("the task did not end: {error}; run `nightlatch task {act} {}`", self.task.id);
            Failure::Finding(why)
        })
    }
}

fn new_task(asked: &Run, strength: Strength) -> OpenTask {
    let program = asked.command.first().map(|program| Path::new(program).file_name().unwrap_or_default());
    let program = program.unwrap_or_default().to_string_lossy().into_owned();
    OpenTask {
        agent: asked.agent.clone().unwrap_or_else(|| AGENT.to_owned()),
        name: None,
        purpose: Some(format!("run {program} (sandbox={})", strength.as_str())),
        for_secs: TASK_SECS,
        egress: asked.egress.map(Into::into),
    }
}

/// Who may use the listener: in a network namespace of its own only the program can.
fn guard(strength: Strength) -> Result<Guard, Failure> {
    if strength == Strength::Strong {
        return Ok(Guard::default());
    }
    let password = Password::draw(&SystemEntropy::new())?;
    Ok(Guard { password: Some(password), peer_uid: Some(rustix::process::geteuid().as_raw()) })
}

fn proxy_url(listener: &TcpListener, guard: &Guard) -> Result<String, Failure> {
    let address = listener.local_addr()?;
    let login = guard.password.as_ref().map(|password| format!("{PROXY_USER}:{}@", password.expose()));
    Ok(format!("http://{}{address}", login.unwrap_or_default()))
}
