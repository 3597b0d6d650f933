//! `companion` as its users meet it: a sidecar with a key in a file, curl through its proxy, a gateway that dies
//! and comes back, and everybody who is not meant to come.

use crate::world::{
    connect::text,
    eventually,
    household::{Household, Machine},
    install::Install,
    recorder::Recorder,
};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    process::{Child, Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

const KEY: &str = "canary-key-5d0e8b2f6a914c73";
const HOST: &str = "api.sidecar.test";
const PASSWORD: &str = "canaryPassword0123456789";
const NOBODY: u32 = 65_534;
const SOON: Duration = Duration::from_secs(20);

/// An installation with one tool, one task and one grant.
struct World {
    recorder: Recorder,
    install: Install,
    task: String,
    reference: String,
    /// What the agent's side keeps: outside of what the gateway's side must not know.
    folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let recorder = Recorder::start(HOST);
        let install = Install::started(&recorder.config()).await;
        install.write("tool.toml", &recorder.manifest("canary"));
        let file = install.data().join("tool.toml");
        install.json(&["tool", "add", file.to_str().expect("a path")]);
        install.json_with(&["connect", "canary", "--key", "--name", "dana"], KEY, &[]);
        let task = text(&install.json(&["task", "open", "--agent", "laptop"]), "id");
        let grant = install.json(&["grant", "add", "canary/dana:read", "--task", &task]);
        let folder = tempfile::tempdir().expect("a folder");
        // The trust is for other users' programs too.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        Self { recorder, reference: text(&grant, "reference"), install, task, folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("a path").to_owned()
    }

    /// A fresh code, and the gateway's key.
    fn code(&self) -> (String, String) {
        let issued = self.install.json(&["agent", "enrol", "laptop", "--task", &self.task]);
        (text(&issued, "code"), text(&issued, "gateway_pin"))
    }

    /// A one-time code in a file, as `agent enrol` printed it.
    fn code_file(&self, code: &str) -> String {
        fs::write(self.file("code"), format!("{code}\n")).expect("a file");
        self.file("code")
    }

    fn begin(&self, pin: &str, more: &[&str], environment: &[(&str, &str)]) -> Child {
        let (gateway, key, trust) = (self.install.gateway(), self.file("agent.key"), self.file("trust.pem"));
        let own = ["companion", "--gateway", &gateway, "--gateway-key", pin, "--key", &key];
        let own =
            [own.as_slice(), &["--listen", "127.0.0.1:0", "--trust-file", &trust, "--json"], more].concat();
        self.install.begin(&own, environment)
    }

    /// A companion that says that it is ready.
    fn sidecar(&self, pin: &str, more: &[&str]) -> Sidecar {
        let mut child = self.begin(pin, more, &[]);
        let mut printed = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        while !printed.ends_with("\n}\n") {
            let Some(line) = lines.next() else {
                let mut why = String::new();
                child.stderr.take().expect("piped").read_to_string(&mut why).expect("text");
                panic!("it ended: {printed}{why}");
            };
            printed += &(line.expect("text") + "\n");
        }
        self.install.note_printed(printed.as_bytes());
        let ready: Value = serde_json::from_str(&printed).expect("JSON");
        Sidecar { child, proxy: text(&ready, "proxy"), ready }
    }

    /// The same, enrolled just now by a code from its environment.
    fn enrolled(&self, more: &[&str]) -> Sidecar {
        let (code, pin) = self.code();
        self.sidecar(&pin, &[&["--code-file", &self.code_file(&code)], more].concat())
    }

    fn curl(&self, proxy: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        curl.args(["--silent", "--show-error", "--proxy", proxy, "--cacert", &self.file("trust.pem")]);
        curl.args(["--header", &format!("authorization: Bearer {}", self.reference)]);
        curl.args(["--write-out", "\n%{http_connect} %{http_code}"])
            .arg(format!("https://{HOST}/repos/acme/site"));
        curl
    }

    /// What curl was answered: the tunnel's status and the call's.
    fn called(&self, proxy: &str) -> String {
        self.ran(&mut self.curl(proxy))
    }

    fn ran(&self, curl: &mut Command) -> String {
        let output: Output = curl.output().expect("curl is installed: run `cargo xtask test`");
        self.install.oracle.note("what an agent saw", &[output.stdout.clone(), output.stderr].concat());
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        printed.rsplit('\n').next().expect("a status").to_owned()
    }

    /// What the companion's own door answers: its status and its body.
    fn own(
        &self,
        sidecar: &Sidecar,
        method: &str,
        path: &str,
        fields: &[&str],
        body: &str,
    ) -> (String, String) {
        let mut curl = Command::new("curl");
        curl.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        curl.args(["--silent", "--show-error", "--proxy", &sidecar.proxy, "--request", method]);
        for field in fields {
            curl.args(["--header", field]);
        }
        if !body.is_empty() {
            curl.args(["--data-raw", body]);
        }
        curl.args(["--write-out", "\n%{http_code}"]).arg(format!("http://nightlatch.invalid{path}"));
        let output: Output = curl.output().expect("curl is installed: run `cargo xtask test`");
        self.install.oracle.note("what an agent saw", &[output.stdout.clone(), output.stderr].concat());
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = printed.rsplit_once('\n').expect("a status");
        (status.to_owned(), body.to_owned())
    }

    fn task(&self) -> Value {
        self.install.json(&["task", "show", &self.task])
    }

    fn proofs(&self) -> Vec<String> {
        let task = self.task();
        let wakes = task["wakes"].as_array().expect("wakes").iter();
        wakes.map(|wake| text(wake, "assurance")).collect()
    }
}

