//! Connecting an account, as a human does it: the command line on one side, a browser on the other, and
//! nothing between them but the address that the command printed.

use super::{
    agent::Agent,
    canary::Oracle,
    eventually,
    human::{Browser, Landed},
    install::Install,
    provider::{Kind, Registration},
};
use ::http::StatusCode;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ExitStatus},
    sync::Arc,
    time::Duration,
};

/// An agent with a key of its own, a task and one grant.
pub(crate) struct Granted {
    pub(crate) agent: Agent,
    pub(crate) task: String,
    pub(crate) grant: String,
    pub(crate) reference: String,
}

/// How a `connect` ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What the browser was shown in the end, where there was one.
    pub(crate) page: Option<StatusCode>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        assert!(self.status.success(), "`connect`: {}\n{}", self.status, self.stderr);
        serde_json::from_str(&self.stdout).expect("JSON on standard output")
    }
}

impl Install {
    /// The exact redirect URI, as `connect` prints it to be registered at the provider.
    pub(crate) fn redirect_uri(&self, kind: Kind) -> String {
        let output = self.run(&["connect", kind.tool(), "--oauth"]);
        let printed =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        address_in(&printed, "/oauth/callback/")
            .unwrap_or_else(|| panic!("no redirect URI was printed:\n{printed}"))
    }

    /// A registration of its own at the provider, for the redirect URI of this installation.
    pub(crate) async fn register(&self, kind: Kind, username: &str, access_secs: u32) -> Registration {
        let registration = Registration::new(kind, &self.redirect_uri(kind), username, access_secs).await;
        self.oracle.guard(&registration.client_secret);
        self.oracle.guard_listed(registration.issued_url());
        registration
    }

    /// An account of Synapse with a login of its own, whose refresh token is brought in.
    pub(crate) async fn bring_in(&self, username: &str) -> Registration {
        let registration = Registration::new(Kind::Synapse, "", username, 0).await;
        self.oracle.guard(&registration.password);
        self.oracle.guard_listed(registration.issued_url());
        let login = registration.matrix_login().await;
        let line = serde_json::json!({ "refresh_token": login["refresh_token"], "name": "main" });
        let client = ["--client-id", &registration.client_id, "--public-client"];
        let fixed = ["connection", "import", "--old-system-stopped", "--tool", Kind::Synapse.tool()];
        let summary = self.json_with(&[&fixed[..], &client].concat(), &format!("{line}\n"), &[]);
        assert_eq!(summary["connected"], 1, "{summary}");
        registration
    }

    /// Connects an account by OAuth; the browser follows the page that `connect` prints.
    pub(crate) async fn connect(
        &self,
        registration: &Registration,
        browser: &mut Browser,
        more: &[&str],
    ) -> Ended {
        let (child, address) = self.begin_connect(registration, more, "/oauth/start/");
        let Landed::Page(page) = browser.open(&address).await else {
            panic!("the browser stopped on its way")
        };
        self.oracle.note("a page of ours", &browser.shown_by(&self.redirect_base()));
        Ended { page: Some(page.status), ..finished(child).await }
    }

    /// Begins `connect`, and waits for the address with `marker` in it.
    pub(crate) fn begin_connect(
        &self,
        registration: &Registration,
        more: &[&str],
        marker: &str,
    ) -> (Running, String) {
        let Registration { kind, client_id, client_secret, .. } = registration;
        self.begin_oauth(kind.tool(), (client_id, client_secret), more, marker)
    }

    /// The same at any tool, with a client's id and secret.
    pub(crate) fn begin_oauth(
        &self,
        tool: &str,
        client: (&str, &str),
        more: &[&str],
        marker: &str,
    ) -> (Running, String) {
        let fixed = ["connect", tool, "--oauth", "--client-id", client.0];
        let secret = ["--client-secret-from-env", "TEST_CLIENT_SECRET", "--json"];
        let arguments = [&fixed[..], &secret[..], more].concat();
        #[expect(clippy::zombie_processes, reason = "a test that fails here ends the process with it")]
        let mut child = self.begin(&arguments, &[("TEST_CLIENT_SECRET", client.1)]);
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let mut printed = String::new();
        loop {
            let mut line = String::new();
            let read = lines.read_line(&mut line).expect("readable output");
            assert!(read > 0, "`connect` ended before it printed an address:\n{printed}");
            printed.push_str(&line);
            if let Some(address) = address_in(&line, marker) {
                let oracle = Arc::clone(&self.oracle);
                return (Running { child, stderr: lines, printed, oracle }, address);
            }
        }
    }

    /// Opens a task for a new agent, enrols a key for it, and gives it one grant.
    pub(crate) async fn granted(&self, agent: &str, grant: &str) -> Granted {
        self.json(&["agent", "add", agent]);
        let task = self.json(&["task", "open", "--agent", agent]);
        let task = text(&task, "id");
        let code = self.json(&["agent", "enrol", agent, "--task", &task]);
        let enrolled = Agent::enrolled(self, &text(&code, "code")).await;
        let given = self.json(&["grant", "add", grant, "--task", &task]);
        Granted { agent: enrolled, task, grant: text(&given, "id"), reference: text(&given, "reference") }
    }

    /// The first connection, as `health` shows it.
    pub(crate) fn only_connection(&self) -> Value {
        self.json(&["health"])["connections"][0].clone()
    }
}

impl Running {
    /// Types a line into the command.
    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("the command reads");
    }
}

/// A `connect` under way.
pub(crate) struct Running {
    pub(crate) child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    printed: String,
    oracle: Arc<Oracle>,
}

/// Waits for a `connect` to end.
pub(crate) async fn finished(running: Running) -> Ended {
    let Running { mut child, mut stderr, mut printed, oracle } = running;
    let status =
        eventually("`connect` ends", Duration::from_secs(30), async || child.try_wait().ok().flatten()).await;
    stderr.read_to_string(&mut printed).expect("readable output");
    let mut stdout = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut stdout).expect("readable output");
    for text in [&printed, &stdout] {
        oracle.note("what a command printed", text.as_bytes());
    }
    Ended { status, page: None, stdout, stderr: printed }
}

/// A string member of a JSON object.
pub(crate) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no `{key}` in {value}")).to_owned()
}

fn address_in(printed: &str, marker: &str) -> Option<String> {
    let words = printed.split([' ', '\n', '\'', '"', '`', '<', '>']);
    words.filter(|word| word.starts_with("http")).find(|word| word.contains(marker)).map(str::to_owned)
}
