//! Dormancy: for three of the provider's idle windows nobody calls and no agent's program runs. An unused
//! refresh token dies in one; Nightlatch's keeper uses it by its own timer.

use super::{scene, told};
use crate::{
    demo::{
        lines::Answered,
        report::{Break, Counted, Side},
        stage::{Granted, IDLE, Stage},
    },
    error::Failure,
};
use nightlatch_simulator::{Policy, Registered};
use std::time::Duration;

const NAME: &str = "dormancy";
const ME: &str = "/api/me";
const POLICY: Policy = Policy { access: Duration::from_secs(6), refresh_idle: IDLE };
const WINDOWS: u32 = 3;

pub(super) async fn play(stage: &Stage) -> Result<Break, Failure> {
    scene(NAME, "both programs work once, and end");
    let client = naive_works_once(stage).await?;
    let slept = agent_works_once(stage).await;
    scene(NAME, format!("nobody calls for {WINDOWS} idle windows of {} s", IDLE.as_secs()));
    stage.wait(IDLE * WINDOWS).await;
    let naive = naive_returns(stage, &client).await?;
    let nightlatch = match slept {
        Ok((granted, before)) => agent_returns(stage, &granted, before).await,
        Err(failure) => Err(failure),
    };
    let nightlatch = nightlatch.unwrap_or_else(|failure| Side::unplayed(&failure, Counted::default()));
    Ok(told(NAME, naive, nightlatch))
}

async fn naive_works_once(stage: &Stage) -> Result<Registered, Failure> {
    let client = stage.register_naive(POLICY)?;
    let mut program = stage.naive(NAME, 0, &client)?;
    stage.log_in(&mut program).await?;
    let answer = program.call(ME).await?;
    program.end().await?;
    if !answer.is_good() {
        return Err(Failure::Finding(format!("the ordinary client could not work: {answer}")));
    }
    Ok(client)
}

async fn naive_returns(stage: &Stage, client: &Registered) -> Result<Side, Failure> {
    let answer = stage.naive(NAME, 1, client)?.call(ME).await?;
    let wrong = (!answer.is_good()).then(|| answer.to_string());
    let saw = format!("{answer}: the token file is dead");
    Ok(Side::judged(wrong, saw, stage.counted(client)?))
}

/// The refreshes that the provider had counted when the agent went to sleep, beside its grant.
async fn agent_works_once(stage: &Stage) -> Result<(Granted, u64), Failure> {
    let granted = stage.grant(&stage.main, NAME, POLICY).await?;
    let mut program = stage.agent(&stage.main, &granted, 0)?;
    let answer = program.call(ME).await?;
    program.end().await?;
    if !answer.is_good() {
        return Err(Failure::Finding(format!("the first call was answered {answer}")));
    }
    let task = stage.main.ask(&["task", "show", &granted.task]).await?;
    if task.pointer("/state").and_then(|state| state.as_str()) != Some("dormant") {
        return Err(Failure::Finding("the task does not sleep although its program has ended".to_owned()));
    }
    let before = stage.counted(&granted.client)?.refreshes;
    Ok((granted, before))
}

async fn agent_returns(stage: &Stage, granted: &Granted, before: u64) -> Result<Side, Failure> {
    let asleep = stage.counted(&granted.client)?;
    let mut program = stage.agent(&stage.main, granted, 1)?;
    let answer = program.call(ME).await?;
    program.end().await?;
    let returned = Returned {
        answer,
        login: stage.login().to_owned(),
        kept: asleep.refreshes.saturating_sub(before),
        counted: stage.counted(&granted.client)?,
    };
    let saw = format!("{}; the keeper had refreshed {} times by its timer", returned.answer, returned.kept);
    Ok(Side::judged(returned.wrong(), saw, returned.counted))
}

/// What the agent came back to.
struct Returned {
    answer: Answered,
    /// Whose account it is.
    login: String,
    /// The refreshes while nobody called.
    kept: u64,
    counted: Counted,
}

impl Returned {
    fn wrong(&self) -> Option<String> {
        let Self { answer, login, kept, counted } = self;
        let ended = counted.reuse_detected > 0 || counted.families_revoked > 0;
        let wrong = [
            (!answer.is_good()).then(|| answer.to_string()),
            (answer.login.as_ref() != Some(login)).then(|| "another account answered".to_owned()),
            (*kept < u64::from(WINDOWS))
                .then(|| format!("the keeper refreshed {kept} times in {WINDOWS} windows")),
            ended.then(|| "the family was ended".to_owned()),
        ];
        wrong.into_iter().flatten().next()
    }
}

#[cfg(test)]
mod tests {
    use super::{Answered, Counted, Returned};

    fn returned() -> Returned {
        let answer = Answered::read(200, br#"{"login":"dana"}"#);
        Returned { answer, login: "dana".to_owned(), kept: 3, counted: Counted::default() }
    }

    #[test]
    fn it_held_only_where_the_same_account_answered_and_the_keeper_did_it() {
        assert_eq!(returned().wrong(), None);
        let wrong = [
            Returned { answer: Answered::read(424, br#"{"login":"dana"}"#), ..returned() },
            Returned { answer: Answered::read(200, br#"{"login":"lee"}"#), ..returned() },
            Returned { kept: 2, ..returned() },
            Returned { counted: Counted { reuse_detected: 1, ..Counted::default() }, ..returned() },
            Returned { counted: Counted { families_revoked: 1, ..Counted::default() }, ..returned() },
        ];
        for (number, returned) in wrong.iter().enumerate() {
            assert!(returned.wrong().is_some(), "{number}");
        }
    }
}
