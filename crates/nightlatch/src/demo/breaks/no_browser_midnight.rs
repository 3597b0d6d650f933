//! No browser at two in the morning: the provider ends the login in the middle of the work. Only a human
//! can help. An ordinary client's program ends; the agent's is told what to do, and goes on afterwards.

use super::{scene, told};
use crate::{
    demo::{
        lines::Answered,
        parts::Player,
        report::{Break, Counted, Side},
        stage::Stage,
    },
    error::Failure,
};
use nightlatch_simulator::Policy;
use std::time::Duration;

const NAME: &str = "no-browser-midnight";
const MAIL: &str = "/api/mail";
/// The end of a login shows when its access token is refused or renewed, whichever comes first.
const POLICY: Policy = Policy { access: Duration::from_secs(8), refresh_idle: Duration::from_secs(3600) };
/// Several access-token lives: on a busy machine the news may come late.
const TOLD_WITHIN: Duration = Duration::from_secs(40);
const BETWEEN_CALLS: Duration = Duration::from_millis(400);

pub(super) async fn play(stage: &Stage) -> Result<Break, Failure> {
    scene(NAME, "the provider ends both logins while the programs work");
    let naive = naive(stage).await?;
    let nightlatch = match nightlatch(stage).await {
        Ok(side) => side,
        Err(failure) => Side::unplayed(&failure, Counted::default()),
    };
    Ok(told(NAME, naive, nightlatch))
}

async fn naive(stage: &Stage) -> Result<Side, Failure> {
    let client = stage.register_naive(POLICY)?;
    let mut program = stage.naive(NAME, 0, &client)?;
    stage.log_in(&mut program).await?;
    let before = program.call(MAIL).await?;
    if !before.is_good() {
        return Err(Failure::Finding(format!("the ordinary client could not work: {before}")));
    }
    stage.revoke(&client)?;
    let after = program.call(MAIL).await?;
    let ended = program.ends_by_itself().await;
    let wrong = (!after.is_good()).then(|| after.to_string());
    let saw =
        format!("{after}; its program {}", if ended { "ended in the middle of its work" } else { "goes on" });
    Ok(Side::judged(wrong, saw, stage.counted(&client)?))
}

async fn nightlatch(stage: &Stage) -> Result<Side, Failure> {
    let granted = stage.grant(&stage.main, NAME, POLICY).await?;
    let mut program = stage.agent(&stage.main, &granted, 0)?;
    let before = program.call(MAIL).await?;
    let pid = program.pid().ok();
    stage.revoke(&granted.client)?;
    let refusal = until_told(&mut program).await?;
    scene(NAME, format!("the agent was answered {refusal}; a human reads `nightlatch health`"));
    let asked = asked_of_a_human(stage, &refusal).await?;
    stage.connect(&stage.main, &granted.client, ["--reconnect", &granted.connection]).await?;
    let after = program.call(MAIL).await?;
    let lived = pid.is_some() && program.pid().ok() == pid;
    program.end().await?;
    let night = Night { before, refusal, asked, after, lived };
    Ok(Side::judged(night.wrong(), night.saw(), stage.counted(&granted.client)?))
}

/// What the agent met that night.
struct Night {
    before: Answered,
    /// What it was told when the login had ended.
    refusal: Answered,
    /// Whether a human was asked by the ticket that it was told of.
    asked: bool,
    /// The same call with the same reference, after the human had been there.
    after: Answered,
    /// Whether it was one process from the first to the last call.
    lived: bool,
}

impl Night {
    fn saw(&self) -> String {
        let Self { refusal, after, lived, .. } = self;
        let program = if *lived { "its program never ended" } else { "its program ended" };
        format!("{refusal}; a human reconnected; same reference: {after}; {program}")
    }

    fn wrong(&self) -> Option<String> {
        let Self { before, refusal, asked, after, lived } = self;
        let told = refusal.error.as_deref() == Some("reauth-required");
        let wrong = [
            (!before.is_good()).then(|| format!("the first call was answered {before}")),
            (!told).then(|| format!("it was answered {refusal}")),
            (!asked).then(|| "no human was asked".to_owned()),
            (!after.is_good())
                .then(|| format!("after the reconnect the same reference was answered {after}")),
            (!lived).then(|| "the agent's program ended".to_owned()),
        ];
        wrong.into_iter().flatten().next()
    }
}

/// Goes on working until Nightlatch itself answers; until then at worst the tool's own 401 came.
async fn until_told(program: &mut Player) -> Result<Answered, Failure> {
    let told = async {
        loop {
            let answer = program.call(MAIL).await?;
            if !matches!(answer.status, 200 | 401) {
                return Ok::<_, Failure>(answer);
            }
            tokio::time::sleep(BETWEEN_CALLS).await;
        }
    };
    let told = tokio::time::timeout(TOLD_WITHIN, told).await;
    told.map_err(|_| Failure::Finding(format!("the agent was told nothing in {TOLD_WITHIN:?}")))?
}

/// Whether the ticket that the agent was told of waits for a human.
async fn asked_of_a_human(stage: &Stage, refusal: &Answered) -> Result<bool, Failure> {
    let health = stage.main.ask(&["health"]).await?;
    let tickets = health.pointer("/tickets").and_then(|tickets| tickets.as_array());
    let ids = tickets.into_iter().flatten().filter_map(|ticket| ticket.pointer("/id")?.as_str());
    Ok(refusal.ticket.as_deref().is_some_and(|ticket| ids.into_iter().any(|id| id == ticket)))
}

#[cfg(test)]
mod tests {
    use super::{Answered, Night};

    const REAUTH: &[u8] = br#"{"type":"https://nightlatch.dev/problems/reauth-required","ticket":"tkt_1"}"#;

    fn night() -> Night {
        let good = Answered::read(200, b"{}");
        let refusal = Answered::read(424, REAUTH);
        Night { before: good.clone(), refusal, asked: true, after: good, lived: true }
    }

    #[test]
    fn it_held_only_where_the_agent_was_told_and_went_on_with_the_same_reference() {
        assert_eq!(night().wrong(), None);
        let other = br#"{"type":"https://nightlatch.dev/problems/policy-denied"}"#;
        let wrong = [
            Night { before: Answered::read(401, b"{}"), ..night() },
            Night { refusal: Answered::read(403, other), ..night() },
            Night { asked: false, ..night() },
            Night { after: Answered::read(424, REAUTH), ..night() },
            Night { lived: false, ..night() },
        ];
        for (number, night) in wrong.iter().enumerate() {
            assert!(night.wrong().is_some(), "{number}");
        }
    }
}
