//! `companion`: a sidecar. The agent's key in a file, its proxy on a port, until a signal.
//!
//! It may start before its gateway and outlive it: what cannot be reached is waited for, and said once. What
//! waiting cannot mend (another key at the gateway, a code that is void) ends it with a sentence.

use super::{Seat, secrets, text_of, trust};
use crate::{cli::Companion as Asked, error::Failure, output::hint, place::write_with_mode};
use nightlatch_companion::{
    Address, Companion, CompanionError, Config, GatewayKey, Guard, Identity, Limits, Link, Password,
};
use nightlatch_custody::Secret;
use nightlatch_domain::id::TaskId;
use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};
use serde::Serialize;
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{interval, sleep},
};
use zeroize::Zeroizing;

/// Between two attempts to reach a gateway that is not there.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How often the file of trust is looked after: a grant for another tool brings another authority.
const TRUST_EVERY: Duration = Duration::from_secs(60);

/// What a program needs to know of it.
#[derive(Debug, Serialize)]
struct Ready {
    /// The proxy's URL, without its password.
    proxy: String,
    /// The task, where the key was enrolled just now.
    task: Option<TaskId>,
    /// The agent's key, by its hash.
    key_sha256: String,
    /// What programs shall trust.
    trust_file: Option<PathBuf>,
}

/// Serves until it is interrupted.
pub(super) async fn run(seat: &Seat, asked: Asked) -> Result<(), Failure> {
    // The key is in this memory, where a debugger of the same user would find it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(std::io::Error::from)?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (companion, proxy, key_sha256) = start(&asked)?;
    let served = tokio::select! {
        served = serve(seat, &companion, &asked, proxy, key_sha256) => served,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    companion.close().await;
    served
}

fn start(asked: &Asked) -> Result<(Companion, String, String), Failure> {
    let (gateway, gateway_key) = (Address::parse(&asked.gateway)?, asked.gateway_key.parse::<GatewayKey>()?);
    let guard = guard(asked)?;
    let identity = Identity::in_file(&asked.key)?;
    let key_sha256 = identity.key_sha256();
    let listener = TcpListener::bind(asked.listen)
        .map_err(|error| Failure::Usage(format!("`--listen {}` cannot be had: {error}", asked.listen)))?;
    let proxy = format!("http://{}", listener.local_addr()?);
    let limits = Limits::default();
    let config = Config { gateway, dial: None, gateway_key, identity, listener, guard, limits };
    Ok((Companion::start(config)?, proxy, key_sha256))
}

/// Who may use the listener. Nobody may by default who is not this user.
fn guard(asked: &Asked) -> Result<Guard, Failure> {
    let password = asked.password_file.as_deref().map(password).transpose()?;
    if password.is_none() && !asked.listen.ip().is_loopback() {
        let why = format!(
            "`--listen {}` can be reached from other machines: add `--password-file`, or listen on 127.0.0.1",
            asked.listen
        );
        return Err(Failure::Usage(why));
    }
    let own = || password.is_none().then(|| geteuid().as_raw());
    Ok(Guard { peer_uid: asked.peer_uid.or_else(own), password })
}

fn password(path: &Path) -> Result<Password, Failure> {
    let text = Zeroizing::new(text_of(path)?);
    let password = Password::new(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()));
    password.ok_or_else(|| {
        let why =
            "holds no password of 16 to 256 letters and digits (or `-._~`); `openssl rand -hex 24` makes one";
        Failure::BadFile(format!("`{}` {why}", path.display()))
    })
}

async fn serve(
    seat: &Seat,
    companion: &Companion,
    asked: &Asked,
    proxy: String,
    key_sha256: String,
) -> Result<(), Failure> {
    let (task, authorities) = admitted(companion, asked).await?;
    // The wake is signed when the first program comes; here it is only shown that it can be.
    companion.wake().await?;
    write_trust(asked, &authorities)?;
    let ready = Ready { proxy, task, key_sha256, trust_file: asked.trust_file.clone() };
    seat.output.result(&ready, told)?;
    tokio::select! {
        kept = keep_trust(companion, asked, authorities) => kept,
        () = tell(companion) => Ok(()),
    }
}

fn told(ready: &Ready) -> String {
    let trust = ready.trust_file.as_ref().map(|path| format!(" SSL_CERT_FILE={}", path.display()));
    let (proxy, trust) = (&ready.proxy, trust.unwrap_or_default());
    format!("HTTPS_PROXY={proxy} HTTP_PROXY={proxy}{trust}")
}

/// Waits until the gateway admits this key; enrols it where that is needed and there is a code. The gateway
/// closes a connection after its first refusal, so the enrolment may meet the end of one, and is sent again.
async fn admitted(companion: &Companion, asked: &Asked) -> Result<(Option<TaskId>, String), Failure> {
    match waited_for(companion).await {
        Ok(authorities) => return Ok((None, authorities)),
        Err(CompanionError::Refused { kind, .. }) if kind == "not-admitted" => {}
        Err(error) => return Err(error.into()),
    }
    let code = code(asked)?;
    let code = std::str::from_utf8(code.expose()).unwrap_or_default().trim();
    let enrolled = match companion.enrol(code).await {
        Err(CompanionError::Lost) => companion.enrol(code).await,
        enrolled => enrolled,
    };
    Ok((Some(enrolled?.task), companion.trust().await?))
}

/// Asks what the gateway says of this key, until it is there to be asked.
async fn waited_for(companion: &Companion) -> Result<String, CompanionError> {
    let mut said = false;
    loop {
        match companion.trust().await {
            Err(error @ (CompanionError::Unreachable { .. } | CompanionError::Lost)) => {
                if !std::mem::replace(&mut said, true) {
                    hint(format!("{error}; waiting for it"));
                }
                sleep(TRY_EVERY).await;
            }
            answered => return answered,
        }
    }
}

fn code(asked: &Asked) -> Result<Secret, Failure> {
    match (&asked.code_from_env, &asked.code_file) {
        (Some(variable), _) => secrets::from_variable(variable),
        (None, Some(path)) => text_of(path).map(Secret::from_string),
        (None, None) => {
            let why = "this key is not enrolled: make a code with `nightlatch agent enrol AGENT --task TASK`, and give it with `--code-file` or `--code-from-env`";
            Err(Failure::Usage(why.to_owned()))
        }
    }
}

/// Writes the bundle, for others to read: it holds certificates and no secret.
fn write_trust(asked: &Asked, authorities: &str) -> Result<(), Failure> {
    let Some(path) = &asked.trust_file else { return Ok(()) };
    Ok(write_with_mode(path, &trust::bundle(authorities), 0o644)?)
}

/// Looks from time to time whether the tools of the task are others. Only over a connection that stands: asking
/// must not make one.
async fn keep_trust(companion: &Companion, asked: &Asked, mut written: String) -> Result<(), Failure> {
    let mut times = interval(TRUST_EVERY);
    loop {
        times.tick().await;
        if !matches!(*companion.link().borrow(), Link::Up { .. }) {
            continue;
        }
        if let Ok(authorities) = companion.trust().await
            && authorities != written
        {
            write_trust(asked, &authorities)?;
            written = authorities;
        }
    }
}

/// Says when the gateway is out of reach, and when it is back.
async fn tell(companion: &Companion) {
    let mut link = companion.link();
    let mut down = false;
    while link.changed().await.is_ok() {
        match &*link.borrow_and_update() {
            Link::Down { why } if !down => {
                hint(why);
                down = true;
            }
            Link::Up { .. } if down => {
                hint("the gateway is back");
                down = false;
            }
            _ => {}
        }
    }
}
