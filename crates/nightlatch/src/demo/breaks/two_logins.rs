//! Two disconnected logins: between the agent's login and its tools' lie raw keys. Here both programs work,
//! and both are searched while they run for everything that the provider gave out.

use super::{LONG, scene, told};
use crate::{
    demo::{
        lines::Answered,
        parts::Player,
        report::{Break, Counted, Side},
        scan::{Found, Needles},
        stage::Stage,
    },
    error::Failure,
};

const NAME: &str = "two-logins";
/// Its account, its mail, and a debug page that answers with the very request that the API received.
const CALLS: [&str; 3] = ["/api/me", "/api/mail", "/api/debug/request"];

/// What the scans of both programs found.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) seen_by_agent: u64,
    pub(super) bytes: u64,
    pub(super) control_found: u64,
}

pub(super) async fn play(stage: &Stage) -> Result<(Break, Scanned), Failure> {
    scene(NAME, "an ordinary client logs in and works; its memory is searched");
    let (naive, control_found) = naive(stage).await?;
    scene(NAME, "an agent behind Nightlatch does the same");
    let mut scanned = Scanned { control_found, ..Scanned::default() };
    let nightlatch = match nightlatch(stage, &mut scanned).await {
        Ok(side) => side,
        Err(failure) => Side::unplayed(&failure, Counted::default()),
    };
    Ok((told(NAME, naive, nightlatch), scanned))
}

async fn naive(stage: &Stage) -> Result<(Side, u64), Failure> {
    let client = stage.register_naive(LONG)?;
    let mut program = stage.naive(NAME, 0, &client)?;
    stage.log_in(&mut program).await?;
    let answers = work(&mut program).await?;
    if let Some(wrong) = not_good(&answers) {
        return Err(Failure::Finding(format!("the ordinary client could not work: {wrong}")));
    }
    let found = search(&program, stage.secrets()).await?;
    program.end().await?;
    let seen = found.anywhere().len();
    let saw = format!(
        "works; holds {seen} secrets: {} in its environment, {} in memory, {} in what it received",
        found.environment.len(),
        found.memory.len(),
        found.received.len()
    );
    let wrong = (seen > 0).then(|| format!("the program holds {seen} secrets of the provider"));
    Ok((Side::judged(wrong, saw, stage.counted(&client)?), seen as u64))
}

async fn nightlatch(stage: &Stage, scanned: &mut Scanned) -> Result<Side, Failure> {
    let granted = stage.grant(&stage.main, NAME, LONG).await?;
    let mut program = stage.agent(&stage.main, &granted, 0)?;
    let answers = work(&mut program).await?;
    let mut words = stage.secrets();
    let secrets = words.len();
    words.push(granted.reference.clone());
    let found = search(&program, words).await?;
    program.end().await?;
    let searched = Searched::of(&found, secrets, &answers);
    scanned.seen_by_agent = searched.seen as u64;
    scanned.bytes = found.bytes;
    let saw = format!("works; holds {} of {secrets} secrets, and a reference", searched.seen);
    Ok(Side::judged(searched.wrong(), saw, stage.counted(&granted.client)?))
}

/// What the search of the agent says.
struct Searched {
    /// A call that was not answered well.
    not_good: Option<String>,
    /// How many secrets it holds.
    seen: usize,
    /// Whether the search found, in environment and memory, the reference that it does hold: one that misses
    /// this would miss the rest.
    reached: bool,
}

impl Searched {
    /// The words were the secrets, then the reference.
    fn of(found: &Found, secrets: usize, answers: &[Answered]) -> Self {
        Self {
            not_good: not_good(answers),
            seen: found.anywhere().into_iter().filter(|word| *word < secrets).count(),
            reached: found.environment.contains(&secrets) && found.memory.contains(&secrets),
        }
    }

    fn wrong(&self) -> Option<String> {
        let Self { not_good, seen, reached } = self;
        let held = (*seen > 0).then(|| format!("the agent holds {seen} secrets"));
        let blind = (!reached).then(|| "the search did not reach the agent's memory".to_owned());
        not_good.clone().or(held).or(blind)
    }
}

async fn work(program: &mut Player) -> Result<Vec<Answered>, Failure> {
    let mut answers = Vec::new();
    for path in CALLS {
        answers.push(program.call(path).await?);
    }
    Ok(answers)
}

fn not_good(answers: &[Answered]) -> Option<String> {
    let bad = answers.iter().find(|answer| !answer.is_good());
    bad.map(|answer| format!("a call was answered {answer}"))
}

async fn search(program: &Player, words: Vec<String>) -> Result<Found, Failure> {
    let pid = program.pid().map_err(finding)?;
    let transcript = program.transcript.clone();
    let searched = tokio::task::spawn_blocking(move || Needles::new(&words).scan(pid, &transcript)).await;
    searched.map_err(finding)?.map_err(finding)
}

fn finding(error: impl std::fmt::Display) -> Failure {
    Failure::Finding(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Answered, Found, Searched};
    use std::collections::BTreeSet;

    /// Two secrets, then the reference.
    fn searched(environment: &[usize], memory: &[usize], received: &[usize], status: u16) -> Option<String> {
        let set = |words: &[usize]| words.iter().copied().collect::<BTreeSet<usize>>();
        let found =
            Found { environment: set(environment), memory: set(memory), received: set(received), bytes: 1 };
        Searched::of(&found, 2, &[Answered::read(status, b"{}")]).wrong()
    }

    #[test]
    fn it_held_only_where_the_reference_was_found_and_no_secret() {
        assert_eq!(searched(&[2], &[2], &[], 200), None);
        assert_eq!(searched(&[2], &[2], &[2], 200), None);
        assert!(searched(&[2, 0], &[2], &[], 200).is_some());
        assert!(searched(&[2], &[2, 1], &[], 200).is_some());
        assert!(searched(&[2], &[2], &[0], 200).is_some());
        assert!(searched(&[2], &[], &[], 200).is_some(), "its memory was not reached");
        assert!(searched(&[], &[2], &[], 200).is_some(), "its environment was not reached");
        assert!(searched(&[2], &[2], &[], 401).is_some(), "it does not even work");
    }
}
