//! Ending what may no longer run, whenever the directory changes and once a second.
//!
//! Each look compares every live wake with the whole of what is known, and not with one change, so that
//! a snapshot that was read again, or changes that came together, hide nothing.

use super::{Awake, WakeKey, Wakes};
use crate::directory::{Directory, Tables};
use nightlatch_domain::{clock::Timestamp, id::GrantId, principal::AgentStatus, task::TaskState};
use std::{sync::Arc, time::Duration};

/// How often ends that time brings are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Wakes {
    /// Watches the directory for as long as it is polled.
    pub(crate) async fn watch(self: Arc<Self>, directory: Arc<Directory>) {
        let mut changes = directory.changes();
        loop {
            self.sweep(&directory.tables());
            // Whether a change or the time woke it makes no difference.
            let _ = tokio::time::timeout(LOOK_EVERY, changes.changed()).await;
        }
    }

    /// Ends every wake and closes every grant that may no longer act.
    pub(crate) fn sweep(self: &Arc<Self>, tables: &Tables) {
        let now = self.now();
        for awake in self.all() {
            if !may_go_on(&awake, tables, now.wall) {
                self.end(&awake);
                self.tell(&awake);
                continue;
            }
            if awake.ends.has_come(now) {
                self.end(&awake);
                // A connection without any wake would not hear of a sleep, and prove a wake after it.
                if !self.live().contains_key(&WakeKey::of(&awake.caller)) {
                    self.tell(&awake);
                }
                continue;
            }
            let grants: Vec<GrantId> = awake.held().grants.iter().copied().collect();
            for grant in grants.into_iter().filter(|grant| !is_live(&awake, *grant, tables, now.wall)) {
                self.close_grant(&awake, grant);
            }
        }
    }

    /// Closes the connections of this wake's key: the next wake begins with a handshake.
    fn tell(&self, awake: &Awake) {
        // Where no connection listens there is none to close.
        let _ = self.endings.send(awake.caller.binding.clone());
    }

    fn close_grant(&self, awake: &Awake, grant: GrantId) {
        let mut held = awake.held();
        held.grants.remove(&grant);
        held.leases.remove(&grant);
        drop(held);
        self.pool.close_grant(awake.tenant(), grant);
    }
}

/// Whether agent, task and key may still act. What is not found may not.
fn may_go_on(awake: &Awake, tables: &Tables, now: Timestamp) -> bool {
    let caller = &awake.caller;
    let (Some(agent), Some(task)) =
        (tables.agent(caller.tenant, caller.agent), tables.task(caller.tenant, caller.task))
    else {
        return false;
    };
    let enrolled = tables
        .enrolment(&caller.binding)
        .is_some_and(|row| row.task == caller.task && row.agent == caller.agent);
    // A wake that was proved after the task had been put to sleep is a new one, and goes on.
    let slept = task.state == TaskState::Dormant
        && tables.task_changed(caller.tenant, caller.task).is_none_or(|number| number > awake.began_after);
    enrolled && agent.status == AgentStatus::Active && task.is_open(now) && !slept
}

fn is_live(awake: &Awake, grant: GrantId, tables: &Tables, now: Timestamp) -> bool {
    let Some(grant) = tables.grant(awake.tenant(), grant) else { return false };
    let connection = tables.connection(awake.tenant(), grant.connection);
    grant.is_live(now) && connection.is_some_and(|connection| connection.removed_at.is_none())
}
