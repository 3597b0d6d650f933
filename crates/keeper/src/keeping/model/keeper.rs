//! A keeper of the model: its log and its spool, which outlive it, and what dies with its process.

use super::{provider::Said, store::Write};
use crate::{
    machine::{Command, Plan, State},
    watched::Watched,
};
use nightlatch_domain::{
    chain::ChainState,
    clock::Boot,
    id::{AttemptId, OwnerId},
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Log {
    pub(super) presented: BTreeMap<u64, (AttemptId, Boot)>,
    pub(super) again: BTreeMap<u64, (AttemptId, Boot)>,
    pub(super) owners: BTreeSet<OwnerId>,
    pub(super) head: u64,
}

pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) state: State,
    pub(super) command: Command,
    pub(super) at: u64,
    pub(super) attempt: AttemptId,
    pub(super) again_of: Option<AttemptId>,
    pub(super) generation: u64,
    pub(super) fence: u64,
    pub(super) claim: Option<u64>,
    pub(super) from: ChainState,
    pub(super) answer: Option<Said>,
    pub(super) adopts: Option<AttemptId>,
}

pub(super) struct Keeper {
    pub(super) log: Log,
    pub(super) spool: BTreeMap<AttemptId, Said>,
    pub(super) watched: Watched,
    pub(super) owner: OwnerId,
    pub(super) run: Option<Run>,
    pub(super) late: Vec<(u64, AttemptId, Said)>,
    pub(super) up: bool,
    pub(super) sleeps_until: u64,
    pub(super) swept_at: u64,
}

/// A write that the store has not seen yet, and whose writer was told that it failed.
pub(super) struct Delayed {
    pub(super) at: u64,
    pub(super) keeper: usize,
    pub(super) write: Write,
}
