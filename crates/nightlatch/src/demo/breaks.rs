//! The four breaks. Each plays both sides at the same provider and judges them by what was answered.
//!
//! The ordinary client's side must be played to its end: where its program could not even run, nothing was
//! shown, and the demo fails as a whole. Nightlatch's side is judged as broken in that case.

mod dormancy;
mod no_browser_midnight;
mod rotation;
mod two_logins;

use super::{
    report::{Break, Report, Side},
    stage::Stage,
};
use crate::{error::Failure, output::hint};
use nightlatch_simulator::Policy;
use std::time::Duration;

/// Where lifetimes are not what a break is about.
const LONG: Policy = Policy { access: Duration::from_secs(600), refresh_idle: Duration::from_secs(3600) };

/// Plays all four. Dormancy waits, and the others are played meanwhile.
pub(crate) async fn play(stage: &Stage) -> Result<Report, Failure> {
    let others = async {
        let two_logins = two_logins::play(stage).await?;
        let midnight = no_browser_midnight::play(stage).await?;
        let rotation = rotation::play(stage).await?;
        Ok::<_, Failure>((two_logins, midnight, rotation))
    };
    let (dormancy, (two_logins, midnight, rotation)) = tokio::try_join!(dormancy::play(stage), others)?;
    let (two_logins, scan) = two_logins;
    Ok(Report {
        breaks: vec![two_logins, midnight, dormancy, rotation],
        secrets_seen_by_agent: scan.seen_by_agent,
        bytes_scanned: scan.bytes,
        control_scan_found: scan.control_found,
    })
}

/// Says what is going on.
fn scene(name: &str, what: impl std::fmt::Display) {
    hint(format!("{name:<20} {what}"));
}

fn told(name: &'static str, naive: Side, nightlatch: Side) -> Break {
    scene(name, format!("an ordinary client: {}", naive.saw));
    scene(name, format!("behind Nightlatch: {}", nightlatch.saw));
    Break { name, naive, nightlatch }
}
