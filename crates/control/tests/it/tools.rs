//! Proves that what a manifest would change is told before it takes effect: operations, hosts, and what living grants
//! gain and lose; and that what is put in a place is what was looked at.

use crate::world::World;
use nightlatch_control::api::{GrantView, ToolDifference, ToolView};
use serde_json::{Value, json};

const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A manifest of these operations: id, effect, method.
fn manifest(host: &str, operations: &[(&str, &str, &str)]) -> Value {
    let operation = |(id, effect, method): &(&str, &str, &str)| {
        format!(
            "[[operation]]\nid = \"{id}\"\nmethod = \"{method}\"\npath = \"/{id}\"\neffect = \"{effect}\"\npage = \"https://example.com\"\n"
        )
    };
    let operations: String = operations.iter().map(operation).collect();
    let text = format!(
        "name = \"pets\"\ntitle = \"Pets\"\ndocs = \"https://example.com\"\n[source]\nkind = \"openapi\"\nfile = \"pets.json\"\nsha256 = \"{SHA256}\"\n[[host]]\nhost = \"{host}\"\nkey = {{ kind = \"bearer\" }}\n{operations}"
    );
    json!({ "file": "pets.json", "manifest": text })
}

async fn difference(world: &World, body: &Value) -> ToolDifference {
    world.client.post("/v1/tools/difference", body).await.unwrap()
}

fn ids(acts: &[nightlatch_control::api::ActView]) -> Vec<&str> {
    acts.iter().map(|act| act.id.as_str()).collect()
}

#[tokio::test]
async fn a_difference_tells_operations_hosts_and_what_living_grants_gain_and_lose() {
    let world = World::start().await;
    let first = manifest(
        "api.example.com",
        &[("list", "read", "GET"), ("old", "read", "GET"), ("put", "write", "PUT")],
    );
    let new = difference(&world, &first).await;
    assert!(new.is_new && !new.is_same && new.replaces == "none", "{new:?}");
    assert_eq!(ids(&new.added), ["list", "old", "put"]);
    assert_eq!(new.destinations, ["https://api.example.com, bearer"]);
    assert_eq!(new.source.unwrap().sha256, SHA256);
    // Nothing took effect.
    assert!(world.client.get::<Value>("/v1/tools/pets").await.is_err());
    let shown: ToolView = world.client.post("/v1/tools", &first).await.unwrap();
    assert_eq!(shown.source.unwrap().file, "pets.json");
    assert!(difference(&world, &first).await.is_same);

    world.connect("pets", "main").await;
    let task = world.task().await;
    let grant = json!({ "task": task, "grant": "pets:read,old" });
    let grant: GrantView = world.client.post("/v1/grants", &grant).await.unwrap();
    let second = manifest(
        "eu.example.com",
        &[("list", "read", "GET"), ("new", "read", "GET"), ("put", "admin", "PUT")],
    );
    let told = difference(&world, &second).await;
    assert_eq!((ids(&told.added), ids(&told.removed)), (vec!["new"], vec!["old"]));
    let changed = &told.changed[0];
    assert_eq!((changed.before.effect.as_str(), changed.after.effect.as_str()), ("write", "admin"));
    assert_eq!(told.destinations_before, ["https://api.example.com, bearer"]);
    assert_eq!(told.destinations, ["https://eu.example.com, bearer"]);
    let [gains] = told.grants.as_slice() else { panic!("{:?}", told.grants) };
    assert_eq!(
        (gains.grant, gains.gains.clone(), gains.loses.clone()),
        (grant.id, vec!["new".into()], vec!["old".into()])
    );
}

#[tokio::test]
async fn what_is_put_in_a_place_is_what_was_looked_at() {
    let world = World::start().await;
    let (one, two) = (
        manifest("api.example.com", &[("a", "read", "GET")]),
        manifest("api.example.com", &[("b", "read", "GET")]),
    );
    let with = |body: &Value, replaces: &str| {
        let mut body = body.clone();
        body["replaces"] = replaces.into();
        body
    };
    let looked = difference(&world, &one).await.replaces;
    let _: ToolView = world.client.post("/v1/tools", &with(&one, &looked)).await.unwrap();
    // Somebody else put one there since: what was looked at is gone.
    let refused =
        world.client.post::<Value>("/v1/tools", &with(&two, &looked)).await.unwrap_err().to_string();
    assert!(refused.contains("look at the difference again"), "{refused}");
    let looked = difference(&world, &two).await.replaces;
    let shown: ToolView = world.client.post("/v1/tools", &with(&two, &looked)).await.unwrap();
    assert_eq!(shown.operations[0].id, "b");
}

#[tokio::test]
async fn a_difference_of_a_built_in_name_or_a_wrong_file_is_refused() {
    let world = World::start().await;
    let mut taken = manifest("api.example.com", &[]);
    taken["manifest"] = taken["manifest"].as_str().unwrap().replace("\"pets\"", "\"github\"").into();
    assert!(world.client.post::<Value>("/v1/tools/difference", &taken).await.is_err());
    let wrong = json!({ "file": "x.toml", "manifest": "name = 1" });
    let refused = world.client.post::<Value>("/v1/tools/difference", &wrong).await.unwrap_err().to_string();
    assert!(refused.contains("x.toml:1"), "{refused}");
}

#[tokio::test]
async fn root_fields_of_graphql_are_shown_like_operations() {
    let world = World::start().await;
    let linear: ToolView = world.client.get("/v1/tools/linear").await.unwrap();
    let issues = linear.operations.iter().find(|own| own.id == "issues.change").unwrap();
    assert_eq!(
        (issues.methods.as_slice(), issues.effect.as_str()),
        (["mutation".to_owned()].as_slice(), "write")
    );
    assert!(issues.paths.contains(&"issueCreate".to_owned()));
    assert_eq!(usize::try_from(linear.tool.operations).unwrap(), linear.operations.len());
}
