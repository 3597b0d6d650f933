//! What an agent brings about by calls whose webhook is dead has a budget, and no other task pays for it.

use super::Home;
use crate::{
    facts::EventFacts,
    read::{Filter, tail},
    record::{Entry, EventName},
    testing::{caller, id},
};
use nightlatch_domain::{clock::Timestamp, id::TaskId};

#[tokio::test]
async fn messages_that_are_given_up_are_counted_and_drown_no_other_tasks() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    let given_up = |task| EventFacts {
        tenant: Some(caller().tenant),
        agent: Some(caller().agent),
        task: Some(task),
        ..EventFacts::new(EventName::WebhookGivenUp)
    };
    let other = id!(TaskId, 99);
    for _ in 0..500 {
        ledger.event(given_up(caller().task)).await.unwrap();
    }
    ledger.event(given_up(other)).await.unwrap();
    assert_eq!(ledger.alarms(Timestamp::from_millis(0)).len(), 61);
    ledger.close().await.unwrap();
    let events = Filter { event: Some(EventName::WebhookGivenUp), ..Filter::default() };
    let told = tail(home.path(), 1000, &events).unwrap().into_iter().map(|record| match record.entry {
        Entry::Event(event) => (event.task, event.count),
        other => panic!("{other:?}"),
    });
    let told: Vec<_> = told.collect();
    // Sixty one by one, the other task's, and the count of the rest.
    assert_eq!(told.len(), 62);
    assert_eq!(told[59..], [(Some(caller().task), 1), (Some(other), 1), (Some(caller().task), 440)]);
}
