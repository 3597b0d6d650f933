//! `keeper list|adopt`.

use super::{Seat, connect::line};
use crate::{
    adapters::SystemClock,
    cli::{AdoptKeeper, KeeperCommand},
    error::Failure,
    output::{clock_time, hint, table},
};
use nightlatch_control::{
    Client,
    api::{KeeperAdopted, KeeperForgotten, KeeperView, KeepersReport},
    client::segment,
};
use nightlatch_domain::clock::{Clock as _, Timestamp};
use std::io::{self, IsTerminal as _};

pub(super) async fn run(seat: &Seat, command: KeeperCommand) -> Result<(), Failure> {
    let client = seat.client()?;
    match command {
        KeeperCommand::List => {
            let report: KeepersReport = client.get("/v1/keepers").await?;
            seat.output.result(&report, |report| list(report, SystemClock.now()))
        }
        KeeperCommand::Adopt(asked) => adopt(seat, &client, &asked).await,
    }
}

async fn adopt(seat: &Seat, client: &Client, asked: &AdoptKeeper) -> Result<(), Failure> {
    let report: KeepersReport = client.get("/v1/keepers").await?;
    let known = report.keepers.iter().find(|view| view.id.to_string() == asked.keeper);
    if let Some(view) = known {
        confirm(&cost(&report, view, asked.forget), asked.yes)?;
    }
    let path = format!("/v1/keepers/{}", segment(&asked.keeper));
    if asked.forget {
        let forgotten: KeeperForgotten = client.delete(&path).await?;
        return seat.output.result(&forgotten, forgot);
    }
    let adopted: KeeperAdopted = client.post(&format!("{path}/adopt"), &serde_json::json!({})).await?;
    seat.output.result(&adopted, vouched)
}

/// What it costs, in the words of who is asked.
fn cost(report: &KeepersReport, view: &KeeperView, forget: bool) -> String {
    let id = view.id;
    match (forget, view.compared < report.era) {
        (false, _) => format!(
            "Vouch for {id}? Only where no other copy of this installation was at work since its database was \
             written: else refresh tokens are used twice, and providers may end those connections."
        ),
        (true, true) => format!(
            "Forget {id}? Only its log knew which refresh tokens were used since the database's copy was made: \
             every connection by tokens will ask for a new login, and what was removed since is there again."
        ),
        (true, false) => format!(
            "Forget {id}? Its log was held against the database: where that was not put back since, nothing is lost with \
             it. What it had begun and not ended counts as sent."
        ),
    }
}

fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("nothing was done. {question} Say so with --yes")));
    }
    hint(question);
    match line("[y/N] ")?.as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Usage("nothing was done".to_owned())),
    }
}

fn list(report: &KeepersReport, now: Timestamp) -> String {
    let row = |view: &KeeperView| {
        let name = view.name.as_ref().map_or_else(|| "–".to_owned(), ToString::to_string);
        let compared = format!("{} of {}", view.compared, report.era);
        let work = if view.at_work { "now" } else { "not now" };
        vec![
            view.id.to_string(),
            name,
            work.to_owned(),
            clock_time(view.since, now),
            compared,
            if view.vouched { "yes" } else { "no" }.to_owned(),
            view.holds_up.clone(),
        ]
    };
    let heading = ["KEEPER", "NAME", "AT WORK", "SINCE", "COMPARED", "VOUCHED", "HOLDS UP"];
    let mut text = table(&heading, &report.keepers.iter().map(row).collect::<Vec<_>>());
    for view in &report.keepers {
        if let Some(advice) = &view.advice {
            text.push_str(&format!("\n{}: {advice}\n", view.id));
        }
    }
    text
}

fn vouched(done: &KeeperAdopted) -> String {
    let mut text = format!("{} is vouched for; {} left quarantine", done.id, connections(done.released));
    if done.contradicted > 0 {
        let left = connections(done.contradicted);
        text.push_str(&format!(
            ", and {left} did not: its log knows of a refresh that the database does not. `nightlatch health` says what to do"
        ));
    }
    text
}

fn forgot(done: &KeeperForgotten) -> String {
    if done.behind {
        let left = connections(done.quarantined);
        return format!(
            "{} is forgotten; {left} ask for a new login: `nightlatch health` lists them",
            done.id
        );
    }
    format!("{} is forgotten; its log had been compared, and nothing is lost with it", done.id)
}

fn connections(chains: u64) -> String {
    if chains == 1 { "1 account".to_owned() } else { format!("{chains} accounts") }
}