/// A running companion; it ends with the value.
struct Sidecar {
    child: Child,
    proxy: String,
    ready: Value,
}

impl Sidecar {
    fn with_password(&self, password: &str) -> String {
        self.proxy.replace("http://", &format!("http://nightlatch:{password}@"))
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn curl_goes_through_a_sidecar_and_the_task_is_shown_as_signed() {
    let world = World::new().await;
    let sidecar = world.enrolled(&[]);
    assert_eq!(text(&sidecar.ready, "task"), world.task);
    assert_eq!(world.called(&sidecar.proxy), "200 200");
    let arrived = world.recorder.last();
    assert_eq!(arrived.values("authorization"), [format!("Bearer {KEY}")]);
    assert_eq!(world.proofs(), ["signed"]);
    let shown = world.install.run(&["task", "show", &world.task]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("signed") && !shown.contains("lower assurance"), "{shown}");
    let ledger = world.install.json(&["ledger", "tail", "--last", "50"]).to_string();
    assert!(ledger.contains(r#""assurance":"signed""#), "{ledger}");
}

#[tokio::test]
async fn the_key_lies_in_its_own_file_and_an_enrolled_one_needs_no_code() {
    let world = World::new().await;
    let (code, pin) = world.code();
    let file = world.code_file(&code);
    let with_code = ["--code-file", &file];
    let first = world.sidecar(&pin, &with_code);
    let key = fs::read_to_string(world.file("agent.key")).expect("the key");
    world.install.oracle.guard(key.lines().nth(1).expect("its first line"));
    let mode = fs::metadata(world.file("agent.key")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let hash = text(&first.ready, "key_sha256");
    drop(first);
    // The code that was used is let lie, as a compose file does.
    for more in [&[][..], &with_code] {
        let again = world.sidecar(&pin, more);
        assert_eq!((text(&again.ready, "key_sha256"), &again.ready["task"]), (hash.clone(), &Value::Null));
        assert_eq!(world.called(&again.proxy), "200 200");
    }
}

#[tokio::test]
async fn without_the_password_there_is_no_tunnel_and_the_ledger_says_so() {
    let world = World::new().await;
    fs::write(world.file("password"), PASSWORD).expect("a file");
    world.install.oracle.guard(PASSWORD);
    let sidecar = world.enrolled(&["--password-file", &world.file("password")]);
    assert_eq!(world.called(&sidecar.proxy), "407 000");
    assert_eq!(world.called(&sidecar.with_password("canaryPassword0123456780")), "407 000");
    assert_eq!(world.called(&sidecar.with_password(PASSWORD)), "200 200");
    eventually("both are in the ledger", SOON, async || {
        let ledger = world.install.json(&["ledger", "tail", "--last", "50"]);
        let told = ledger
            .as_array()
            .expect("records")
            .iter()
            .filter(|record| record.to_string().contains("proxy-password"));
        (told.map(|record| find(record, "count").unwrap_or(1)).sum::<u64>() == 2).then_some(())
    })
    .await;
}

/// A number by its name, wherever it stands.
fn find(value: &Value, name: &str) -> Option<u64> {
    match value {
        Value::Object(fields) => fields
            .get(name)
            .and_then(Value::as_u64)
            .or_else(|| fields.values().find_map(|inner| find(inner, name))),
        _ => None,
    }
}

#[tokio::test]
async fn a_process_of_another_user_gets_no_tunnel() {
    let world = World::new().await;
    let sidecar = world.enrolled(&[]);
    assert_eq!(world.called(&sidecar.proxy), "200 200");
    if geteuid().is_root() {
        assert_eq!(world.ran(world.curl(&sidecar.proxy).uid(NOBODY)), "403 000");
    }
    drop(sidecar);
    // The same the other way round, which needs no second user.
    let (_, pin) = world.code();
    let of_nobody = world.sidecar(&pin, &["--peer-uid", &NOBODY.to_string()]);
    assert_eq!(world.called(&of_nobody.proxy), "403 000");
    if geteuid().is_root() {
        assert_eq!(world.ran(world.curl(&of_nobody.proxy).uid(NOBODY)), "200 200");
    }
    eventually("it is in the ledger", SOON, async || {
        let ledger = world.install.json(&["ledger", "tail", "--last", "50"]).to_string();
        ledger.contains("peer-uid").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_was_killed_comes_back_and_the_companion_goes_on() {
    let mut world = World::new().await;
    let sidecar = world.enrolled(&[]);
    assert_eq!(world.called(&sidecar.proxy), "200 200");
    world.install.kill();
    assert_eq!(world.called(&sidecar.proxy), "503 000");
    world.install.up().await;
    eventually("curl comes through again", SOON, async || {
        (world.called(&sidecar.proxy) == "200 200").then_some(())
    })
    .await;
    assert_eq!(world.proofs().first().map(String::as_str), Some("signed"), "the newest wake");
}

#[tokio::test]
async fn a_large_answer_flows_through_and_is_held_nowhere() {
    let world = World::new().await;
    let sidecar = world.enrolled(&[]);
    assert_eq!(world.called(&sidecar.proxy), "200 200");
    let before = peak_kib(sidecar.child.id());
    let bytes = 256 << 20;
    let mut curl = world.curl(&sidecar.proxy);
    curl.args(["--output", "/dev/null", "--header", "expect:"]);
    curl.args(["--write-out", "\n%{size_download}"])
        .args(["--url", &format!("https://{HOST}/large/{bytes}")]);
    curl.args(["--output", "/dev/null"]);
    assert_eq!(world.ran(&mut curl), bytes.to_string());
    let grew = peak_kib(sidecar.child.id()) - before;
    assert!(grew < 32 * 1024, "{grew} KiB for {bytes} bytes");
}

/// Peak resident memory, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test]
async fn a_task_that_was_put_to_sleep_sleeps_until_its_next_call() {
    let world = World::new().await;
    let sidecar = world.enrolled(&[]);
    assert_eq!(world.called(&sidecar.proxy), "200 200");
    world.install.json(&["task", "sleep", &world.task]);
    for _ in 0..5 {
        assert_eq!(text(&world.task(), "state"), "dormant");
    }
    assert_eq!(world.called(&sidecar.proxy), "200 200");
    assert_eq!(text(&world.task(), "state"), "awake");
    assert_eq!(world.proofs(), ["signed", "signed"]);
}

#[tokio::test]
async fn a_gateway_with_another_key_is_refused_and_its_code_stays_good() {
    let world = World::new().await;
    let (code, pin) = world.code();
    let wrong = format!("sha256//{}=", "A".repeat(43));
    let file = world.code_file(&code);
    let with_code = ["--code-file", &file];
    let refused = world.begin(&wrong, &with_code, &[]).wait_with_output().expect("it ends");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("does not have the gateway's key") && !said.contains(&code), "{said}");
    let sidecar = world.sidecar(&pin, &with_code);
    assert_eq!(world.called(&sidecar.proxy), "200 200");
}

#[tokio::test]
async fn what_cannot_be_served_safely_is_not_started() {
    let world = World::new().await;
    let (code, pin) = world.code();
    let ended = |pin: &str, more: &[&str], environment: &[(&str, &str)]| {
        let output = world.begin(pin, more, environment).wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(1));
        world.install.note_printed(&output.stderr);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(ended(&pin, &[], &[]).contains("not enrolled"));
    assert!(ended("sha256//AAAA", &[], &[]).contains("no hash of a gateway's key"));
    let void = ended(&pin, &["--code-from-env", "ENROL_CODE"], &[("ENROL_CODE", "never-a-code-of-ours")]);
    assert!(void.contains("refused with 401"), "{void}");
    fs::write(world.file("password"), "short").expect("a file");
    assert!(ended(&pin, &["--password-file", &world.file("password")], &[]).contains("16 to 256"));
    fs::set_permissions(world.file("agent.key"), fs::Permissions::from_mode(0o644)).expect("its mode");
    assert!(ended(&pin, &["--code-file", &world.code_file(&code)], &[]).contains("chmod 600"));
}

/// What a companion is given that finds no gateway, and waits for it.
fn alone<'a>(key: &'a str, listen: &'a str) -> [&'a str; 9] {
    const PIN: &str = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    ["companion", "--gateway", "127.0.0.1:1", "--gateway-key", PIN, "--key", key, "--listen", listen]
}

#[tokio::test]
async fn a_listener_for_other_machines_needs_a_password() {
    let install = Install::prepared("");
    let key = install.root().join("never-made.key");
    let mut child = install.begin(&alone(key.to_str().expect("a path"), "0.0.0.0:0"), &[]);
    let ended = eventually("it ends", SOON, async || child.try_wait().expect("a child")).await;
    assert_eq!(ended.code(), Some(1));
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(said.contains("--password-file"), "{said}");
    assert!(!key.exists());
}

#[tokio::test]
async fn the_memory_that_holds_the_key_is_closed_to_its_own_user() {
    let recorder = Recorder::start("api.closed.test");
    let house = Household::with_tool(&recorder, KEY).await;
    let key = house.home().join("agent.key");
    let words = alone(key.to_str().expect("a path"), "127.0.0.1:0");
    let mut child = house.command(Machine::AsItIs, &words).stderr(Stdio::null()).spawn().expect("it starts");
    eventually("it has its key", SOON, async || key.exists().then_some(())).await;
    // proc(5): what belongs to a process that must not be dumped belongs to root.
    let owner = fs::metadata(format!("/proc/{}/mem", child.id())).expect("it runs").uid();
    let key_owner = fs::metadata(&key).expect("the key").uid();
    child.kill().and_then(|()| child.wait()).expect("it ends");
    assert_eq!(owner, 0);
    assert_ne!(key_owner, 0, "it ran as an ordinary user");
}

#[tokio::test]
async fn an_interrupt_ends_it_cleanly() {
    let world = World::new().await;
    for signal in [Signal::INT, Signal::TERM] {
        let (code, pin) = world.code();
        let _ = fs::remove_file(world.file("agent.key"));
        let mut sidecar = world.sidecar(&pin, &["--code-file", &world.code_file(&code)]);
        let pid = Pid::from_raw(i32::try_from(sidecar.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("it runs");
        let ended = eventually("it ends", SOON, async || sidecar.child.try_wait().expect("a child")).await;
        assert_eq!(ended.code(), Some(0), "{signal:?}");
        assert_eq!(world.called(&sidecar.proxy), "000 000");
    }
}

/// No key but the companion's is there, and no program but curl: the call is posted, mandated and carried out.
#[tokio::test]
async fn a_call_goes_on_by_its_companions_mandate_while_its_task_sleeps() {
    let mut world = World::new().await;
    let sidecar = world.enrolled(&[]);
    // Nothing listens at the place of the tool at first: the calls wait.
    let nowhere = world.recorder.config_at("127.0.0.1:1");
    world.install.kill();
    world.install.configure(&nowhere);
    world.install.up().await;
    let mut places = Vec::new();
    for number in [1, 2] {
        let reference = &world.reference;
        let body = format!(
            r#"{{"tool":"canary","method":"GET","path":"/slow/{number}","reference":"{reference}"}}"#
        );
        let key = format!("idempotency-key: \"{number}\"");
        let fields = [key.as_str(), "prefer: respond-async"];
        let (status, shown) = world.own(&sidecar, "POST", "/v1/calls", &fields, &body);
        assert_eq!(status, "202", "{shown}");
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        places.push((
            format!("/v1/calls/{}", text(&shown, "id")),
            shown["accepted_at"].as_i64().expect("a time"),
        ));
    }
    let until = |accepted: i64| format!(r#"{{"not_after":{}}}"#, accepted + 600_000);
    let (place, accepted) = &places[0];
    let foreign = "/v1/calls/call_01KBQ5W000000000000000000A/mandate";
    let (status, said) = world.own(&sidecar, "PUT", foreign, &[], &until(*accepted));
    assert_eq!(status, "404", "it came through no companion: {said}");
    let far = format!(r#"{{"not_after":{}}}"#, accepted + 2 * 24 * 3_600_000);
    let (status, said) = world.own(&sidecar, "PUT", &format!("{place}/mandate"), &[], &far);
    assert_eq!(status, "403", "longer than a day: {said}");
    let (status, said) = world.own(&sidecar, "PUT", &format!("{place}/mandate"), &[], &until(*accepted));
    assert_eq!(status, "204", "{said}");

    // The companion is gone, its task sleeps, the program dies; then the tool is there.
    drop(sidecar);
    world.install.json(&["task", "sleep", &world.task]);
    let wakes = world.proofs();
    world.install.kill();
    let config = world.recorder.config();
    world.install.configure(&config);
    world.install.up().await;
    eventually("the mandated call arrives", Duration::from_secs(90), async || {
        (world.recorder.count_of("/slow/1") > 0).then_some(())
    })
    .await;
    assert_eq!(world.recorder.last_of("/slow/1").values("authorization"), [format!("Bearer {KEY}")]);
    assert_eq!(world.recorder.count_of("/slow/2"), 0, "the other has no mandate");
    assert_eq!(world.proofs(), wakes, "nobody was woken");
    let ledger = world.install.json(&["ledger", "tail", "--last", "50"]).to_string();
    assert!(ledger.contains("mandate-used"), "{ledger}");
    // The same key, and so the same agent, finds it done.
    let (_, pin) = world.code();
    let again = world.sidecar(&pin, &[]);
    let shown = eventually("it is done", Duration::from_secs(60), async || {
        let (_, shown) = world.own(&again, "GET", place, &[], "");
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        (shown["state"] == "done").then_some(shown)
    })
    .await;
    assert_eq!(shown["result"]["status"], 200);
}
