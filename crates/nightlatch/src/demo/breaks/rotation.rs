//! Rotation against concurrency: many subtasks at the instant at which the access token has expired. The
//! provider takes a refresh token that comes twice for stolen and ends the whole family.
//!
//! Behind Nightlatch the timer is off here, so that the callers themselves cause the refresh.

use super::{scene, told};
use crate::{
    demo::{
        lines::{Answered, Ask},
        parts::Player,
        report::{Break, Counted, Side},
        stage::Stage,
    },
    error::Failure,
};
use nightlatch_simulator::Policy;
use std::time::Duration;

const NAME: &str = "concurrent-rotation";
const ME: &str = "/api/me";
const POLICY: Policy = Policy { access: Duration::from_secs(6), refresh_idle: Duration::from_secs(3600) };
/// Programs that share one token file.
const NAIVE_PROGRAMS: usize = 8;
/// Programs of one agent, and the subtasks of each.
const AGENT_PROGRAMS: usize = 4;
const SUBTASKS: usize = 12;

pub(super) async fn play(stage: &Stage) -> Result<Break, Failure> {
    scene(NAME, "many subtasks wait for the access token's end, then call at once");
    let naive = naive(stage).await?;
    let nightlatch = match nightlatch(stage).await {
        Ok(side) => side,
        Err(failure) => Side::unplayed(&failure, Counted::default()),
    };
    Ok(told(NAME, naive, nightlatch))
}

async fn naive(stage: &Stage) -> Result<Side, Failure> {
    let client = stage.register_naive(POLICY)?;
    let mut first = stage.naive(NAME, 0, &client)?;
    stage.log_in(&mut first).await?;
    first.end().await?;
    let programs = (1..=NAIVE_PROGRAMS).map(|number| stage.naive(NAME, number, &client));
    let programs: Vec<Player> = programs.collect::<Result<_, _>>()?;
    stage.until_expired(&client).await;
    let answers = at_once(programs, 1).await?;
    let good = answers.iter().filter(|answer| answer.is_good()).count();
    let counted = stage.counted(&client)?;
    let saw = format!(
        "{good} of {NAIVE_PROGRAMS} programs were answered, the others {}; the login is dead for all",
        worst(&answers)
    );
    let wrong = (good < NAIVE_PROGRAMS)
        .then(|| format!("{} of {NAIVE_PROGRAMS} programs: {}", NAIVE_PROGRAMS - good, worst(&answers)));
    Ok(Side::judged(wrong, saw, counted))
}

async fn nightlatch(stage: &Stage) -> Result<Side, Failure> {
    let granted = stage.grant(&stage.timerless, NAME, POLICY).await?;
    let programs = (0..AGENT_PROGRAMS).map(|number| stage.agent(&stage.timerless, &granted, number));
    let mut programs: Vec<Player> = programs.collect::<Result<_, _>>()?;
    let before = match programs.first_mut() {
        Some(first) => first.call(ME).await?,
        None => return Err(Failure::Finding("there are no programs".to_owned())),
    };
    stage.until_expired(&granted.client).await;
    let quiet = stage.counters(&granted.client)?;
    let answers = at_once(programs, SUBTASKS).await?;
    let (calls, good) = (answers.len(), answers.iter().filter(|answer| answer.is_good()).count());
    let counted = stage.counted(&granted.client)?;
    let after = stage.counters(&granted.client)?;
    let requests = after.token_requests - quiet.token_requests;
    let wrong = [
        (!before.is_good()).then(|| format!("the first call was answered {before}")),
        (calls != AGENT_PROGRAMS * SUBTASKS).then(|| format!("only {calls} calls were made")),
        (good != calls).then(|| format!("{} of {calls} calls: {}", calls - good, worst(&answers))),
        (requests != 1).then(|| format!("the token endpoint was asked {requests} times")),
        (counted.reuse_detected > 0 || counted.families_revoked > 0)
            .then(|| "the family was ended".to_owned()),
    ];
    let saw = format!("{good} of {calls} subtasks were answered, with {requests} refresh between them");
    Ok(Side::judged(wrong.into_iter().flatten().next(), saw, counted))
}

/// All stand at the barrier, then it is lifted for all.
async fn at_once(mut programs: Vec<Player>, subtasks: usize) -> Result<Vec<Answered>, Failure> {
    for program in &mut programs {
        program.ask(&Ask::Gather { subtasks, path: ME.to_owned() }).await?;
    }
    for program in &mut programs {
        program.say(&Ask::Go).await?;
    }
    let mut answers = Vec::new();
    for program in &mut programs {
        answers.extend(program.answers().await?);
    }
    for program in programs {
        program.end().await?;
    }
    Ok(answers)
}

/// The first answer that is not good.
fn worst(answers: &[Answered]) -> String {
    answers.iter().find(|answer| !answer.is_good()).map(ToString::to_string).unwrap_or_default()
}
