//! Who is there: the cards that a believed key signed, and which of their processes still live.
//!
//! That a process lives is told by a number that grows. What counts as silence is only the time in which it was looked:
//! while the database is out of reach nobody is taken for dead, and no two clocks are compared.
//!
//! A card that nobody vouches for is believed for one thing only: that somebody of that name is there. Gateways do not list
//! each other, and none may take over the calls of one that lives. Whoever writes the database can so keep calls from
//! being taken over, which it could by the calls' own rows.

use nightlatch_custody::link::Known;
use nightlatch_domain::{
    clock::Boot,
    id::PeerId,
    ports::mailbox::{Card, Present, Role},
    tool::Name,
};
use std::{collections::BTreeMap, time::Duration};

/// How often a process says that it lives.
pub(super) const BEATS_EVERY: Duration = Duration::from_secs(2);
/// One that said nothing for so long is asked for nothing more.
pub(super) const SILENT_MAX: Duration = Duration::from_secs(8);
/// One that said nothing for so long will not come back: its card is taken away.
const GONE_AFTER: Duration = Duration::from_secs(600);
/// Between two looks no more than this counts as watched.
const WATCHED_MAX: Duration = Duration::from_secs(2);
/// Cards whose names are remembered, believed or not.
const NAMED_MAX: usize = 4096;

/// Who is there, as far as it was looked.
#[derive(Default)]
pub(super) struct Roll {
    rows: BTreeMap<PeerId, Row>,
    /// Every card's name, whoever signed it. One that was taken away is silent.
    named: BTreeMap<(PeerId, Role, Name), Beats>,
    /// Not every card found a place there.
    is_crowded: bool,
    looked: Option<Boot>,
}

struct Row {
    card: Card,
    known: Known,
    beats: Beats,
}

/// The number that grows, and for how long it was watched and did not.
#[derive(Clone, Copy)]
struct Beats {
    number: u64,
    silence: Duration,
}

impl Beats {
    const fn new(number: u64) -> Self {
        Self { number, silence: Duration::ZERO }
    }

    fn look(&mut self, number: u64, watched: Duration) {
        *self = match self.number == number {
            true => Self { number, silence: self.silence.saturating_add(watched) },
            false => Self::new(number),
        };
    }
}

impl Roll {
    /// Takes in what lies there now. `know` says whether a card is to be believed.
    pub(super) fn look(&mut self, present: Vec<Present>, know: impl Fn(&Card) -> Option<Known>, now: Boot) {
        let watched = self.looked.map_or(Duration::ZERO, |looked| now.since(looked).min(WATCHED_MAX));
        self.looked = self.looked.max(Some(now));
        let mut before = std::mem::take(&mut self.rows);
        let mut named = std::mem::take(&mut self.named);
        self.is_crowded = false;
        for Present { card, beats } in present {
            let name = (card.peer, card.role, card.name.clone());
            let mut heard = named.remove(&name);
            if let Some(heard) = &mut heard {
                heard.look(beats, watched);
            }
            let row = match before.remove(&card.peer) {
                Some(mut row) if row.card == card => {
                    row.beats.look(beats, watched);
                    Some(row)
                }
                before => {
                    let known = know(&card);
                    if known.is_none() && (heard.is_none() || before.is_some()) {
                        tracing::warn!(peer = %card.peer, role = %card.role, name = %card.name,
                            "a card is signed by no `[[peer]]` of this configuration, and is not believed");
                    }
                    known.map(|known| Row { card, known, beats: Beats::new(beats) })
                }
            };
            self.name(name, heard.unwrap_or(Beats::new(beats)));
            self.rows.extend(row.map(|row| (row.known.peer(), row)));
        }
        // Whose card is gone may come back, and is silent until then.
        for (name, mut heard) in named {
            heard.look(heard.number, watched);
            if heard.silence < GONE_AFTER {
                self.name(name, heard);
            }
        }
    }

    fn name(&mut self, name: (PeerId, Role, Name), heard: Beats) {
        if self.named.len() < NAMED_MAX {
            self.named.insert(name, heard);
        } else {
            self.is_crowded = true;
        }
    }

