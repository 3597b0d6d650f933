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
    stage.until_expired(&client).await?;
    let answers = at_once(programs, 1).await?;
    let good = answers.iter().filter(|answer| answer.is_good()).count();
    let saw = format!("{good} of {NAIVE_PROGRAMS} programs got through; the others: {}", worst(&answers));
    let lost = NAIVE_PROGRAMS.saturating_sub(good);
    let wrong = (lost > 0).then(|| format!("{lost} of {NAIVE_PROGRAMS} programs: {}", worst(&answers)));
    Ok(Side::judged(wrong, saw, stage.counted(&client)?))
}

async fn nightlatch(stage: &Stage) -> Result<Side, Failure> {
    let granted = stage.grant(&stage.timerless, NAME, POLICY).await?;
    let programs = (0..AGENT_PROGRAMS).map(|number| stage.agent(&stage.timerless, &granted, number));
    let mut programs: Vec<Player> = programs.collect::<Result<_, _>>()?;
    let before = match programs.first_mut() {
        Some(first) => first.call(ME).await?,
        None => return Err(Failure::Finding("there are no programs".to_owned())),
    };
    stage.until_expired(&granted.client).await?;
    let quiet = stage.counters(&granted.client)?;
    let answers = at_once(programs, SUBTASKS).await?;
    let requests = stage.counters(&granted.client)?.token_requests.saturating_sub(quiet.token_requests);
    let crowd = Crowd { before, answers, requests, counted: stage.counted(&granted.client)? };
    Ok(Side::judged(crowd.wrong(), crowd.saw(), crowd.counted))
}

/// What came of the crowd.
struct Crowd {
    /// The call before the token's end.
    before: Answered,
    /// Those at its end.
    answers: Vec<Answered>,
    /// How often the token endpoint was asked because of them.
    requests: u64,
    counted: Counted,
}

impl Crowd {
    fn good(&self) -> usize {
        self.answers.iter().filter(|answer| answer.is_good()).count()
    }

    fn saw(&self) -> String {
        let (good, calls, requests) = (self.good(), self.answers.len(), self.requests);
        format!("{good} of {calls} subtasks got through; the token endpoint was asked {requests} time(s)")
    }

    fn wrong(&self) -> Option<String> {
        let (good, calls, requests) = (self.good(), self.answers.len(), self.requests);
        let ended = self.counted.reuse_detected > 0 || self.counted.families_revoked > 0;
        let wrong = [
            (!self.before.is_good()).then(|| format!("the first call was answered {}", self.before)),
            (calls != AGENT_PROGRAMS * SUBTASKS).then(|| format!("only {calls} calls were made")),
            (good != calls).then(|| format!("{} of {calls} calls: {}", calls - good, worst(&self.answers))),
            (requests != 1).then(|| format!("the token endpoint was asked {requests} times")),
            ended.then(|| "the family was ended".to_owned()),
        ];
        wrong.into_iter().flatten().next()
    }
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

#[cfg(test)]
mod tests {
    use super::{AGENT_PROGRAMS, Answered, Counted, Crowd, SUBTASKS};

    fn crowd() -> Crowd {
        let good = Answered::read(200, b"{}");
        let answers = vec![good.clone(); AGENT_PROGRAMS * SUBTASKS];
        let counted = Counted { refreshes: 1, ..Counted::default() };
        Crowd { before: good, answers, requests: 1, counted }
    }

    #[test]
    fn it_held_only_where_all_got_through_with_one_request_and_the_family_lives() {
        assert_eq!(crowd().wrong(), None);
        let bad = Answered::read(502, b"{}");
        let mut one_lost = crowd();
        one_lost.answers[7] = bad.clone();
        let mut fewer = crowd();
        fewer.answers.pop();
        let wrong = [
            one_lost,
            fewer,
            Crowd { before: bad, ..crowd() },
            Crowd { requests: 0, ..crowd() },
            Crowd { requests: 2, ..crowd() },
            Crowd { counted: Counted { reuse_detected: 1, ..Counted::default() }, ..crowd() },
            Crowd { counted: Counted { families_revoked: 1, ..Counted::default() }, ..crowd() },
        ];
        for (number, crowd) in wrong.iter().enumerate() {
            assert!(crowd.wrong().is_some(), "{number}");
        }
    }
}
