//! What was refused at the local listener, told to the gateway so that it stands in the ledger.
//!
//! Whoever is refused here chooses how often, so what is told is a count: one message a reason at each look,
//! however many there were. What could not be told is told later. Telling makes no connection, since nothing dials
//! for a task that sleeps; only at the end, when there is no later, it does.

use crate::line::{Line, Sender};
use http::Method;
use nightlatch_domain::companion::{LocalRefusal, LocalRefusals, REFUSALS_PATH};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Mutex;

/// Counts that were not told yet.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// One tells at a time: who comes last, at the end, waits for what is on its way.
    telling: Mutex<()>,
    proxy_password: AtomicU32,
    peer_uid: AtomicU32,
}

impl Reports {
    /// Notes one refusal.
    pub(crate) fn note(&self, reason: LocalRefusal) {
        add(self.count(reason), 1);
    }

    /// Tells what there is, if a connection stands.
    pub(crate) async fn tell(&self, line: &Line) {
        if let Some(sender) = line.standing().await {
            self.tell_over(line, Some(sender)).await;
        }
    }

    /// Tells what is left at the end.
    pub(crate) async fn tell_the_rest(&self, line: &Line) {
        self.tell_over(line, line.standing().await).await;
    }

    async fn tell_over(&self, line: &Line, sender: Option<Sender>) {
        let _telling = self.telling.lock().await;
        for reason in [LocalRefusal::ProxyPassword, LocalRefusal::PeerUid] {
            let count = self.count(reason).swap(0, Ordering::Relaxed);
            if count > 0 && !told(line, sender.clone(), LocalRefusals { reason, count }).await {
                add(self.count(reason), count);
            }
        }
    }

    const fn count(&self, reason: LocalRefusal) -> &AtomicU32 {
        match reason {
            LocalRefusal::ProxyPassword => &self.proxy_password,
            LocalRefusal::PeerUid => &self.peer_uid,
        }
    }
}

async fn told(line: &Line, sender: Option<Sender>, refusals: LocalRefusals) -> bool {
    let Ok(body) = serde_json::to_vec(&refusals) else { return false };
    let answer = match sender {
        Some(sender) => line.ask_over(sender, Method::POST, REFUSALS_PATH, body).await,
        None => line.ask(Method::POST, REFUSALS_PATH, body).await,
    };
    answer.is_ok_and(|answer| answer.success().is_ok())
}

fn add(count: &AtomicU32, more: u32) {
    // A closure that always answers makes this infallible.
    let _ =
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_add(more)));
}
