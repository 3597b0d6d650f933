//! An installation of Nightlatch as a user has it: a data folder, `up` in the foreground, and the command
//! line. There is no other way in.

use super::{human::Browser, parts::TOKEN_VARIABLE};
use crate::error::Failure;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

/// A first start makes keys, on a machine that may be busy.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// A command that logs in waits for its human.
const COMMAND_WITHIN: Duration = Duration::from_secs(90);
/// `up` lets what runs finish, and is killed then.
const DOWN_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// The tool's name in every installation of the demo.
pub(crate) const TOOL: &str = "sim";

/// What an installation of the demo knows of the provider: what its documentation would say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// The provider's address.
    pub(crate) base: &'a str,
    /// The idle window of its refresh tokens, in seconds, where it has one.
    pub(crate) idle_secs: Option<u64>,
    /// Whether the keeper refreshes by its timer.
    pub(crate) refresh_timer: bool,
}

/// A registration at the provider, as `connect` is told of it.
pub(crate) struct Login<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: &'a str,
    /// `--name N` or `--reconnect CONNECTION`.
    pub(crate) which: [&'a str; 2],
}

/// A running installation.
pub(crate) struct Installation {
    root: PathBuf,
    program: PathBuf,
    up: Child,
    /// The redirect address that is to be registered at the provider.
    pub(crate) redirect_uri: String,
}

impl Installation {
    /// Starts `up` over a new folder at `root`, and adds the tool.
    pub(crate) async fn start(root: PathBuf, known: &Known<'_>) -> Result<Self, Failure> {
        private_folder(&root)?;
        private_folder(&root.join("tmp"))?;
        private_folder(&root.join("data"))?;
        private_folder(&root.join("data/profiles"))?;
        write(&root.join("data/nightlatch.toml"), &config(known))?;
        write(&root.join("data/profiles/sim.toml"), &profile(known))?;
        write(&root.join("sim.toml"), &manifest(known))?;
        let program = std::env::current_exe()?;
        let log = File::create(root.join("up.log"))?;
        let mut up = command(&program, &root);
        up.arg("up").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut installation = Self { root, program, up: up.spawn()?, redirect_uri: String::new() };
        installation.answers().await?;
        let file = installation.root.join("sim.toml");
        installation.ask(&["tool", "add", &file.to_string_lossy()]).await?;
        installation.redirect_uri = installation.ask_what_to_register().await?;
        Ok(installation)
    }

    /// The data folder, for a person who wants to look.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    async fn answers(&mut self) -> Result<(), Failure> {
        let healthy = async {
            loop {
                if let Some(status) = self.up.try_wait()? {
                    let log = fs::read_to_string(self.root.join("up.log")).unwrap_or_default();
                    return Err(Failure::Start(format!("`nightlatch up` ended ({status}):\n{log}")));
                }
                let asked = command(&self.program, &self.root).args(["health", "--json"]).output().await?;
                if asked.status.success() {
                    return Ok(());
                }
                sleep(POLL).await;
            }
        };
        timeout(UP_WITHIN, healthy)
            .await
            .map_err(|_| Failure::Start(format!("`nightlatch up` did not answer in {UP_WITHIN:?}")))?
    }

    /// Runs a command to its end; its JSON.
    pub(crate) async fn ask(&self, words: &[&str]) -> Result<Value, Failure> {
        let mut asked = command(&self.program, &self.root);
        asked.args(words).arg("--json").stdin(Stdio::null());
        let output = timeout(COMMAND_WITHIN, asked.output()).await;
        let output = output.map_err(|_| late(words))??;
        result(words, output.status.success(), &output.stdout, &output.stderr)
    }

    /// `connect` prints it where there is no client yet, and ends.
    async fn ask_what_to_register(&self) -> Result<String, Failure> {
        let mut asked = command(&self.program, &self.root);
        let words = ["connect", TOOL, "--oauth"];
        let output = timeout(COMMAND_WITHIN, asked.args(words).stdin(Stdio::null()).output()).await;
        let output = output.map_err(|_| late(&words))??;
        let printed = String::from_utf8_lossy(&output.stderr);
        let found = address_in(&printed, "/oauth/callback/");
        found.ok_or_else(|| Failure::Finding(format!("`connect` printed no redirect address:\n{printed}")))
    }

    /// `connect --oauth`, while a human opens the address that it prints.
    pub(crate) async fn connect(&self, login: &Login<'_>, human: &mut Browser) -> Result<Value, Failure> {
        let words = ["connect", TOOL, "--oauth", "--client-id", login.client_id];
        let mut asked = command(&self.program, &self.root);
        asked.args(words).args(["--client-secret-from-env", "SIM_CLIENT_SECRET", "--json"]).args(login.which);
        asked.env("SIM_CLIENT_SECRET", login.client_secret);
        asked.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        timeout(COMMAND_WITHIN, followed(asked, &words, human)).await.map_err(|_| late(&words))?
    }

    /// A command of this installation, not yet with its words.
    pub(crate) fn command(&self) -> Command {
        command(&self.program, &self.root)
    }

    /// Ends `up` as a signal from its user does.
    pub(crate) async fn stop(mut self) {
        if let Some(pid) = self.up.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            // It may have ended by itself just now.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(DOWN_WITHIN, self.up.wait()).await.is_err() {
            let _ = self.up.kill().await;
        }
    }
}

