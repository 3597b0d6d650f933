//! Starting `up` in the background, for a command that needs it, and saying so in one line.

use super::client_of;
use crate::{adapters::variable, error::Failure, output::hint, place::Place};
use nightlatch_control::{Client, ClientError, api::Ping};
use std::{
    fs::File,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long a start may take; the first one makes keys.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How much of the log is shown where it did not start.
const LOG_SHOWN_LINES: usize = 8;
/// What the server keeps of this command's environment: where things lie, who it is, what it logs and trusts.
const KEPT: [&str; 11] = [
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "LANG",
    "TZ",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "NIGHTLATCH_LOG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// A client of the server, which is started where it does not run and may be.
pub(super) async fn client(place: &Place, may_start: bool) -> Result<Client, Failure> {
    match running(place).await {
        Err(Failure::Api(ClientError::Silent) | Failure::Place(crate::place::PlaceError::Absent(_)))
            if may_start =>
        {
            start(place).await
        }
        other => other,
    }
}

async fn running(place: &Place) -> Result<Client, Failure> {
    place.check()?;
    let client = client_of(place)?;
    client.get::<Ping>("/v1/ping").await?;
    Ok(client)
}

async fn start(place: &Place) -> Result<Client, Failure> {
    place.prepare()?;
    let log = place.path("run/up.log");
    let mut child = spawn(place)?;
    let ready = async {
        loop {
            if let Ok(client) = running(place).await {
                return Ok(client);
            }
            if child.try_wait()?.is_some() {
                return Err(Failure::Start(format!("nightlatch did not start:\n{}", end_of(&log))));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ready = tokio::time::timeout(START_WITHIN, ready).await;
    let client = ready.map_err(|_| {
        Failure::Start(format!("nightlatch did not start in time; see `{}`", log.display()))
    })??;
    hint(format!("started nightlatch in the background (pid {}); `nightlatch stop` ends it", child.id()));
    Ok(client)
}

fn spawn(place: &Place) -> Result<Child, Failure> {
    let path = place.path("run/up.log");
    let log = File::create(&path).map_err(|source| Failure::File { path, source })?;
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    // The server outlives this command, and this command's environment may hold a secret (`--from-env`).
    command.env_clear().envs(KEPT.iter().filter_map(|name| Some((name, variable(name)?))));
    command.arg("--data").arg(place.root()).args(["up", "--detached"]);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?)
}

fn end_of(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LOG_SHOWN_LINES)..).unwrap_or_default().join("\n")
}
