//! What becomes of what was taken in.

use super::report::Report;
use crate::{adapters::SystemClock, error::Failure};
use nightlatch_control::{
    Client,
    api::{ImportViews, ImportsAsked},
};
use nightlatch_domain::clock::Clock as _;
use std::time::Duration;

/// Imports that are asked about at once.
const ASKED: usize = 1000;
/// How often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Where nothing moved for so long, what is left waits for something, and needs nobody who waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until all have ended, or what is left waits for something.
pub(super) async fn until_ended(client: &Client, report: &mut Report) -> Result<(), Failure> {
    let (mut left, mut moved) = (usize::MAX, SystemClock.boot());
    loop {
        look(client, report).await?;
        report.tell_progress();
        let now = report.open();
        if now == 0 {
            return Ok(());
        }
        if now < left {
            (left, moved) = (now, SystemClock.boot());
        }
        if report.all_wait() && SystemClock.boot().since(moved) >= PATIENCE {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(client: &Client, report: &mut Report) -> Result<(), Failure> {
    let open = report.open_flows();
    for flows in open.chunks(ASKED) {
        let asked = ImportsAsked { flows: flows.to_vec() };
        let views: ImportViews = client.post("/v1/imports/state", &asked).await?;
        views.imports.into_iter().for_each(|view| report.stands(view));
    }
    Ok(())
}
