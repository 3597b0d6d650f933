//! The machine as a picture: every state that can be reached, and what leads on from it. ARCHITECTURE.md shows it, and
//! this test holds the two together.

use super::{Action, Entry, Event, Moment, Outcome, Plan, Reading, State, step};
use crate::second::Second;
use nightlatch_domain::{
    chain::ChainState,
    clock::{Boot, Timestamp},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    time::Duration,
};

const NOW: Moment = Moment { wall: Timestamp::from_millis(1_800_000_000_000), boot: Boot::from_millis(1000) };

fn plans() -> Vec<Plan> {
    let entries = [
        Entry::Present,
        Entry::Again { until: None },
        Entry::Spooled,
        Entry::Answered,
        Entry::Sibling,
        Entry::NeverSent,
        Entry::Unanswered,
        Entry::Postponed { until: NOW.wall, reason: "provider-waits" },
        Entry::Condemned { state: ChainState::Quarantined, reason: "unverified" },
    ];
    let plan = |entry: &Entry, drain| {
        let rest = matches!(entry, Entry::Again { .. }).then_some(ChainState::Uncertain);
        let (entry, second) = (entry.clone(), Second::NEVER);
        Plan { entry, drain, failures: 0, jitter: 7, second, first: None, rest, access_until: None }
    };
    entries.iter().flat_map(|entry| [plan(entry, false), plan(entry, true)]).collect()
}

/// What can come of an action, with a word for it.
fn reports(action: &Action) -> Vec<(&'static str, Event)> {
    let failed = ("out of reach", Event::Failed);
    match action {
        Action::Claim => vec![("claimed", Event::Claimed), ("not claimed", Event::NotClaimed), failed],
        Action::Drain => vec![("drained", Event::Drained)],
        Action::Prepare { .. } => {
            vec![("prepared", Event::Prepared), ("not prepared", Event::NotPrepared { reason: "x" })]
        }
        Action::Intend => vec![("intended", Event::Intended), ("not intended", Event::NotIntended), failed],
        Action::Anchor => vec![
            ("anchored", Event::Anchored),
            ("not anchored", Event::NotAnchored),
            ("presented before", Event::PresentedBefore),
        ],
        Action::Send { .. } => vec![
            ("answered", Event::Answered),
            ("nothing written", Event::NothingWritten),
            ("no answer", Event::NoAnswer),
        ],
        Action::Spool => vec![("spooled", Event::Spooled), failed],
        Action::Insert => vec![("inserted", Event::Inserted), failed],
        Action::Read => vec![
            ("tokens", Event::Read(Reading::Tokens)),
            ("a final no", Event::Read(Reading::Permanent { code: String::new() })),
            ("our registration is refused", Event::Read(Reading::Client { code: String::new() })),
            ("not processed", Event::Read(Reading::NotProcessed { code: String::new(), retry_after: None })),
            ("unclear", Event::Read(Reading::Unclear { code: String::new() })),
            ("not opened", Event::Failed),
        ],
        Action::Adopt => {
            vec![("adopted", Event::Adopted), ("nothing to adopt", Event::NothingToAdopt), failed]
        }
        Action::Commit => {
            vec![("moved", Event::Moved), ("lost", Event::Lost), ("removed", Event::Removed), failed]
        }
        Action::Resolve => vec![
            ("committed", Event::Resolved { committed: true }),
            ("not committed", Event::Resolved { committed: false }),
            failed,
        ],
        Action::AnchorHead => vec![("anchored", Event::HeadAnchored), failed],
        Action::Void => vec![("withdrawn", Event::Voided), failed],
        Action::Settle(_) => {
            vec![("left", Event::Settled(true)), ("overtaken", Event::Settled(false)), failed]
        }
        Action::Withdraw => vec![("told", Event::Withdrawn), failed],
        Action::Release(_) => Vec::new(),
    }
}

