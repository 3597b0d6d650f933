//! Proves what goes wrong between a process and the database, and that nothing else does. The suite that every
//! store runs is in `tests/it`.

use super::{Database, StoreOdds};
use crate::world::{Node, Process, World};
use nightlatch_domain::{
    clock::Timestamp,
    id::{InstallationId, TenantId},
    ports::store::{KeeperStore as _, Recalled, StoreError},
};
use std::{collections::BTreeSet, time::Duration};

struct Case {
    world: World,
    database: Database,
    node: Node,
    process: Process,
}

const ALWAYS: u32 = 1_000_000;

fn fresh() -> InstallationId {
    InstallationId::new(Timestamp::from_millis(1), [1; 10])
}

impl Case {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let node = world.node("a");
        Self { database: Database::new(&world), process: node.start(), node, world }
    }

    /// Raises the era, which stands for any write.
    fn raises(&self, from: u64) -> Option<Result<bool, StoreError>> {
        let session = self.database.session(&self.process);
        self.world.finish(&self.process, async move { session.raise_era(from).await })
    }

    fn era(&self) -> u64 {
        let session = self.database.session(&self.process);
        self.world
            .finish(&self.process, async move { session.installation(fresh()).await })
            .unwrap()
            .unwrap()
            .era
    }
}

#[test]
fn a_write_that_does_not_arrive_is_known_not_to_stand() {
    let case = Case::new(1);
    assert_eq!(case.era(), 1);
    case.database.set_odds(StoreOdds { unavailable: ALWAYS, ..StoreOdds::default() });
    assert_eq!(case.raises(1), Some(Err(StoreError::Unavailable)));
    case.database.set_odds(StoreOdds::default());
    case.database.cut_off("a", true);
    assert_eq!(case.raises(1), Some(Err(StoreError::Unavailable)));
    case.database.cut_off("a", false);
    assert_eq!((case.era(), case.raises(1)), (1, Some(Ok(true))));
}

#[test]
fn a_write_whose_answer_is_lost_may_stand_or_not() {
    let mut eras = BTreeSet::new();
    for seed in 0..20 {
        let case = Case::new(seed);
        case.era();
        case.database.set_odds(StoreOdds { lost_answer: ALWAYS, ..StoreOdds::default() });
        assert_eq!(case.raises(1), Some(Err(StoreError::Unknown)));
        case.database.set_odds(StoreOdds::default());
        eras.insert(case.era());
    }
    assert_eq!(eras, BTreeSet::from([1, 2]), "both come about");
}

#[test]
fn a_dead_senders_write_may_stand_and_nobody_hears_of_it() {
    let mut eras = BTreeSet::new();
    for seed in 0..20 {
        let case = Case::new(seed);
        case.era();
        drop(case.database.session(&case.process).raise_era(1));
        case.node.kill();
        case.world.run_for(Duration::from_secs(1));
        let next = Case { process: case.node.start(), ..case };
        eras.insert(next.era());
    }
    assert_eq!(eras, BTreeSet::from([1, 2]), "both come about");
    let case = Case::new(1);
    case.era();
    case.node.kill();
    drop(case.database.session(&case.process).raise_era(1));
    case.world.run_for(Duration::from_secs(1));
    assert_eq!(Case { process: case.node.start(), ..case }.era(), 1, "the dead send nothing");
}

#[test]
fn a_standby_lacks_the_last_transactions_and_its_history_is_another() {
    let case = Case::new(1);
    case.era();
    let session = case.database.session(&case.process);
    let tenant = TenantId::new(Timestamp::from_millis(1), [1; 10]);
    let kill = nightlatch_domain::ports::store::Kill::Tenant { tenant };
    let kills = |at: i64| {
        let session = session.clone();
        case.world.finish(&case.process, async move {
            session.kill(kill, Timestamp::from_millis(at)).await.unwrap();
            session.last_change().await.unwrap()
        })
    };
    let (first, second) = (kills(1).unwrap(), kills(2).unwrap());
    case.database.fail_over(1);
    let recalled = |mark| {
        let session = session.clone();
        case.world.finish(&case.process, async move { session.recall(mark).await.unwrap() }).unwrap()
    };
    assert_eq!((recalled(first), recalled(second)), (Recalled::Held, Recalled::Other));
    let again = kills(3).unwrap();
    assert_eq!(again.number, second.number);
    assert_eq!(recalled(second), Recalled::Other, "the same number, another history");
    let copy = case.database.copy();
    let last = kills(4).unwrap();
    case.database.put_back(&copy);
    assert_eq!((recalled(again), recalled(last)), (Recalled::Held, Recalled::Other));
}
