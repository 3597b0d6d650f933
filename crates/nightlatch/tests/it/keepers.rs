//! `keeper list|adopt` as a human uses them: who is registered and what waits for whom; a copied state folder is quarantine
//! until a human vouches for it; a keeper that is gone holds everything up until it is forgotten.

use crate::world::{
    connect::text,
    eventually,
    install::Install,
    provider::Kind,
    recorder::Recorder,
    served::{Served, sql},
};
use http::StatusCode;
use serde_json::Value;
use std::{fs, path::Path, process::Output, time::Duration};

const KEY: &str = "canary-keepers-51c9e07f3ab8d264";

fn keepers(install: &Install) -> Vec<Value> {
    install.json(&["keeper", "list"])["keepers"].as_array().expect("keepers").clone()
}

/// A command that must be refused, with what it says.
fn refused(install: &Install, arguments: &[&str]) -> String {
    let output: Output = install.run(arguments);
    assert!(!output.status.success(), "`{}` was done", arguments.join(" "));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file below becomes another one with the same bytes, as on another disk.
fn copied_in_place(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            copied_in_place(&entry);
            continue;
        }
        let beside = entry.with_extension("copied");
        fs::copy(&entry, &beside).expect("a copy");
        fs::rename(&beside, &entry).expect("in its place");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_state_folder_is_quarantine_until_a_human_vouches_for_it() {
    let mut install = Install::with_provider(Kind::Dot0, "refresh_timer = \"off\"").await;
    let registration = install.register(Kind::Dot0, "keepers-dot0", 30).await;
    let mut browser = registration.browser();
    install.connect(&registration, &mut browser, &[]).await.json();
    let granted = install.granted("worker", &format!("{}:read", Kind::Dot0.tool())).await;
    let path = format!("/{}{}", Kind::Dot0.tool(), Kind::Dot0.me());
    assert_eq!(granted.agent.get(&path, &granted.reference).await.status, StatusCode::OK);
    let before = registration.counters().await;

    install.run(&["stop"]);
    assert!(install.ends_within(Duration::from_secs(20)).await);
    copied_in_place(&install.root().join("state"));
    install.up().await;

    let listed = keepers(&install);
    let [own] = listed.as_slice() else { panic!("{listed:?}") };
    let id = text(own, "id");
    assert_eq!((own["at_work"].as_bool(), text(own, "holds_up").as_str()), (Some(true), "itself"));
    assert!(text(own, "advice").ends_with(&format!("nightlatch keeper adopt {id}")), "{own}");
    let answer = granted.agent.get(&path, &granted.reference).await;
    assert!(!answer.status.is_success(), "{}", answer.text());

    let said = refused(&install, &["keeper", "adopt", &id]);
    assert!(said.contains("nothing was done") && said.contains("--yes"), "{said}");
    assert_eq!(text(&keepers(&install)[0], "holds_up"), "itself", "nothing was done");
    let said = refused(&install, &["keeper", "adopt", "--forget", &id, "--yes"]);
    assert!(said.contains("at work"), "{said}");
    let said = refused(&install, &["keeper", "adopt", "kpr_01ARZ3NDEKTSV4RRFFQ69G5FAV", "--yes"]);
    assert!(said.contains("nightlatch keeper list"), "{said}");

    let adopted = install.json(&["keeper", "adopt", &id, "--yes"]);
    assert_eq!((adopted["released"].as_u64(), adopted["contradicted"].as_u64()), (Some(1), Some(0)));
    assert_eq!(text(&keepers(&install)[0], "holds_up"), "nothing");
    let answer = granted.agent.get(&path, &granted.reference).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let after = registration.counters().await;
    assert_eq!((after.reuse_detected, after.presented_twice), (0, 0), "{after:?}");
    assert_eq!(after.code_exchanges, before.code_exchanges, "nobody logged in again");
    let told = install.run(&["ledger", "tail", "--json"]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("keeper-adopted"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_is_gone_holds_everything_up_until_it_is_forgotten() {
    let recorder = Recorder::start("api.served.test");
    let mut served = Served::started(2, &recorder.config()).await;
    served.install.write("tool.toml", &recorder.manifest("served"));
    let tool = served.install.data().join("tool.toml");
    served.install.json(&["tool", "add", tool.to_str().expect("a path")]);
    served.install.json_with(&["connect", "served", "--key", "--name", "one"], KEY, &[]);
    let granted = served.install.granted("worker", "served/one:read@acme/*").await;
    let gateway = served.gateways().remove(0);
    let call =
        async || granted.agent.at(&gateway).get("/served/repos/acme/site", &granted.reference).await.status;
    assert_eq!(call().await, StatusCode::OK);

    let listed = keepers(&served.install);
    let named = |name: &str| {
        let one = listed.iter().find(|one| one["name"].as_str() == Some(name));
        text(one.unwrap_or_else(|| panic!("{listed:?}")), "id")
    };
    let (stays, goes) = (named("keeper-1"), named("keeper-2"));
    let said = refused(&served.install, &["keeper", "adopt", "--forget", &goes, "--yes"]);
    assert!(said.contains("at work"), "{said}");

    // It dies, and the database is another one than its log was held against.
    served.kill("keeper-2");
    sql(&served.database, &format!("UPDATE keeper SET compared = 0 WHERE keeper_id = '{goes}'"));
    eventually("it is seen to be gone", Duration::from_secs(40), async || {
        let listed = keepers(&served.install);
        let one = listed.iter().find(|one| text(one, "id") == goes).expect("it is registered");
        let holds = (one["at_work"].as_bool(), text(one, "holds_up"));
        (holds == (Some(false), "all".to_owned())).then(|| {
            assert!(text(one, "advice").contains(&format!("adopt --forget {goes}")), "{one}");
        })
    })
    .await;
    let more = served.install.json(&["grant", "add", "served/one:read@more/*", "--task", &granted.task]);
    let fresh = async || {
        let agent = granted.agent.at(&gateway);
        agent.get("/served/repos/more/site", &text(&more, "reference")).await.status
    };
    assert!(!fresh().await.is_success(), "its log may know of a removal");

    // It is waited for as long as its card says that it lives.
    let forgotten = eventually("it is forgotten", Duration::from_secs(40), async || {
        let output = served.install.run(&["keeper", "adopt", "--forget", &goes, "--yes", "--json"]);
        output.status.success().then(|| serde_json::from_slice::<Value>(&output.stdout).expect("an answer"))
    })
    .await;
    assert_eq!(forgotten["behind"].as_bool(), Some(true));
    let listed = keepers(&served.install);
    assert_eq!(listed.iter().map(|one| text(one, "id")).collect::<Vec<_>>(), [stays]);
    assert_eq!(fresh().await, StatusCode::OK);
    assert!(!served.whose_ledger_says("keeper-forgotten").is_empty());
}
