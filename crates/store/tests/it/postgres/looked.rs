//! Proves that a look through the database finds what does not hold between rows, as its owner and in every question.

use super::{
    on_each,
    server::{Server, client},
    world,
};
use nightlatch_store::{Address, PostgresStore};

on_each! {
    what_does_not_hold_between_rows_is_found_by_its_name
}

async fn what_does_not_hold_between_rows_is_found_by_its_name(server: &Server) {
    let (database, world) = world(server).await;
    world.connected("dana", "583231").await;
    let address = Address::new(&database.text, None).unwrap();
    assert_eq!(PostgresStore::look_through(&address).await.unwrap(), []);
    let sql = "INSERT INTO keeper (keeper_id, compared, vouched) VALUES ('one', 7, 1), ('two', 9, 1);
         UPDATE chain SET state = 'refreshing', owner_id = NULL";
    client(&database.text).await.batch_execute(sql).await.unwrap();
    let found = PostgresStore::look_through(&address).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|fault| (fault.name, fault.count)).collect();
    assert_eq!(found, [("claim-without-owner", 1), ("keeper-of-a-later-era", 2)]);
}
