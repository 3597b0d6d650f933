//! The store of the model: one chain, its attempts, and each write with every precondition that its statement names.

use super::{ACCESS_MS, provider::Said, wall};
use crate::machine::Verdict;
use nightlatch_domain::{
    chain::{AttemptState, ChainState},
    clock::Timestamp,
    id::{AttemptId, OwnerId},
};
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: AttemptId,
    pub(super) generation: u64,
    pub(super) state: AttemptState,
    pub(super) fence: u64,
    pub(super) owner: OwnerId,
    pub(super) intended_at: Timestamp,
    pub(super) answer: Option<Said>,
}

pub(super) struct Store {
    pub(super) state: ChainState,
    pub(super) fence: u64,
    pub(super) owner: Option<OwnerId>,
    pub(super) head: u64,
    pub(super) tokens: BTreeMap<u64, usize>,
    pub(super) due_at: Option<Timestamp>,
    pub(super) asked: bool,
    pub(super) failures: u32,
    pub(super) access_until: Timestamp,
    pub(super) rows: Vec<Row>,
}

#[derive(Clone)]
pub(super) enum Write {
    Claim {
        fence: u64,
        owner: OwnerId,
        from: ChainState,
    },
    Intend {
        fence: u64,
        owner: OwnerId,
        row: Row,
        of: Option<AttemptId>,
    },
    Answer {
        id: AttemptId,
        said: Said,
    },
    Commit {
        fence: u64,
        owner: OwnerId,
        attempt: AttemptId,
        adopts: Option<AttemptId>,
        generation: u64,
        token: usize,
        now: u64,
    },
    Settle {
        fence: u64,
        owner: OwnerId,
        attempt: AttemptId,
        unanswered: bool,
        verdict: Verdict,
    },
    Withdraw {
        id: AttemptId,
    },
}

impl Store {
    pub(super) fn holds(&self, fence: u64, owner: OwnerId) -> bool {
        self.state == ChainState::Refreshing && self.fence == fence && self.owner == Some(owner)
    }

    pub(super) fn stands(&self, generation: u64, but: AttemptId) -> impl Iterator<Item = &Row> {
        let other = move |row: &&Row| row.generation == generation && row.id != but;
        self.rows.iter().filter(other).filter(|row| row.state != AttemptState::NotPresented)
    }

    /// One write, with every precondition that its statement names.
    pub(super) fn write(&mut self, write: &Write) -> bool {
        match write {
            Write::Claim { fence, owner, from } => {
                let fits = self.fence == *fence && self.state == *from;
                if fits {
                    (self.fence, self.owner, self.state) = (fence + 1, Some(*owner), ChainState::Refreshing);
                }
                fits
            }
            Write::Intend { fence, owner, row, of } => {
                let free = match of {
                    None => self.stands(row.generation, row.id).next().is_none(),
                    Some(of) => {
                        let mut stands = self.stands(row.generation, row.id);
                        stands.next().is_some_and(|one| one.id == *of && one.state == AttemptState::Uncertain)
                            && stands.next().is_none()
                    }
                };
                let fits = free && self.holds(*fence, *owner) && self.head == row.generation;
                if fits {
                    self.rows.push(row.clone());
                }
                fits
            }
            Write::Answer { id, said } => {
                for row in self.rows.iter_mut().filter(|row| row.id == *id) {
                    row.answer = Some(said.clone());
                    if !matches!(row.state, AttemptState::Committed | AttemptState::Refused) {
                        row.state = AttemptState::Answered;
                    }
                }
                true
            }
            Write::Commit { fence, owner, attempt, adopts, generation, token, now } => {
                let fits = self.holds(*fence, *owner) && self.head == *generation;
                if fits {
                    let done = adopts.unwrap_or(*attempt);
                    for row in &mut self.rows {
                        if row.id == *attempt {
                            row.state = AttemptState::Refused;
                        }
                        if row.id == done {
                            // I3: what becomes the head was durable before.
                            assert_eq!(row.answer, Some(Said::Tokens(*token)));
                            row.state = AttemptState::Committed;
                        }
                    }
                    self.head += 1;
                    self.tokens.insert(self.head, *token);
                    self.access_until = wall(now + ACCESS_MS);
                    let due = if adopts.is_some() { *now } else { now + ACCESS_MS / 2 };
                    (self.state, self.owner, self.asked) = (ChainState::Healthy, None, false);
                    (self.due_at, self.failures) = (Some(wall(due)), 0);
                }
                fits
            }
            Write::Settle { fence, owner, attempt, unanswered, verdict } => {
                let came = |row: &Row| row.id == *attempt && row.state == AttemptState::Answered;
                let came = *unanswered && self.rows.iter().any(came);
                let fits = self.holds(*fence, *owner) && !came;
                if fits {
                    (self.state, self.owner, self.due_at) = (verdict.state, None, verdict.due_at);
                    (self.failures, self.asked) = (verdict.failures, self.asked || verdict.ask);
                    if let Some(state) = verdict.attempt {
                        for row in self.rows.iter_mut().filter(|row| row.id == *attempt) {
                            row.state = state;
                        }
                    }
                }
                fits
            }
            Write::Withdraw { id } => {
                let Some(row) = self.rows.iter().find(|row| row.id == *id) else { return false };
                let open = matches!(row.state, AttemptState::Intended | AttemptState::Uncertain);
                let fits = open && row.answer.is_none() && self.stands(row.generation, *id).next().is_none();
                if fits {
                    self.rows.iter_mut().filter(|row| row.id == *id).for_each(|row| {
                        row.state = AttemptState::NotPresented;
                    });
                }
                fits
            }
        }
    }
}
