//! What runs and what was counted is shown, under names that do not change and without a word of an agent's.

use crate::world::{http, install::Install, ports::free_port, recorder::Recorder};
use serde_json::Value;
use std::{fs, path::Path};

const KEY: &str = "canary-watched-5b2d48607f3a9c1e";

/// An installation with a tool that was called, and refused a call.
async fn called(config: &str) -> (Recorder, Install) {
    let recorder = Recorder::start("watched.canary.test");
    let install = Install::started(&format!("{}\n{config}", recorder.config())).await;
    install.write("tool.toml", &recorder.manifest("watched"));
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "watched", "--key", "--name", "dana"], KEY, &[]);
    let granted = install.granted("worker", "watched/dana:read@acme/*").await;
    for (path, status) in
        [("/watched/repos/acme/site?q=canary-query-1234", 200), ("/watched/repos/evil/x", 403)]
    {
        assert_eq!(granted.agent.get(path, &granted.reference).await.status.as_u16(), status, "{path}");
    }
    (recorder, install)
}

/// The lines that say what a metric is.
fn names(metrics: &str) -> String {
    let lines = metrics.lines().filter(|line| line.starts_with("# "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the test reads the one variable that rewrites the golden file")]
async fn metrics_have_the_names_of_the_golden_file_and_count_what_happened() {
    let port = free_port();
    let (_recorder, install) = called(&format!("[metrics]\nlisten = \"127.0.0.1:{port}\"\n")).await;
    let printed = install.run(&["metrics"]);
    let metrics = String::from_utf8(printed.stdout).expect("text");
    for line in [
        "nightlatch_calls_total{tool=\"watched\",door=\"route\",effect=\"read\",outcome=\"2xx\"} 1",
        "nightlatch_calls_total{tool=\"watched\",door=\"route\",effect=\"read\",outcome=\"policy-denied\"} 1",
        "nightlatch_connections{state=\"healthy\"} 1",
        "nightlatch_calls_live 0",
        "nightlatch_wakes_live 1",
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{line} is missing in:\n{metrics}");
    }
    assert!(!metrics.contains("nightlatch_ledger_sync_duration_seconds_count 0\n"), "no sync is counted");
    for room in ["admit", "resolve", "decide", "brake", "hold", "record", "attach", "forward", "scrub"] {
        let counted = metrics.lines().find(|line| {
            line.starts_with(&format!("nightlatch_phase_duration_seconds_count{{phase=\"{room}\"}} "))
        });
        assert!(counted.is_some_and(|line| !line.ends_with(" 0")), "{room}: {counted:?}");
    }
    for word in ["acme", "canary-query", "nlr_", "worker"] {
        assert!(!metrics.contains(word), "{word} of an agent is a label:\n{metrics}");
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("metrics.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, names(&metrics)).expect("the golden file");
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(
        names(&metrics),
        expected,
        "metrics.txt is not what is shown; look at the difference after UPDATE_GOLDEN=1"
    );

    let collected = http::get(&format!("http://127.0.0.1:{port}/metrics")).await;
    assert_eq!(collected.status.as_u16(), 200);
    assert_eq!(names(&collected.text()), expected);
    install.oracle.note("what a collector read", collected.text().as_bytes());
}

#[tokio::test]
async fn top_shows_totals_by_name_and_nobody_else_answers_collectors() {
    let (_recorder, install) = called("").await;
    let report: Value = install.json(&["top"]);
    assert_eq!(report["calls"], Value::Array(Vec::new()), "{report}");
    assert_eq!(
        (&report["tools"][0]["calls"], &report["tools"][0]["refused"]),
        (&2.into(), &1.into()),
        "{report}"
    );
    assert_eq!(report["agents"][0]["agent"], "worker", "{report}");
    let shown = String::from_utf8(install.run(&["top", "--once"]).stdout).expect("text");
    assert!(shown.starts_with("no call is under way\n") && shown.contains("watched   –"), "{shown}");
    assert!(!shown.contains('\x1b'), "it draws where nobody looks");
    assert!(!shown.contains("nlr_") && !report.to_string().contains("nlr_"), "a reference is shown");
}
