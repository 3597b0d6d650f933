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
    let wrong = (!after.is_good()).then(|| after.to_string());
    let saw = format!("its refresh was answered {after}; the program ended with its work undone");
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
    let wrong = [
        (!before.is_good()).then(|| format!("the first call was answered {before}")),
        (refusal.error.as_deref() != Some("reauth-required")).then(|| format!("it was answered {refusal}")),
        (!asked).then(|| "no human was asked".to_owned()),
        (!after.is_good()).then(|| format!("after the reconnect the same reference was answered {after}")),
        (!lived).then(|| "the agent's program ended".to_owned()),
    ];
    let saw = format!(
        "{refusal}; a human reconnected; the same reference was answered {after}, and the program never ended"
    );
    Ok(Side::judged(wrong.into_iter().flatten().next(), saw, stage.counted(&granted.client)?))
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
