//! Proves that a foreign reference alarms, and that no answer waits for the alarm.

use crate::world::World;
use nightlatch_domain::reference::Reference;
use nightlatch_ledger::record::{Entry, Event, EventName, Record};

fn request(world: &World, reference: &str) -> String {
    world.request("GET /acme/things", &[&format!("Authorization: Bearer {reference}")])
}

fn unknown() -> String {
    Reference::draw(|| Ok::<_, ()>([9; 64])).unwrap().as_str().to_owned()
}

fn misuses(records: &[Record]) -> Vec<(u64, &Event)> {
    let all = records.iter().filter_map(|record| match &record.entry {
        Entry::Event(event) if event.event == EventName::ReferenceMisused => Some((record.seq, event)),
        _ => None,
    });
    all.collect()
}

fn refusals(records: &[Record]) -> Vec<u64> {
    let all = records.iter().filter(|record| matches!(record.entry, Entry::Refusal(_)));
    all.map(|record| record.seq).collect()
}

#[tokio::test]
pub(crate) async fn the_alarm_is_written_after_the_refusal_that_it_belongs_to() {
    let world = World::new().await;
    world.send(&world.mallory, &request(&world, &world.alice.reference)).await;
    world.eventually("the alarm", || async { misuses(&world.records().await).len() == 1 }).await;
    let records = world.records().await;
    let (alarmed, refused) = (misuses(&records), refusals(&records));
    assert_eq!(refused.len(), 1);
    assert!(alarmed[0].0 > refused[0], "the answer waited for its alarm");
    assert_eq!(alarmed[0].1.grant, Some(world.alice.grant));
}

#[tokio::test]
pub(crate) async fn a_flood_of_junk_hides_no_misuse() {
    let world = World::new().await;
    let mut wire = world.connect(&world.mallory).await;
    for _ in 0..70 {
        wire.write(request(&world, &unknown())).await;
        assert_eq!(wire.answer().await.status, 403);
    }
    assert_eq!(refusals(&world.records().await).len(), 60, "no budget was used up");
    wire.write(request(&world, &world.alice.reference)).await;
    assert_eq!(wire.answer().await.problem(), "reference-unknown");
    world.eventually("the alarm", || async { misuses(&world.records().await).len() == 1 }).await;
    assert_eq!(misuses(&world.records().await)[0].1.grant, Some(world.alice.grant));
}

#[tokio::test]
pub(crate) async fn who_does_not_stay_for_the_answer_alarms_all_the_same() {
    let world = World::new().await;
    world.hold_ledger().await;
    let mut wire = world.connect(&world.mallory).await;
    wire.write(request(&world, &world.alice.reference)).await;
    world.eventually("the refusal", || async { world.ledger_holds_another() }).await;
    drop(wire);
    world.clock.hold_writer(false);
    world.eventually("the alarm", || async { misuses(&world.records().await).len() == 1 }).await;
}
