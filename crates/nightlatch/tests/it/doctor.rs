//! `doctor`: a sound installation has nothing that is wrong, and says its limits; each thing that is wrong is found by its
//! own name, and the exit code says so.

use crate::world::{
    connect::text,
    install::Install,
    recorder::Recorder,
    served::{Served, sql},
};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

/// The findings and the exit code.
fn look(install: &Install) -> (Vec<Value>, Option<i32>) {
    let output = install.run(&["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no report: {error}: {}", String::from_utf8_lossy(&output.stderr)));
    (report["findings"].as_array().expect("findings").clone(), output.status.code())
}

fn wrong(findings: &[Value]) -> Vec<String> {
    let wrong = findings.iter().filter(|finding| text(finding, "state") == "wrong");
    wrong.map(|finding| text(finding, "name")).collect()
}

fn one<'a>(findings: &'a [Value], name: &str) -> &'a Value {
    let found = findings.iter().find(|finding| text(finding, "name") == name);
    found.unwrap_or_else(|| panic!("no `{name}`: {findings:?}"))
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_found_by_its_name_and_the_exit_code_says_so() {
    let mut install = Install::started("").await;
    let (findings, code) = look(&install);
    assert_eq!((wrong(&findings), code), (Vec::new(), Some(0)), "{findings:?}");
    assert!(text(one(&findings, "staleness-bound"), "detail").contains("30 s"));
    assert!(text(one(&findings, "rollback-detection"), "detail").contains("witness"));
    for name in ["database-durable", "key-files", "log-folder", "keepers", "data-folder"] {
        assert_eq!(text(one(&findings, name), "state"), "good");
    }

    let key = install.data().join("keys/keeper.key");
    chmod(&key, 0o640);
    let (findings, code) = look(&install);
    assert_eq!((wrong(&findings), code), (vec!["key-files".to_owned()], Some(1)));
    let found = one(&findings, "key-files");
    assert!(
        text(found, "detail").contains("keeper.key") && text(found, "advice").contains("chmod"),
        "{found}"
    );
    chmod(&key, 0o600);

    // Whoever is not let ask, for the key of the API lies open, is told of that and of all the rest.
    let token = install.data().join("api.token");
    chmod(&token, 0o644);
    let (findings, code) = look(&install);
    assert_eq!((wrong(&findings), code), (vec!["key-files".to_owned(), "not-asked".to_owned()], Some(1)));
    assert!(text(one(&findings, "not-asked"), "detail").contains("api.token"), "{findings:?}");
    chmod(&token, 0o600);

    // So is whoever cannot look at the keys.
    let (keys, away) = (install.data().join("keys"), install.data().join("keys-away"));
    fs::rename(&keys, &away).expect("out of sight");
    fs::write(&keys, "no folder").expect("a file");
    let (findings, code) = look(&install);
    assert_eq!((wrong(&findings), code), (vec!["key-files-unseen".to_owned()], Some(1)));
    assert_eq!(text(one(&findings, "keepers"), "state"), "good");
    fs::remove_file(&keys).expect("away");
    fs::rename(&away, &keys).expect("back");

    // What is not running cannot be asked, and that is said.
    install.run(&["stop"]);
    assert!(install.ends_within(Duration::from_secs(20)).await);
    let (findings, code) = look(&install);
    assert_eq!((wrong(&findings), code), (vec!["not-running".to_owned()], Some(1)));

    // A log in the data folder is in every copy of it.
    let inside = install.data().join("state");
    install.spawn(install.up_command().env("XDG_STATE_HOME", &inside));
    install.wait_until_up().await;
    let (findings, code) = look(&install);
    let names = wrong(&findings);
    assert!(names.contains(&"log-folder".to_owned()) && code == Some(1), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_postgresql_a_keeper_that_is_behind_is_wrong() {
    let recorder = Recorder::start("api.served.test");
    let mut served = Served::started(1, &recorder.config()).await;
    let (findings, code) = look(&served.install);
    assert_eq!((wrong(&findings), code), (Vec::new(), Some(0)), "{findings:?}");
    assert_eq!(text(one(&findings, "database-durable"), "state"), "good");
    sql(&served.database, "INSERT INTO keeper VALUES ('kpr_01ARZ3NDEKTSV4RRFFQ69G5FAV', 0, 1)");
    let (findings, code) = look(&served.install);
    assert_eq!((wrong(&findings), code), (vec!["keeper-behind".to_owned()], Some(1)));
    assert!(text(one(&findings, "keeper-behind"), "advice").contains("nightlatch keeper adopt --forget"));
    assert!(served.end().await.iter().all(|(_, ended_well)| *ended_well));
}
