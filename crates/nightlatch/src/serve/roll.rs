//! Who is there: the cards that a believed key signed, and which of their processes still live.
//!
//! That a process lives is told by a number that grows, watched on this machine's own boot clock: no two clocks are
//! compared, and while the database is out of reach nobody is taken for dead.

use nightlatch_custody::link::Known;
use nightlatch_domain::{
    clock::Boot,
    id::PeerId,
    ports::mailbox::{Card, Present, Role},
};
use std::{collections::BTreeMap, time::Duration};

/// How often a process says that it lives.
pub(super) const BEATS_EVERY: Duration = Duration::from_secs(2);
/// One that said nothing for so long is asked for nothing more.
const SILENT_MAX: Duration = Duration::from_secs(8);
/// One that said nothing for so long will not come back: its card is taken away.
const GONE_AFTER: Duration = Duration::from_secs(600);

/// Who is there, as far as it was looked.
#[derive(Default)]
pub(super) struct Roll {
    rows: BTreeMap<PeerId, Row>,
    looked: Option<Boot>,
}

struct Row {
    card: Card,
    known: Known,
    beats: u64,
    /// When it was seen to beat.
    moved: Boot,
}

impl Roll {
    /// Takes in what lies there now. `know` says whether a card is to be believed.
    pub(super) fn look(&mut self, present: Vec<Present>, know: impl Fn(&Card) -> Option<Known>, now: Boot) {
        let mut before = std::mem::take(&mut self.rows);
        for Present { card, beats } in present {
            let row = match before.remove(&card.peer) {
                Some(row) if row.card == card && row.beats == beats => row,
                Some(row) if row.card == card => Row { beats, moved: now, ..row },
                _ => match know(&card) {
                    Some(known) => Row { card, known, beats, moved: now },
                    None => {
                        tracing::warn!(peer = %card.peer, role = %card.role,
                            "a card is signed by no `[[peer]]` of this configuration, and is not believed");
                        continue;
                    }
                },
            };
            self.rows.insert(row.known.peer(), row);
        }
        self.looked = Some(now);
    }

    /// Everybody of a role who lives.
    pub(super) fn living(&self, role: Role) -> Vec<Known> {
        let of_role = self.rows.values().filter(|row| row.known.role() == role);
        of_role.filter(|row| self.silence(row) < SILENT_MAX).map(|row| row.known.clone()).collect()
    }

    /// Everybody of a role who said that they live within `span`.
    pub(super) fn heard_within(&self, role: Role, span: Duration) -> Vec<Known> {
        let of_role = self.rows.values().filter(|row| row.known.role() == role);
        of_role.filter(|row| self.silence(row) < span).map(|row| row.known.clone()).collect()
    }

    /// Whether a process lives.
    pub(super) fn lives(&self, peer: PeerId) -> bool {
        self.rows.get(&peer).is_some_and(|row| self.silence(row) < SILENT_MAX)
    }

    /// A process, living or not.
    pub(super) fn known(&self, peer: PeerId) -> Option<Known> {
        self.rows.get(&peer).map(|row| row.known.clone())
    }

    /// Those whose cards may be taken away.
    pub(super) fn gone(&self) -> Vec<PeerId> {
        self.rows.values().filter(|row| self.silence(row) >= GONE_AFTER).map(|row| row.known.peer()).collect()
    }

    /// How long it said nothing, as far as it was looked.
    fn silence(&self, row: &Row) -> Duration {
        self.looked.map_or(Duration::ZERO, |looked| looked.since(row.moved))
    }
}

#[cfg(test)]
mod tests {
    //! Only a believed card counts, and only silence that was watched is death.

    use super::{GONE_AFTER, Roll, SILENT_MAX};
    use crate::serve::testing::{NOW, ends};
    use nightlatch_custody::link::End;
    use nightlatch_domain::{
        clock::Boot,
        ports::mailbox::{Card, Present, Role},
    };

    fn at(millis: u64) -> Boot {
        Boot::from_millis(1_000_000 + millis)
    }

    fn present(end: &End, beats: u64) -> Present {
        Present { card: end.card().clone(), beats }
    }

    #[test]
    fn who_is_silent_while_it_is_looked_is_dead_and_who_is_not_looked_at_is_not() {
        let (gateway, keeper) = ends();
        let know = |card: &Card| gateway.known(card);
        let silent_max = u64::try_from(SILENT_MAX.as_millis()).unwrap();
        let mut roll = Roll::default();
        roll.look(vec![present(&keeper, 1)], know, at(0));
        assert!(roll.lives(keeper.card().peer));
        // The database is out of reach for an hour: nothing was seen, so nobody died.
        roll.look(vec![present(&keeper, 2)], know, at(3_600_000));
        assert!(roll.lives(keeper.card().peer));
        roll.look(vec![present(&keeper, 2)], know, at(3_600_000 + silent_max - 1));
        assert_eq!(roll.living(Role::Keeper).len(), 1);
        roll.look(vec![present(&keeper, 2)], know, at(3_600_000 + silent_max));
        assert!(!roll.lives(keeper.card().peer) && roll.living(Role::Keeper).is_empty());
        assert!(roll.known(keeper.card().peer).is_some() && roll.gone().is_empty());
        let gone_after = u64::try_from(GONE_AFTER.as_millis()).unwrap();
        roll.look(vec![present(&keeper, 2)], know, at(3_600_000 + gone_after));
        assert_eq!(roll.gone(), [keeper.card().peer]);
        // It beats again: it was only slow.
        roll.look(vec![present(&keeper, 3)], know, at(3_600_000 + gone_after + 1));
        assert!(roll.lives(keeper.card().peer));
        roll.look(Vec::new(), know, at(3_600_000 + gone_after + 2));
        assert!(roll.known(keeper.card().peer).is_none(), "it left");
    }

    #[test]
    fn a_card_that_is_swapped_is_looked_at_anew() {
        let (gateway, keeper) = ends();
        let know = |card: &Card| gateway.known(card);
        let mut roll = Roll::default();
        roll.look(vec![present(&keeper, 1)], know, at(0));
        let mut swapped = present(&keeper, 2);
        swapped.card.key = gateway.card().key.clone();
        roll.look(vec![swapped], know, at(1));
        assert!(roll.known(keeper.card().peer).is_none() && roll.living(Role::Keeper).is_empty());
        assert!(NOW.millis() > 0);
    }
}
