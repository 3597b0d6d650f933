//! `keeper list|adopt`.

use super::{Seat, confirm::confirm};
use crate::{
    adapters::SystemClock,
    cli::{AdoptKeeper, KeeperCommand},
    error::Failure,
    output::{clock_time, table},
};
use nightlatch_control::{
    Client,
    api::{KeeperAdopted, KeeperForgotten, KeeperView, KeepersReport},
    client::segment,
};
use nightlatch_domain::{
    clock::{Clock as _, Timestamp},
    id::KeeperId,
};

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
    let view = listed(&report, &asked.keeper)?;
    confirm(&cost(&report, view, asked.forget), asked.yes, "nothing was done")?;
    let path = format!("/v1/keepers/{}", segment(&view.id.to_string()));
    if asked.forget {
        let forgotten: KeeperForgotten = client.delete(&path).await?;
        return seat.output.result(&forgotten, forgot);
    }
    let adopted: KeeperAdopted = client.post(&format!("{path}/adopt"), &serde_json::json!({})).await?;
    seat.output.result(&adopted, vouched)
}

/// What it costs is said of one that is listed, before anything is done: of no other is anything asked.
fn listed<'a>(report: &'a KeepersReport, id: &str) -> Result<&'a KeeperView, Failure> {
    let named = id.parse::<KeeperId>().ok();
    let known = report.keepers.iter().find(|view| Some(view.id) == named);
    known.ok_or_else(|| {
        Failure::Usage(format!("no keeper `{id}` is registered; `nightlatch keeper list` shows them by id"))
    })
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

#[cfg(test)]
mod tests {
    //! Of what is not listed nobody is asked, and so nothing is done.

    use super::{KeeperView, KeepersReport, Timestamp, listed};
    use nightlatch_domain::id::KeeperId;

    #[test]
    fn what_is_not_listed_is_refused_before_anything_is_asked() {
        let [one, other] = [1, 2].map(|n| KeeperId::new(Timestamp::from_millis(1), [n; 10]));
        let view = KeeperView {
            id: one,
            name: None,
            at_work: true,
            since: Timestamp::from_millis(1),
            compared: 1,
            vouched: true,
            holds_up: "nothing".to_owned(),
            advice: None,
        };
        let report = KeepersReport { era: 1, keepers: vec![view], unvouched: 0 };
        assert_eq!(listed(&report, &one.to_string()).unwrap().id, one);
        for unknown in [other.to_string(), "keeper-1".to_owned(), String::new()] {
            let refused = listed(&report, &unknown).unwrap_err().to_string();
            assert!(refused.contains("nightlatch keeper list"), "{refused}");
        }
    }
}
