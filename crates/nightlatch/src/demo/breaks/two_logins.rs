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
use std::collections::BTreeSet;

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
        "works, and holds {seen} secrets ({} in its environment, {} in memory, {} in what it received)",
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
    let seen: BTreeSet<usize> = found.anywhere().into_iter().filter(|word| *word < secrets).collect();
    scanned.seen_by_agent = seen.len() as u64;
    scanned.bytes = found.bytes;
    // The reference is what it does hold: a scan that misses it would miss the rest.
    let reached = found.environment.contains(&secrets) && found.memory.contains(&secrets);
    let wrong = not_good(&answers)
        .or_else(|| (!seen.is_empty()).then(|| format!("the agent holds {} secrets", seen.len())))
        .or_else(|| (!reached).then(|| "the scan did not reach the agent's memory".to_owned()));
    let saw = format!("works, and holds {} of {secrets} secrets; a reference is all it has", seen.len());
    Ok(Side::judged(wrong, saw, stage.counted(&granted.client)?))
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
