//! `store check|backup|restore`: a copy is made while calls pass and holds no key; what is put back presents nothing that was
//! consumed since, lets every task sleep, and goes on by the kept answer or asks its human once; and what is no copy of this installation changes nothing.

use crate::world::{connect::text, eventually, install::Install, provider::Kind, tools::profile};
use http::StatusCode;
use nightlatch_store::SqliteFile;
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

fn path(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// A command that must be refused, with what it says.
fn refused(install: &Install, arguments: &[&str]) -> String {
    let output = install.run(arguments);
    assert!(!output.status.success(), "`{}` was done", arguments.join(" "));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Everything in the data folder that is a database, or was made to become one.
fn databases(install: &Install) -> Vec<String> {
    let files =
        fs::read_dir(install.data()).expect("a folder").map(|file| file.expect("an entry").file_name());
    let mut names: Vec<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with("db.") && !name.ends_with("-wal") && !name.ends_with("-shm"));
    names.sort();
    names
}

async fn stopped(install: &mut Install) {
    install.run(&["stop"]);
    assert!(install.ends_within(Duration::from_secs(20)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_back_presents_nothing_that_was_consumed_and_all_tasks_sleep() {
    let kind = Kind::Dot0;
    let mut install = Install::with_provider(kind, "refresh_timer = \"off\"").await;
    let registration = install.register(kind, "restored-dot0", 20).await;
    let mut browser = registration.browser();
    install.connect(&registration, &mut browser, &[]).await.json();
    let granted = install.granted("worker", &format!("{}:read", kind.tool())).await;
    let me = format!("/{}{}", kind.tool(), kind.me());
    let call = async || granted.agent.get(&me, &granted.reference).await;
    assert_eq!(call().await.status, StatusCode::OK);

    // A copy while it runs: for us alone, whole, without a key.
    let copy = install.root().join("copy.sqlite");
    let made = install.json(&["store", "backup", path(&copy)]);
    assert_eq!(made["bytes"].as_u64(), Some(fs::metadata(&copy).expect("a file").len()));
    assert_eq!(fs::metadata(&copy).expect("a file").permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&copy).expect("bytes");
    let key = fs::read(install.data().join("keys/keeper.key")).expect("a key");
    assert!(!bytes.windows(key.len()).any(|part| part == key.as_slice()));
    let said = refused(&install, &["store", "backup", path(&copy)]);
    assert!(said.contains("is there already"), "{said}");
    assert_eq!(install.json(&["store", "check"])["faults"], Value::Array(Vec::new()));
    let said = refused(&install, &["store", "restore", path(&copy), "--yes"]);
    assert!(said.contains("in use") && said.contains("nightlatch stop"), "{said}");

    // The provider takes the token that lies in the copy, and gives another.
    let before = registration.counters().await;
    eventually("it was refreshed", Duration::from_secs(60), async || {
        assert_eq!(call().await.status, StatusCode::OK);
        (registration.counters().await.refreshes_ok > before.refreshes_ok).then_some(())
    })
    .await;
    stopped(&mut install).await;
    let said = refused(&install, &["store", "restore", path(&copy)]);
    assert!(said.contains("nothing was changed") && said.contains("--yes"), "{said}");
    assert_eq!(databases(&install), ["db.sqlite"], "nothing was changed");
    let restored = install.json(&["store", "restore", path(&copy), "--yes"]);
    assert_eq!(restored["era"].as_u64(), Some(2));
    let kept = text(&restored, "kept");
    assert_eq!(databases(&install).len(), 2);
    assert!(Path::new(&kept).exists());

    // Nor does the answer lie here any more that brought the newest token.
    fs::remove_dir_all(install.data().join("spool")).expect("a spool");

    let calls = registration.counters().await.token_requests;
    install.up().await;
    let tasks = install.json(&["task", "list"]);
    let task = tasks.as_array().expect("tasks").iter().find(|task| text(task, "id") == granted.task);
    assert_ne!(text(task.expect("the task"), "state"), "awake", "{tasks}");
    let answer = call().await;
    assert!(!answer.status.is_success(), "{}", answer.text());
    let health = install.json(&["health"]);
    let tickets = health["tickets"].as_array().expect("tickets");
    assert_eq!(tickets.len(), 1, "{health}");
    let after = registration.counters().await;
    assert_eq!((after.reuse_detected, after.presented_twice, after.families_revoked), (0, 0, 0), "{after:?}");
    assert_eq!(after.token_requests, calls, "nothing was presented");
    // And a login mends it.
    let id = text(&install.only_connection(), "id");
    install.connect(&registration, &mut browser, &["--reconnect", &id]).await.json();
    let answer = call().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_back_goes_on_by_the_answer_that_its_keeper_kept() {
    let kind = Kind::Dot0;
    let mut install = Install::with_provider(kind, "refresh_timer = \"off\"").await;
    let registration = install.register(kind, "healed-dot0", 20).await;
    let mut browser = registration.browser();
    install.connect(&registration, &mut browser, &[]).await.json();
    let granted = install.granted("worker", &format!("{}:read", kind.tool())).await;
    let me = format!("/{}{}", kind.tool(), kind.me());
    let call = async || granted.agent.get(&me, &granted.reference).await.status == StatusCode::OK;
    assert!(call().await);
    let copy = install.root().join("copy.sqlite");
    install.json(&["store", "backup", path(&copy)]);
    let rotated = async |before: u64| {
        eventually("it was refreshed", Duration::from_secs(60), async || {
            (call().await && registration.counters().await.refreshes_ok > before).then_some(())
        })
        .await;
    };
    let before = registration.counters().await.refreshes_ok;
    rotated(before).await;
    stopped(&mut install).await;
    install.json(&["store", "restore", path(&copy), "--yes"]);
    install.up().await;
    rotated(before + 1).await;
    let health = install.json(&["health"]);
    assert!(health["tickets"].as_array().expect("tickets").is_empty(), "{health}");
    let after = registration.counters().await;
    assert_eq!((after.reuse_detected, after.presented_twice, after.families_revoked), (0, 0, 0), "{after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_or_anothers_is_not_put_back_and_nothing_is_changed() {
    let mut install = Install::started("").await;
    let mut other = Install::started("").await;
    let (copy, foreign) = (install.root().join("copy.sqlite"), other.root().join("copy.sqlite"));
    install.json(&["store", "backup", path(&copy)]);
    other.json(&["store", "backup", path(&foreign)]);
    stopped(&mut install).await;
    stopped(&mut other).await;
    let database = install.data().join("db.sqlite");
    let before = fs::read(&database).expect("a database");

    let said = refused(&install, &["store", "restore", path(&foreign), "--yes"]);
    assert!(said.contains("another installation"), "{said}");
    let mut bytes = fs::read(&copy).expect("bytes");
    // Past the first pages, in which the schema lies, every page is turned over.
    let from = bytes.len() / 2;
    bytes[from..].iter_mut().for_each(|byte| *byte = !*byte);
    let damaged = install.root().join("damaged.sqlite");
    fs::write(&damaged, &bytes).expect("a file");
    let said = refused(&install, &["store", "restore", path(&damaged), "--yes"]);
    assert!(said.contains("damaged"), "{said}");
    let text_file = install.root().join("text.sqlite");
    fs::write(
        &text_file,
        "this is no database, whatever it is called, and was never one; it is only long enough",
    )
    .expect("a file");
    let said = refused(&install, &["store", "restore", path(&text_file), "--yes"]);
    assert!(said.contains("not a database"), "{said}");
    assert_eq!(databases(&install), ["db.sqlite"]);
    assert_eq!(fs::read(&database).expect("a database"), before);

    // The same damage in the database itself is found, and no copy is made of it.
    fs::write(&database, &bytes).expect("a file");
    let output = install.run(&["store", "check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    refused(&install, &["store", "backup", path(&install.root().join("another.sqlite"))]);
    let left =
        fs::read_dir(install.root()).expect("a folder").map(|file| file.expect("an entry").file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("another")).collect();
    assert!(left.is_empty(), "{left:?}");
    // The copy mends it.
    install.json(&["store", "restore", path(&copy), "--yes"]);
    install.up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_is_kept_whole_in_one_file_also_after_a_crash() {
    let mut install = Install::started("").await;
    let copy = install.root().join("copy.sqlite");
    install.json(&["store", "backup", path(&copy)]);
    let agent = text(&install.json(&["agent", "add", "latest"]), "name");
    install.kill();
    let side = |path: &Path, side: &str| Path::new(&format!("{}{side}", path.display())).to_owned();
    let database = install.data().join("db.sqlite");
    let last = fs::metadata(side(&database, "-wal")).expect("a write-ahead file").len();
    assert_ne!(last, 0, "what was written last is in no other file");
    let restored = install.json(&["store", "restore", path(&copy), "--yes"]);
    let kept = Path::new(&text(&restored, "kept")).to_owned();
    for path in [&kept, &database] {
        for ending in ["-wal", "-shm"] {
            assert!(!side(path, ending).exists(), "{}{ending}", path.display());
        }
        assert_eq!(SqliteFile::open(path).expect("a database").check().expect("a look"), Vec::new());
    }
    let agents = |path: &Path| -> Vec<String> {
        let database = rusqlite::Connection::open(path).expect("a database");
        let mut asked = database.prepare("SELECT name FROM agent").expect("a question");
        let names = asked.query_map([], |row| row.get(0)).expect("an answer");
        names.collect::<Result<_, _>>().expect("names")
    };
    assert!(agents(&kept).contains(&agent) && !agents(&database).contains(&agent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_put_back_on_a_new_machine_where_the_keys_are_and_nowhere_else() {
    let kind = Kind::Dot0;
    let mut install = Install::with_provider(kind, "refresh_timer = \"off\"").await;
    let registration = install.register(kind, "moved-dot0", 20).await;
    let mut browser = registration.browser();
    install.connect(&registration, &mut browser, &[]).await.json();
    let id = text(&install.only_connection(), "id");
    let copy = install.root().join("copy.sqlite");
    install.json(&["store", "backup", path(&copy)]);
    stopped(&mut install).await;

    // Of the old machine, the copy, the keys and the ledger were saved.
    let config =
        "[[allow]]\nhost = \"127.0.0.1\"\naddress = \"127.0.0.1\"\n[keeper]\nrefresh_timer = \"off\"\n";
    let mut new = Install::prepared(config);
    let said = refused(&new, &["store", "restore", path(&copy), "--yes"]);
    assert!(said.contains("keys/keeper.key") && said.contains("nothing was changed"), "{said}");
    assert_eq!(databases(&new), Vec::<String>::new());
    let put_back = |folder: &str| {
        let _ = fs::remove_dir(new.data().join(folder));
        let saved = std::process::Command::new("cp")
            .args(["-a", path(&install.data().join(folder)), path(&new.data())])
            .status();
        assert!(saved.expect("cp runs").success());
    };
    put_back("keys");
    let output = new.run(&["store", "restore", path(&copy), "--yes", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("`ledger/` is empty"), "{said}");
    let restored: Value = serde_json::from_slice(&output.stdout).expect("a result");
    assert_eq!((restored["kept"].clone(), restored["era"].as_u64()), (Value::Null, Some(2)));
    put_back("ledger");
    new.write("profiles/test.toml", &profile(kind));
    new.up().await;
    // No log vouches for what was presented meanwhile; it is there, and asks.
    let connection = new.only_connection();
    assert_eq!((text(&connection, "id"), text(&connection, "state")), (id, "needs-you".to_owned()));
}
