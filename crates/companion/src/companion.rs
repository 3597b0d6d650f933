//! The companion as a whole: started, enrolled, asked for its trust, closed.

use crate::{
    dial::{Address, Dial},
    error::CompanionError,
    front::Front,
    gateway_key::GatewayKey,
    guard::Guard,
    identity::Identity,
    limits::Limits,
    line::{Line, Link},
    reports::Reports,
};
use http::Method;
use nightlatch_domain::{
    companion::{ENROL_PATH, TRUST_PATH},
    id::{PrincipalId, TaskId},
};
use serde::Deserialize;
use std::{net::TcpListener, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use zeroize::Zeroizing;

/// How long the last refusals may take to be told at the end.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What a companion is made of.
pub struct Config {
    /// Where the gateway is; its requests name it.
    pub gateway: Address,
    /// How it is reached; the address itself where it is none.
    pub dial: Option<Box<dyn Dial>>,
    /// Its key.
    pub gateway_key: GatewayKey,
    /// The agent's key.
    pub identity: Identity,
    /// Where programs come to. It may stand in another network namespace.
    pub listener: TcpListener,
    /// Who may come.
    pub guard: Guard,
    /// How much.
    pub limits: Limits,
}

/// Whose key this is, as the gateway answered an enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Enrolled {
    /// The agent.
    pub agent: PrincipalId,
    /// The task.
    pub task: TaskId,
}

/// A running companion. It ends, and all of its tunnels with it, when this value goes.
pub struct Companion {
    line: Arc<Line>,
    reports: Arc<Reports>,
    work: [JoinHandle<()>; 2],
}

impl Companion {
    /// Starts to serve the listener. Nothing is asked of the gateway before somebody needs it.
    ///
    /// # Errors
    /// Where the listener or the key cannot be used. Must be called within a Tokio runtime.
    pub fn start(config: Config) -> Result<Self, CompanionError> {
        let Config { gateway, dial, gateway_key, identity, listener, guard, limits } = config;
        let dial = dial.unwrap_or_else(|| Box::new(gateway.clone()));
        let line = Arc::new(Line::new(gateway, dial, gateway_key, identity, limits)?);
        let reports = Arc::new(Reports::default());
        listener.set_nonblocking(true).map_err(CompanionError::Listener)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(CompanionError::Listener)?;
        let front = Arc::new(Front::new(Arc::clone(&line), guard, Arc::clone(&reports), limits));
        let work = [tokio::spawn(Arc::clone(&front).serve(listener)), tokio::spawn(look(front))];
        Ok(Self { line, reports, work })
    }

    /// Enrols the key with a one-time code, and wakes the task.
    ///
    /// # Errors
    /// The gateway's refusal, or that it cannot be reached or is another.
    pub async fn enrol(&self, code: &str) -> Result<Enrolled, CompanionError> {
        let body = Zeroizing::new(serde_json::json!({ "code": code }).to_string());
        let answer = self.line.ask(Method::POST, ENROL_PATH, body.as_bytes().to_vec()).await?.success()?;
        let enrolled: Enrolled = serde_json::from_slice(&answer).map_err(|_| CompanionError::Answer)?;
        if !self.line.is_own_task(enrolled.task) {
            return Err(CompanionError::Answer);
        }
        self.line.prove_again().await;
        self.line.awake().await?;
        Ok(enrolled)
    }

    /// The certificates, in PEM, by which the gateway speaks for the tools of this task. Asking shows whether the
    /// key is admitted.
    ///
    /// # Errors
    /// The gateway's refusal, or that it cannot be reached or is another.
    pub async fn trust(&self) -> Result<String, CompanionError> {
        let answer = self.line.ask(Method::GET, TRUST_PATH, Vec::new()).await?.success()?;
        String::from_utf8(answer.to_vec()).map_err(|_| CompanionError::Answer)
    }

    /// Wakes the task, where the gateway takes a signed wake.
    ///
    /// # Errors
    /// Where the gateway cannot be reached or is another.
    pub async fn wake(&self) -> Result<(), CompanionError> {
        self.line.awake().await.map(|_| ())
    }

    /// How the connection to the gateway is, and each change of it.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.line.link()
    }

    /// Ends it. What was refused and not told yet is told, if the gateway is there.
    pub async fn close(self) {
        let [front, _] = &self.work;
        front.abort();
        // A gateway that is gone holds nobody up.
        let _ = timeout(CLOSE_WITHIN, self.reports.tell_the_rest(&self.line)).await;
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        for work in &self.work {
            work.abort();
        }
    }
}

/// What is due from time to time.
async fn look(front: Arc<Front>) {
    loop {
        sleep(front.limits.look_every).await;
        front.reports.tell(&front.line).await;
        if front.tunnels.available_permits() < front.limits.tunnels_max {
            front.line.renew().await;
        }
    }
}
