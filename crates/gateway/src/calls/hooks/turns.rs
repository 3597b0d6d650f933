//! Whose message is next: tenants take turns, and within each its tasks, however many messages one of them has waiting.
//!
//! Who had a turn longest ago has the next one; of a task's own messages, the one that is due longest. Pure: what is
//! due is an argument.

use nightlatch_domain::{
    call::CallPlace,
    id::{TaskId, TenantId},
};
use std::collections::HashMap;

/// A turn that is longer ago than so many others is forgotten: as long ago as never.
const KEPT: u64 = 4096;

/// The turns that were taken.
#[derive(Default)]
pub(super) struct Turns {
    taken: u64,
    tenants: HashMap<TenantId, u64>,
    tasks: HashMap<(TenantId, TaskId), u64>,
}

impl Turns {
    /// Of the calls that are due, in the order in which they are, the one whose turn it is. It has taken it.
    pub(super) fn take(&mut self, due: impl Iterator<Item = CallPlace>) -> Option<CallPlace> {
        let next = due.min_by_key(|place| self.last(*place))?;
        self.taken += 1;
        self.tenants.insert(next.tenant, self.taken);
        self.tasks.insert((next.tenant, next.task), self.taken);
        let forgotten = self.taken.saturating_sub(KEPT);
        self.tenants.retain(|_, turn| *turn > forgotten);
        self.tasks.retain(|_, turn| *turn > forgotten);
        Some(next)
    }

    /// When its tenant and its task had their last turn.
    fn last(&self, place: CallPlace) -> (Option<u64>, Option<u64>) {
        let (tenant, task) = (place.tenant, (place.tenant, place.task));
        (self.tenants.get(&tenant).copied(), self.tasks.get(&task).copied())
    }
}

#[cfg(test)]
mod tests {
    //! Nobody waits for more than one message of each other.

    use super::{KEPT, Turns};
    use nightlatch_domain::{
        call::CallPlace,
        clock::Timestamp,
        id::{CallId, TaskId, TenantId},
    };

    const AT: Timestamp = Timestamp::from_millis(1);

    fn place(tenant: u8, task: u8, call: u8) -> CallPlace {
        let (tenant, task) = (TenantId::new(AT, [tenant; 10]), TaskId::new(AT, [task; 10]));
        CallPlace { tenant, task, call: CallId::new(AT, [call; 10]) }
    }

    /// Whose turns they are until nobody waits.
    fn all(turns: &mut Turns, mut waiting: Vec<CallPlace>) -> Vec<CallPlace> {
        let mut taken = Vec::new();
        while let Some(next) = turns.take(waiting.iter().copied()) {
            waiting.retain(|place| *place != next);
            taken.push(next);
        }
        taken
    }

    #[test]
    fn a_task_with_many_messages_holds_up_no_other_and_keeps_its_own_order() {
        let crowd: Vec<_> = (1..=100).map(|call| place(1, 1, call)).collect();
        let others = [place(1, 2, 1), place(1, 3, 1), place(1, 2, 2)];
        let taken = all(&mut Turns::default(), [crowd.as_slice(), &others].concat());
        let first = [crowd[0], others[0], others[1], crowd[1], others[2], crowd[2]];
        assert_eq!(taken[..6], first);
        assert_eq!(taken[6..], crowd[3..]);
    }

    #[test]
    fn a_tenant_with_many_tasks_holds_up_no_other() {
        let crowd: Vec<_> = (1..=100).map(|task| place(1, task, task)).collect();
        let other = [place(2, 1, 1), place(2, 1, 2)];
        let taken = all(&mut Turns::default(), [crowd.as_slice(), &other].concat());
        assert_eq!(taken[..4], [crowd[0], other[0], crowd[1], other[1]]);
    }

    #[test]
    fn who_comes_back_at_once_does_not_come_first() {
        let mut turns = Turns::default();
        let (busy, waiting) = (place(1, 1, 1), [place(1, 2, 1), place(1, 2, 2)]);
        assert_eq!(turns.take([busy].into_iter()), Some(busy));
        for next in waiting {
            let again = place(1, 1, 9);
            assert_eq!(turns.take([again, next].into_iter()), Some(next));
            assert_eq!(turns.take([again].into_iter()), Some(again));
        }
        assert_eq!(turns.take(std::iter::empty()), None);
    }

    #[test]
    fn turns_that_are_long_ago_are_forgotten() {
        let mut turns = Turns::default();
        for number in 0..KEPT + 500 {
            let mut random = [0; 10];
            random[..8].copy_from_slice(&number.to_be_bytes());
            let one = CallPlace { task: TaskId::new(AT, random), ..place(1, 1, 1) };
            turns.take([one].into_iter());
        }
        assert_eq!((turns.tasks.len() as u64, turns.tenants.len()), (KEPT, 1));
    }
}
