//! A GraphQL endpoint of a tool, end to end: what a body asks for is what is decided on, and only what was granted whole
//! reaches the tool.

use crate::world::{
    connect::{Granted, text},
    http::Answer,
    install::Install,
    recorder::Recorder,
};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const KEY: &str = "canary-graphql-4860d2b51e9c7f3a";

/// What the recording tool's manifest says besides, so that it has an endpoint.
const ENDPOINT: &str = r#"
[[operation]]
id = "graphql"
method = "POST"
path = "/graphql"
body = "graphql"
effect = "admin"
page = "https://example.com/docs/graphql"

[[graphql]]
id = "issues.read"
on = "query"
field = ["issue", "viewer"]
effect = "read"
page = "https://example.com/docs/graphql"

[[graphql]]
id = "issues.change"
on = "mutation"
field = "issueUpdate"
effect = "write"
page = "https://example.com/docs/graphql"

[[graphql]]
id = "comments.change"
on = "mutation"
field = "commentCreate"
effect = "write"
page = "https://example.com/docs/graphql"
"#;

/// An installation with the tool, and an agent that was granted this at it.
struct World {
    install: Install,
    recorder: Recorder,
    granted: Granted,
}

impl World {
    async fn new(host: &str, grant: &str) -> Self {
        let recorder = Recorder::start(host);
        let install = Install::started(&recorder.config()).await;
        install.write("tool.toml", &(recorder.manifest("tracker") + ENDPOINT));
        install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
        install.json_with(&["connect", "tracker", "--key"], KEY, &[]);
        let granted = install.granted("worker", grant).await;
        Self { install, recorder, granted }
    }

    async fn asked(&self, query: &str) -> Answer {
        let bearer = format!("Bearer {}", self.granted.reference);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = json!({ "query": query }).to_string();
        self.granted.agent.call(Method::POST, "/tracker/graphql", &headers, body).await
    }

    /// It is refused, the record says so, and nothing reaches the tool.
    async fn assert_denied(&self, query: &str) {
        let before = (self.recorder.count(), self.intents().len());
        let answer = self.asked(query).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{query}: {}", answer.text());
        let problem: Value = answer.json();
        assert_eq!(problem["type"], "https://nightlatch.dev/problems/policy-denied", "{query}: {problem}");
        assert_eq!((self.recorder.count(), self.intents().len()), before, "{query}");
        let why = self.install.json(&["why", &text(&problem, "call")]);
        assert!(why.to_string().contains("policy-denied"), "{why}");
    }

    /// The intents of the record, oldest first.
    fn intents(&self) -> Vec<Value> {
        let tail = self.install.json(&["ledger", "tail", "--last", "100"]);
        let records = tail.as_array().expect("records").iter().map(|one| one["record"].clone());
        records.filter(|record| record["kind"] == "intent").collect()
    }
}

#[tokio::test]
async fn under_a_read_grant_a_query_bears_the_key_and_a_mutation_reaches_nothing() {
    let world = World::new("graphql-read.canary.test", "tracker:read").await;
    let answer = world.asked("query Mine { viewer { id } first: issue(id: 1) { title } }").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let arrived = world.recorder.last_of("/graphql");
    assert_eq!(arrived.values("authorization"), [format!("Bearer {KEY}")]);
    let intents = world.intents();
    let last = intents.last().expect("an intent");
    assert_eq!((&last["operation"], &last["effect"]), (&json!("issues.read"), &json!("read")), "{last}");
    for query in [
        "mutation { issueUpdate(id: 1) { id } }",
        "mutation { viewer: issueUpdate(id: 1) { id } }",
        "mutation M { ...F } fragment F on Mutation { issueUpdate(id: 1) { id } }",
    ] {
        world.assert_denied(query).await;
    }
    assert_eq!(world.recorder.count_of("/graphql"), 1);
}

#[tokio::test]
async fn of_two_root_fields_both_must_be_granted_and_both_are_recorded() {
    let world = World::new("graphql-two.canary.test", "tracker:comments.change").await;
    let both = "mutation { issueUpdate(id: 1) { id } commentCreate(on: 1) { id } }";
    world.assert_denied(both).await;
    assert_eq!(world.asked("mutation { commentCreate(on: 1) { id } }").await.status, StatusCode::OK);
    world.assert_denied("mutation { commentCreate(on: 1) { id } unheardOf }").await;
    assert_eq!(world.recorder.count_of("/graphql"), 1);

    let wider = ["grant", "add", "tracker:issues.change,comments.change", "--task", &world.granted.task];
    let reference = text(&world.install.json(&wider), "reference");
    let world = World { granted: Granted { reference, ..world.granted }, ..world };
    let answer = world.asked(both).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(world.recorder.last_of("/graphql").values("authorization"), [format!("Bearer {KEY}")]);
    let intents = world.intents();
    let last = intents.last().expect("an intent");
    let also = last["also"].as_array().expect("more operations").iter().cloned();
    let mut named: Vec<Value> = also.chain([last["operation"].clone()]).collect();
    named.sort_by_key(ToString::to_string);
    assert_eq!(named, ["comments.change", "issues.change"], "{last}");
    assert_eq!(last["effect"], "write", "{last}");
}
