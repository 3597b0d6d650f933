//! The alarms that are kept at hand for `health`: the last of each name, so that what an agent can provoke
//! pushes out nothing but its own.

use crate::record::{Entry, EventName, Record};
use nightlatch_domain::clock::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// Kept of each name.
const KEPT_MAX: usize = 64;

/// The last alarms.
#[derive(Default)]
pub(crate) struct Alarms(BTreeMap<EventName, VecDeque<Record>>);

impl Alarms {
    /// Keeps a record, if it is one.
    pub(crate) fn note(&mut self, record: &Record) {
        let Entry::Event(event) = &record.entry else { return };
        if !event.event.is_alarm() {
            return;
        }
        let kept = self.0.entry(event.event).or_default();
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(record.clone());
    }

    /// Those since then, oldest first.
    pub(crate) fn since(&self, since: Timestamp) -> Vec<Record> {
        let mut found: Vec<_> =
            self.0.values().flatten().filter(|record| record.at >= since).cloned().collect();
        found.sort_by_key(|record| record.seq);
        found
    }
}

#[cfg(test)]
mod tests {
    //! No flood of one alarm hides another.

    use super::{Alarms, KEPT_MAX};
    use crate::{chain::Link, entries, facts::EventFacts, record::EventName};
    use nightlatch_domain::clock::Timestamp;

    #[test]
    fn a_flood_of_one_alarm_hides_no_other() {
        let mut alarms = Alarms::default();
        let mut note = |seq: u64, event| {
            let link = Link { seq: seq - 1, hash: String::new() };
            let at = Timestamp::from_millis(seq as i64);
            alarms.note(&link.next(at, entries::event(EventFacts::new(event))));
        };
        note(1, EventName::RefreshLatched);
        note(2, EventName::TaskOpened);
        for seq in 3..1000 {
            note(seq, EventName::ReferenceMisused);
        }
        let kept: Vec<_> = alarms.since(Timestamp::from_millis(0)).iter().map(|record| record.seq).collect();
        assert_eq!((kept.len(), kept[0], kept[KEPT_MAX]), (1 + KEPT_MAX, 1, 999));
        assert_eq!(alarms.since(Timestamp::from_millis(999)).len(), 1);
    }
}