    /// Everybody of a role who lives.
    pub(super) fn living(&self, role: Role) -> Vec<Known> {
        self.heard_within(role, SILENT_MAX)
    }

    /// Everybody of a role who said that they live within `span`.
    pub(super) fn heard_within(&self, role: Role, span: Duration) -> Vec<Known> {
        let of_role = self.rows.values().filter(|row| row.known.role() == role);
        of_role.filter(|row| row.beats.silence < span).map(|row| row.known.clone()).collect()
    }

    /// The names of a role by which somebody, believed or not, said within `span` that they live. None where there are too
    /// many to know.
    pub(super) fn names_within(&self, role: Role, span: Duration) -> Option<Vec<Name>> {
        let heard = self.named.iter().filter(|((_, of, _), heard)| *of == role && heard.silence < span);
        (!self.is_crowded).then(|| heard.map(|((_, _, name), _)| name.clone()).collect())
    }

    /// Whether a process lives.
    pub(super) fn lives(&self, peer: PeerId) -> bool {
        self.rows.get(&peer).is_some_and(|row| row.beats.silence < SILENT_MAX)
    }

    /// A process, living or not.
    pub(super) fn known(&self, peer: PeerId) -> Option<Known> {
        self.rows.get(&peer).map(|row| row.known.clone())
    }

    /// Those whose cards may be taken away.
    pub(super) fn gone(&self) -> Vec<PeerId> {
        self.rows.values().filter(|row| row.beats.silence >= GONE_AFTER).map(|row| row.known.peer()).collect()
    }
}

#[cfg(test)]
mod tests {
    //! Only a believed card counts, and only silence that was watched is death.

    use super::{GONE_AFTER, NAMED_MAX, Roll, SILENT_MAX};
    use crate::serve::testing::{House, NOW, ends};
    use nightlatch_custody::link::End;
    use nightlatch_domain::{
        clock::Boot,
        id::PeerId,
        ports::mailbox::{Card, Present, Role},
    };
    use std::slice;

    const HOUR: u64 = 3_600_000;

    fn at(millis: u64) -> Boot {
        Boot::from_millis(1_000_000 + millis)
    }

    fn millis(span: std::time::Duration) -> u64 {
        u64::try_from(span.as_millis()).unwrap()
    }

    fn present(end: &End, beats: u64) -> Present {
        Present { card: end.card().clone(), beats }
    }

    /// Looks every second from after `from` until `to`, and then: the same lies there each time.
    fn watch(
        roll: &mut Roll,
        lies: &[Present],
        know: impl Fn(&Card) -> Option<super::Known>,
        (from, to): (u64, u64),
    ) {
        let seconds = (1..).map(|second| from + second * 1000).take_while(|at| *at < to);
        seconds.chain([to]).for_each(|now| roll.look(lies.to_vec(), &know, at(now)));
    }

    #[test]
    fn who_is_silent_while_it_is_looked_is_dead_and_who_is_not_looked_at_is_not() {
        let (gateway, keeper) = ends();
        let know = |card: &Card| gateway.known(card);
        let silent_max = millis(SILENT_MAX);
        let lies = [present(&keeper, 2)];
        let mut roll = Roll::default();
        roll.look(vec![present(&keeper, 1)], know, at(0));
        assert!(roll.lives(keeper.card().peer));
        // The database is out of reach for an hour: nothing was seen, so nobody died.
        roll.look(vec![present(&keeper, 2)], know, at(HOUR));
        assert!(roll.lives(keeper.card().peer));
        watch(&mut roll, &lies, know, (HOUR, HOUR + silent_max - 1));
        assert_eq!(roll.living(Role::Keeper).len(), 1);
        roll.look(lies.to_vec(), know, at(HOUR + silent_max));
        assert!(!roll.lives(keeper.card().peer) && roll.living(Role::Keeper).is_empty());
        assert!(roll.known(keeper.card().peer).is_some() && roll.gone().is_empty());
        let gone_after = millis(GONE_AFTER);
        watch(&mut roll, &lies, know, (HOUR + silent_max, HOUR + gone_after));
        assert_eq!(roll.gone(), [keeper.card().peer]);
        // It beats again: it was only slow.
        roll.look(vec![present(&keeper, 3)], know, at(HOUR + gone_after + 1));
        assert!(roll.lives(keeper.card().peer));
        roll.look(Vec::new(), know, at(HOUR + gone_after + 2));
        assert!(roll.known(keeper.card().peer).is_none(), "it left");
    }

