//! Proves that an arrow which the table does not list is refused, whatever kind of dependency it is, and that the
//! table itself keeps the design's three "never".

use serde_json::{Value, json};

use super::{Rules, room, rooms, rules, violations};

const TABLE: &str = r#"
[arrows]
domain = []
keeper = ["domain"]
gateway = ["domain"]
[dev]
keeper = ["gateway"]
[programs]
rooms = []
[stands]
axum = ["gateway"]
lazy_static = []
[only.domain]
normal = ["serde"]
dev = ["proptest"]
"#;

fn table() -> Rules {
    rules(&TABLE.parse().unwrap()).unwrap()
}

fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
    let dependencies: Vec<Value> =
        dependencies.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
    json!({"name": name, "targets": [{"kind": ["lib"]}], "dependencies": dependencies})
}

/// The findings when `gateway` has these dependencies and the other rooms none.
fn gateway_with(dependencies: &[(&str, Option<&str>)]) -> Vec<String> {
    house(package("nightlatch-domain", &[]), package("nightlatch-gateway", dependencies))
}

fn house(domain: Value, gateway: Value) -> Vec<String> {
    let metadata = json!({"packages": [domain, package("nightlatch-keeper", &[]), gateway]});
    violations(&table(), &rooms(&metadata).unwrap())
}

#[test]
fn listed_arrows_are_allowed() {
    assert_eq!(gateway_with(&[("nightlatch-domain", None), ("tokio", None)]), Vec::<String>::new());
}

#[test]
fn an_unlisted_arrow_is_refused_and_named() {
    let found = gateway_with(&[("nightlatch-keeper", None)]);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("`gateway` -> `keeper` is not allowed"), "{found:?}");
}

#[test]
fn an_unlisted_arrow_of_a_build_script_or_a_test_is_refused_too() {
    assert_eq!(gateway_with(&[("nightlatch-keeper", Some("build"))]).len(), 1);
    assert_eq!(gateway_with(&[("nightlatch-keeper", Some("dev"))]).len(), 1);
}

#[test]
fn an_arrow_listed_for_tests_is_allowed_to_tests_alone() {
    let keeper = |kind| {
        let keeper = package("nightlatch-keeper", &[("nightlatch-gateway", kind)]);
        let metadata = json!({"packages": [package("nightlatch-domain", &[]), keeper, package("nightlatch-gateway", &[])]});
        violations(&table(), &rooms(&metadata).unwrap()).len()
    };
    assert_eq!(keeper(Some("dev")), 0);
    assert_eq!(keeper(None), 1);
}

#[test]
fn a_dependency_outside_its_room_is_refused() {
    let domain = package("nightlatch-domain", &[("serde", None), ("proptest", Some("dev"))]);
    assert_eq!(house(domain, package("nightlatch-gateway", &[("axum", None)])), Vec::<String>::new());
    assert!(gateway_with(&[("lazy_static", None)])[0].contains("may stand nowhere"));
    let found = house(package("nightlatch-domain", &[("axum", None)]), package("nightlatch-gateway", &[]));
    assert!(found[0].contains("`axum` stands in `domain`, but may stand only in `gateway`"), "{found:?}");
}

#[test]
fn a_closed_list_stays_closed() {
    let found =
        |name, kind| house(package("nightlatch-domain", &[(name, kind)]), package("nightlatch-gateway", &[]));
    assert!(found("tokio", None)[0].contains("`domain` depends on `tokio`"));
    assert_eq!(found("proptest", None).len(), 1, "what tests may use, the room itself may not");
    assert_eq!(found("tokio", Some("dev")).len(), 1);
}

#[test]
fn a_room_is_listed_and_has_a_page() {
    let metadata = json!({"packages": [package("nightlatch-domain", &[]), package("nightlatch-attic", &[])]});
    let found = violations(&table(), &rooms(&metadata).unwrap()).join("\n");
    assert!(found.contains("room `attic` is not in `arrows.toml`"), "{found}");
    assert!(found.contains("lists `keeper`, which does not exist"), "{found}");
    let bare = json!({"name": "nightlatch-domain", "targets": [{"kind": ["bin"]}], "dependencies": []});
    assert!(!room(&bare, &Default::default()).unwrap().has_library);
    assert!(house(bare, package("nightlatch-gateway", &[]))[0].contains("has no `src/lib.rs`"));
}

#[test]
fn the_real_table_keeps_the_three_nevers() {
    let real = rules(&include_str!("../../../arrows.toml").parse().unwrap()).unwrap();
    let may = |from: &str, to: &str| real.arrows.get(from).is_some_and(|allowed| allowed.contains(to));
    assert!(!may("gateway", "keeper") && !may("control", "keeper") && !may("control", "gateway"));
    // What stands beside the agent holds no key and opens no store.
    assert!(!["store", "custody", "keeper", "gateway"].iter().any(|room| may("companion", room)));
    assert!(may("companion", "egress") && real.arrows["domain"].is_empty());
}