fn name(state: &State) -> &'static str {
    match state {
        State::Begun => "[*]",
        State::Claiming { .. } => "Claiming",
        State::Draining { .. } => "Draining",
        State::Preparing { .. } => "Preparing",
        State::Intending { .. } => "Intending",
        State::Anchoring { .. } => "Anchoring",
        State::Sending { .. } => "Sending",
        State::Spooling { .. } => "Spooling",
        State::Inserting { .. } => "Inserting",
        State::Reading { .. } => "Reading",
        State::Adopting { .. } => "Adopting",
        State::Committing { .. } => "Committing",
        State::Resolving { .. } => "Resolving",
        State::AnchoringHead { .. } => "AnchoringHead",
        State::Voiding { .. } => "Voiding",
        State::Settling { .. } => "Settling",
        State::Withdrawing { .. } => "Withdrawing",
        State::Done(Outcome::Refreshed) => "Refreshed",
        State::Done(_) => "[*]",
    }
}

/// More rounds than any state gives up after.
const TRIES: u32 = 25;

fn tries(state: &State) -> u32 {
    match state {
        State::Spooling { tries, .. }
        | State::Inserting { tries, .. }
        | State::Reading { tries, .. }
        | State::Adopting { tries, .. }
        | State::Committing { tries }
        | State::Resolving { tries, .. }
        | State::AnchoringHead { tries }
        | State::Voiding { tries, .. }
        | State::Settling { tries, .. }
        | State::Withdrawing { tries } => *tries,
        _ => 0,
    }
}

type Edges = BTreeMap<(&'static str, &'static str), BTreeSet<String>>;

/// Every step from every state that a plan can reach, in time and too late.
fn walk(plan: &Plan, edges: &mut Edges) {
    let (state, command) = step(plan, State::Begun, Event::Begin, NOW);
    let mut waiting = VecDeque::from([(state, command.action)]);
    let mut seen = BTreeSet::new();
    while let Some((state, action)) = waiting.pop_front() {
        // What is tried for ever is tried so often.
        if tries(&state) > TRIES || !seen.insert(format!("{state:?}")) {
            continue;
        }
        for (word, event) in reports(&action) {
            for now in [NOW, Moment { boot: NOW.boot.plus(Duration::from_secs(59)), ..NOW }] {
                let (next, command) = step(plan, state.clone(), event.clone(), now);
                let (from, to) = (name(&state), name(&next));
                if from != to {
                    edges.entry((from, to)).or_default().insert(label(word, &state, &next));
                }
                waiting.push_back((next, command.action));
            }
        }
    }
}

/// A good report that does not lead on came too late; one that ends it came too often.
fn label(word: &str, from: &State, to: &State) -> String {
    let is_late = matches!(to, State::Settling { .. } | State::Voiding { .. })
        && matches!((from, word), (State::Draining { .. }, _) | (_, "prepared"))
        || matches!((from, to, word), (State::Anchoring { .. }, State::Voiding { .. }, "anchored"));
    let gives_up = matches!(from, State::Inserting { .. } | State::Reading { .. } | State::Adopting { .. })
        && matches!(to, State::Done(_));
    match (is_late, gives_up) {
        (true, _) => format!("{word} too late"),
        (false, true) => format!("{word} too often"),
        (false, false) => word.to_owned(),
    }
}

fn drawn() -> String {
    let mut edges = Edges::new();
    plans().iter().for_each(|plan| walk(plan, &mut edges));
    let mut text = String::from("stateDiagram-v2\n    [*] --> Claiming\n");
    for ((from, to), words) in &edges {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _ = writeln!(text, "    {from} --> {to}: {}", words.join(", "));
    }
    text.push_str("    Refreshed --> [*]\n");
    text
}

#[test]
fn the_picture_in_the_architecture_is_the_machine() {
    let page = include_str!("../../../../ARCHITECTURE.md");
    let (_, after) = page.split_once("```mermaid\nstateDiagram-v2").expect("no picture of the machine");
    let (shown, _) = after.split_once("```").expect("the picture has no end");
    let drawn = drawn();
    assert_eq!(format!("stateDiagram-v2{shown}"), drawn, "put this into ARCHITECTURE.md:\n{drawn}");
}