    #[test]
    fn an_outage_is_nobodys_silence() {
        let (gateway, keeper) = ends();
        let know = |card: &Card| gateway.known(card);
        let mut roll = Roll::default();
        roll.look(vec![present(&keeper, 1)], know, at(0));
        // It could say nothing for an hour either, and the first look comes before its first word.
        roll.look(vec![present(&keeper, 1)], know, at(HOUR));
        assert!(roll.lives(keeper.card().peer) && roll.gone().is_empty());
        watch(&mut roll, &[present(&keeper, 1)], know, (HOUR, HOUR + millis(SILENT_MAX)));
        assert!(!roll.lives(keeper.card().peer), "now it was watched");
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
    }

    #[test]
    fn a_stranger_is_believed_to_have_its_name_while_it_moves_and_nothing_else() {
        let mut house = House::new();
        let (gateway, stranger) = (house.end(Role::Gateway), house.stranger(Role::Gateway));
        let (peer, name) = (stranger.card().peer, stranger.card().name.clone());
        let know = |card: &Card| gateway.known(card);
        let names = |roll: &Roll| roll.names_within(Role::Gateway, GONE_AFTER).unwrap();
        let mut roll = Roll::default();
        roll.look(vec![present(&stranger, 1)], know, at(0));
        assert_eq!(names(&roll), slice::from_ref(&name));
        assert_eq!(roll.names_within(Role::Keeper, GONE_AFTER), Some(Vec::new()));
        assert!(roll.known(peer).is_none() && !roll.lives(peer));
        assert!(
            roll.living(Role::Gateway).is_empty() && roll.heard_within(Role::Gateway, GONE_AFTER).is_empty()
        );
        // Whether its card lies there or not: it is gone when it was silent for long.
        let gone_after = millis(GONE_AFTER);
        watch(&mut roll, &[present(&stranger, 1)], know, (0, gone_after / 2));
        watch(&mut roll, &[], know, (gone_after / 2, gone_after - 1));
        assert_eq!(names(&roll), slice::from_ref(&name));
        watch(&mut roll, &[present(&stranger, 2)], know, (gone_after - 1, gone_after));
        watch(&mut roll, &[], know, (gone_after, 2 * gone_after - 1));
        assert_eq!(names(&roll), [name], "it had moved");
        watch(&mut roll, &[], know, (2 * gone_after - 1, 2 * gone_after));
        assert!(names(&roll).is_empty() && roll.named.is_empty());
        watch(&mut roll, &[present(&stranger, 2)], know, (2 * gone_after, 3 * gone_after + 1000));
        assert!(names(&roll).is_empty(), "a card that nobody moves is nobody");
    }

    #[test]
    fn where_there_are_too_many_cards_nobody_is_said_to_be_missing() {
        let (gateway, keeper) = ends();
        let know = |card: &Card| gateway.known(card);
        let many = |n: usize| {
            let card = |n: usize| {
                let mut drawn = [0; 10];
                drawn[2..].copy_from_slice(&n.to_be_bytes());
                Card { peer: PeerId::new(NOW, drawn), ..keeper.card().clone() }
            };
            (0..n).map(|n| Present { card: card(n), beats: 1 }).collect::<Vec<_>>()
        };
        let mut roll = Roll::default();
        roll.look(many(NAMED_MAX), know, at(0));
        assert!(roll.names_within(Role::Gateway, GONE_AFTER).is_some());
        roll.look(many(NAMED_MAX + 1), know, at(1));
        assert!(roll.names_within(Role::Gateway, GONE_AFTER).is_none() && roll.named.len() == NAMED_MAX);
    }
}
