//! What the operator writes into the data folder is taken whole or refused whole, by file and line, before
//! anything is made beside it.

use crate::world::install::Install;

/// What `up` says on standard error when it refuses to start.
fn refusal(install: &Install) -> String {
    let output = install.run(&["up"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn what_the_operator_wrote_is_refused_by_file_and_line_and_nothing_is_made() {
    let cases = [
        ("profiles/acme.toml", "name = \"acme\"\ntitel = \"Acme\"\n", "profiles/acme.toml:2"),
        ("policies/more.cedar", "\npermit (principal, action, resource);\n", "policies/more.cedar:2"),
        ("policies/broken.cedar", "forbid (principal, action", "policies/broken.cedar:1"),
    ];
    for (file, text, expected) in cases {
        let install = Install::prepared("");
        install.write(file, text);
        let said = refusal(&install);
        assert!(said.contains(expected), "{file}: {said}");
        assert!(
            !install.data().join("db.sqlite").exists() && !install.data().join("keys").exists(),
            "{file}"
        );
    }
}

#[test]
fn a_busy_port_makes_no_key_and_no_database() {
    let install = Install::prepared("");
    let held = std::net::TcpListener::bind(install.gateway()).expect("a free port");
    let said = refusal(&install);
    assert!(said.contains(&format!("pid {}", std::process::id())), "the holder is not named: {said}");
    assert!(!install.data().join("db.sqlite").exists() && !install.data().join("keys").exists());
    drop(held);
}

#[tokio::test]
async fn the_first_start_makes_tenant_human_and_agent_once() {
    let mut install = Install::started("").await;
    let first = install.json(&["agent", "list"]);
    assert_eq!(first[0]["name"], "laptop");
    assert!(first[0]["owner"].as_str().expect("an owner").starts_with("dana@"), "{first}");
    install.kill();
    install.up().await;
    assert_eq!(install.json(&["agent", "list"]), first);
}