/// A command of this program with nothing inherited, in a group of its own: Ctrl-C ends the demo, and the
/// demo ends the rest in order.
pub(crate) fn command(program: &Path, root: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("HOME", root)
        .env("USER", "dana")
        .env("TMPDIR", root.join("tmp"))
        .env("XDG_STATE_HOME", root.join("state"))
        .env("NIGHTLATCH_DATA", root.join("data"))
        .env("NIGHTLATCH_LOG", "warn")
        .process_group(0)
        .kill_on_drop(true);
    command
}

async fn followed(mut asked: Command, words: &[&str], human: &mut Browser) -> Result<Value, Failure> {
    let mut child = asked.spawn()?;
    let gone = || Failure::Start("`connect` has no output".to_owned());
    let mut lines = BufReader::new(child.stderr.take().ok_or_else(gone)?).lines();
    let mut stdout = child.stdout.take().ok_or_else(gone)?;
    let mut printed = String::new();
    while let Some(line) = lines.next_line().await? {
        printed.push_str(&line);
        printed.push('\n');
        if let Some(address) = address_in(&line, "/oauth/start/") {
            human.open(&address).await.map_err(|lost| Failure::Finding(lost.to_string()))?;
        }
    }
    let mut result_text = Vec::new();
    stdout.read_to_end(&mut result_text).await?;
    let status = child.wait().await?;
    result(words, status.success(), &result_text, printed.as_bytes())
}

fn result(words: &[&str], done: bool, stdout: &[u8], stderr: &[u8]) -> Result<Value, Failure> {
    if done {
        return Ok(serde_json::from_slice(stdout).map_err(std::io::Error::from)?);
    }
    let said = String::from_utf8_lossy(stderr);
    Err(Failure::Finding(format!("`nightlatch {}` failed: {}", words.join(" "), said.trim())))
}

fn late(words: &[&str]) -> Failure {
    Failure::Finding(format!("`nightlatch {}` came to no end in {COMMAND_WITHIN:?}", words.join(" ")))
}

fn address_in(printed: &str, marker: &str) -> Option<String> {
    let mut words = printed.split_whitespace().filter(|word| word.starts_with("http://127.0.0.1:"));
    words.find(|word| word.contains(marker)).map(str::to_owned)
}

fn private_folder(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Failure::File { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|source| Failure::File { path: path.to_owned(), source })
}

/// Free ports are the kernel's to choose; the provider is on loopback, which only an operator may allow.
fn config(known: &Known<'_>) -> String {
    let timer = if known.refresh_timer { "on" } else { "off" };
    format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\n\n[redirect]\nlisten = \"127.0.0.1:0\"\n\n\
         [keeper]\nrefresh_timer = \"{timer}\"\n\n[[allow]]\nhost = \"127.0.0.1\"\naddress = \"127.0.0.1\"\n"
    )
}

fn profile(known: &Known<'_>) -> String {
    let base = known.base;
    let idle = known.idle_secs.map(|secs| format!("refresh_idle_ttl_secs = {secs}\n")).unwrap_or_default();
    format!(
        r#"name = "sim"
title = "The simulator's provider"
issuer = "{base}"
authorization_endpoint = "{base}/authorize"
token_endpoint = "{base}/token"
iss_announced = true
client_auth = ["client_secret_basic"]
rotation = "always"
reuse = {{ grace_secs = 0, after_grace = "revoke_family_and_access" }}
old_access = "survives"
blast = "chain"
{idle}"#
    )
}

fn manifest(known: &Known<'_>) -> String {
    let port = known.base.rsplit(':').next().unwrap_or_default();
    format!(
        r#"name = "sim"
title = "The simulator's mail"
docs = "https://example.com/docs/mail"
profile = "sim"
scopes = ["mail"]
placeholder_env = ["{TOKEN_VARIABLE}"]

[[host]]
host = "127.0.0.1"
scheme = "http"
port = {port}
oauth = {{ kind = "bearer" }}
challenge = "Bearer realm=\"sim\""

[account]
probe = "/api/me"
id = ["/id"]
label = "/login"

[[operation]]
id = "me.get"
method = "GET"
path = "/api/me"
effect = "read"
page = "https://example.com/docs/mail"

[[operation]]
id = "mail.list"
method = "GET"
path = "/api/mail"
effect = "read"
page = "https://example.com/docs/mail"

[[operation]]
id = "debug.request"
method = "GET"
path = "/api/debug/request"
effect = "read"
page = "https://example.com/docs/mail"
"#
    )
}
