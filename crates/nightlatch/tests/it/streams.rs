//! Bodies stream both ways with flat memory.

use crate::world::{connect::text, install::Install, recorder::Recorder};
use std::{fs::File, process::Command};

const MIB: u64 = 1024 * 1024;

/// Peak memory of `up`, in KiB, after a body of `bytes` each way.
async fn peak_after(bytes: u64) -> u64 {
    let recorder = Recorder::start("stream.canary.test");
    let mut install = Install::prepared(&recorder.config());
    install.log_level = "info";
    install.up().await;
    install.write("tool.toml", &recorder.manifest("streams"));
    install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
    install.json_with(&["connect", "streams", "--key"], "canary-stream-0123456789abcdef", &[]);
    let granted = install.granted("streamer", "streams:write").await;
    let file = |name: &str| install.root().join(name);
    std::fs::write(file("agent.pem"), &granted.agent.certificate_pem).expect("a file");
    std::fs::write(file("agent.key"), &granted.agent.key_pem).expect("a file");
    File::create(file("body")).and_then(|body| body.set_len(bytes)).expect("a sparse file");

    let bearer = format!("authorization: Bearer {}", granted.reference);
    let curl = |more: &[&str]| {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--insecure", "--http1.1", "-H", &bearer])
            .arg("--cert")
            .arg(file("agent.pem"))
            .arg("--key")
            .arg(file("agent.key"))
            .args(more)
            .output()
            .expect("curl is installed: run `cargo xtask test`");
        assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
        granted.agent.note(&output.stdout);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let base = format!("https://{}/streams", install.gateway());
    let sent = curl(&["-T", file("body").to_str().expect("a path"), &format!("{base}/large")]);
    assert_eq!(sent, format!("received {bytes} bytes"));
    let count = ["-o", "/dev/null", "--write-out", "%{size_download}"];
    let received = curl(&[&count[..], &[&format!("{base}/large/{bytes}")]].concat());
    assert_eq!(received, bytes.to_string());
    assert_eq!(text(&install.only_connection(), "state"), "healthy");
    // The oracle reads every file, and this one holds nothing.
    std::fs::remove_file(file("body")).expect("it is there");
    install.peak_kib()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_a_gigabyte_takes_no_more_memory_than_a_small_one() {
    let small = peak_after(16 * MIB).await;
    let large = peak_after(1024 * MIB).await;
    assert!(large <= small + 16 * 1024, "peak {large} KiB after 1 GiB each way, {small} KiB after 16 MiB");
}
