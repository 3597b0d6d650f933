//! Proves that each plane works under its own role, and that this role is refused every table that is not the plane's.

use super::{
    NOW, PLANES, on_each,
    server::{Server, client},
    tool, tools, world,
};
use crate::conformance::world::later;
use nightlatch_domain::ports::store::{
    CallStore as _, ControlStore as _, KeeperStore as _, Kill, LedgerHead, LedgerStore as _, StoreError,
};
use nightlatch_store::Plane;
use tokio_postgres::error::SqlState;

on_each! {
    each_plane_is_refused_every_table_that_is_not_its_own
    a_plane_that_asks_for_what_is_anothers_is_refused
    each_writer_of_a_ledger_has_a_head_of_its_own
}

/// What each plane may do, table by table; everything else is refused.
const RIGHTS: [(&str, [&str; 4]); 35] = [
    // table, then control, gateway, keeper, ledger: select, insert, update, delete
    ("agent", ["siu", "s", "s", ""]),
    ("answer", ["", "", "siud", ""]),
    ("attempt", ["", "", "siu", ""]),
    ("call", ["", "siud", "", ""]),
    ("call_room", ["", "su", "", ""]),
    ("chain", ["s", "", "siu", ""]),
    ("client", ["s", "", "siu", ""]),
    ("connection", ["", "", "siu", ""]),
    ("enrolment", ["s", "s", "si", ""]),
    ("enrolment_code", ["si", "", "siu", ""]),
    ("family", ["", "", "siu", ""]),
    ("feed", ["i", "s", "i", ""]),
    ("feed_counter", ["su", "s", "su", ""]),
    ("feed_mark", ["sid", "", "sid", ""]),
    ("flow", ["s", "", "siu", ""]),
    ("generation", ["", "", "siud", ""]),
    ("grant_spent", ["s", "siu", "", ""]),
    ("human", ["siu", "", "", ""]),
    ("import", ["s", "", "siud", ""]),
    ("installation", ["", "", "siu", ""]),
    ("keeper", ["", "", "siud", ""]),
    ("kill", ["", "", "siu", ""]),
    ("ledger_head", ["", "", "", "siu"]),
    ("letter", ["sid", "sid", "sid", ""]),
    ("mandate_spent", ["", "", "sid", ""]),
    ("peer", ["siud", "siud", "siud", ""]),
    ("redirect_context", ["siu", "", "", ""]),
    ("revocation", ["", "", "siud", ""]),
    ("static_secret", ["", "", "siud", ""]),
    ("task", ["siu", "s", "s", ""]),
    ("task_grant", ["siu", "s", "s", ""]),
    ("tenant", ["siu", "", "", ""]),
    ("ticket", ["s", "", "siu", ""]),
    ("tool", ["siu", "s", "s", ""]),
    ("wake", ["s", "", "siud", ""]),
];

/// Each statement is really sent, under each plane's role, and refused where the plane has no word about the table.
async fn each_plane_is_refused_every_table_that_is_not_its_own(server: &Server) {
    let database = server.copied().await;
    let client = client(&database.text).await;
    let sql = "SELECT table_name::text, (SELECT column_name::text FROM information_schema.columns AS its
             WHERE its.table_name = known.table_name AND its.table_schema = 'public' ORDER BY ordinal_position LIMIT 1)
         FROM information_schema.tables AS known WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
             AND table_name NOT LIKE 'schema%' ORDER BY table_name";
    let tables = client.query(sql, &[]).await.unwrap();
    let names: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, RIGHTS.map(|(table, _)| table), "every table stands in the list");
    for (row, (table, rights)) in tables.iter().zip(RIGHTS) {
        let column: String = row.get(1);
        for (plane, rights) in PLANES.into_iter().zip(rights) {
            client.batch_execute(&format!("SET ROLE {}", plane.role())).await.unwrap();
            let statements = [
                ("s", format!("SELECT count(*) FROM {table}")),
                ("i", format!("INSERT INTO {table} DEFAULT VALUES")),
                ("u", format!("UPDATE {table} SET {column} = {column} WHERE false")),
                ("d", format!("DELETE FROM {table} WHERE false")),
                ("t", format!("TRUNCATE {table}")),
            ];
            for (right, statement) in statements {
                let refused = client.batch_execute(&statement).await.err();
                let is_refused =
                    refused.is_some_and(|error| error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE));
                // An update reads what it sets anew.
                let allowed = rights.contains(right);
                assert_eq!(is_refused, !allowed, "{plane:?}: {statement}");
            }
            client.batch_execute("RESET ROLE").await.unwrap();
        }
    }
}

/// What a plane asks for goes to the server under the plane's role, not under that of whoever logged in.
async fn a_plane_that_asks_for_what_is_anothers_is_refused(server: &Server) {
    let (database, world) = world(server).await;
    let (tenant, writer) = (world.tenant, "one".parse().unwrap());
    for plane in PLANES {
        let store = database.store(plane);
        let own = |whose| if plane == whose { Ok(()) } else { Err(StoreError::Unavailable) };
        assert_eq!(store.put_tool(tool("a")).await, own(Plane::Control), "{plane:?}");
        assert_eq!(store.open_calls(None, 1).await.map(drop), own(Plane::Gateway), "{plane:?}");
        assert_eq!(
            store.kill(Kill::Tenant { tenant }, later(1)).await.map(drop),
            own(Plane::Keeper),
            "{plane:?}"
        );
        assert_eq!(store.revocations(later(1), 1).await.map(drop), own(Plane::Keeper), "{plane:?}");
        assert_eq!(store.heads_of(&writer).head().await.map(drop), own(Plane::Ledger), "{plane:?}");
    }
    assert_eq!(tools(&database).await, 1);
    assert_eq!(world.keeper.kills(0, 9).await.unwrap().len(), 1);
}

/// Two processes write a ledger each: neither takes the other's head for its own.
async fn each_writer_of_a_ledger_has_a_head_of_its_own(server: &Server) {
    let store = server.copied().await.store(Plane::Ledger);
    let [one, other] = ["one", "other"].map(|name| store.heads_of(&name.parse().unwrap()));
    let head = |seq| LedgerHead { seq, hash: format!("{seq}"), signature: "signed".to_owned(), at: NOW };
    one.put_head(head(7)).await.unwrap();
    assert_eq!(other.head().await.unwrap(), None);
    other.put_head(head(3)).await.unwrap();
    assert_eq!((one.head().await.unwrap(), other.head().await.unwrap()), (Some(head(7)), Some(head(3))));
}
