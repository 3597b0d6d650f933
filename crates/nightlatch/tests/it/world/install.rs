//! One installation, as a user has it: a data folder, `up` in the foreground with its log at TRACE, and
//! the command line.

use super::{
    canary::Oracle,
    eventually,
    ports::free_port,
    provider::Kind,
    tools::{manifest, profile},
};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_nightlatch");

/// An installation; its processes end with it, and then the oracle is asked.
pub(crate) struct Install {
    folder: TempDir,
    gateway_port: u16,
    redirect_port: u16,
    config: String,
    /// Further keys of `[gateway]`.
    gateway_keys: String,
    /// The log's level; TRACE but where a body of a gigabyte would be traced.
    pub(crate) log_level: &'static str,
    /// What must not be seen here, and what was shown.
    pub(crate) oracle: Arc<Oracle>,
    up: Option<Child>,
}

impl Install {
    /// A data folder with this configuration (beside the listeners) and nothing running.
    pub(crate) fn prepared(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let install = Self {
            folder,
            gateway_port: free_port(),
            redirect_port: free_port(),
            config: config.to_owned(),
            gateway_keys: String::new(),
            log_level: "trace",
            oracle: Arc::default(),
            up: None,
        };
        fs::create_dir(install.data()).expect("a data folder");
        fs::set_permissions(install.data(), fs::Permissions::from_mode(0o700)).expect("its mode");
        install.write_config();
        install
    }

    /// An installation whose `up` answers.
    pub(crate) async fn started(config: &str) -> Self {
        let mut install = Self::prepared(config);
        install.up().await;
        install
    }

    /// The same that listens on a Unix socket too, with further keys of `[gateway]`.
    pub(crate) async fn with_socket(config: &str, keys: &str) -> Self {
        let mut install = Self::prepared(config);
        install.gateway_keys = format!("socket = \"{}\"\n{keys}", install.gateway_socket().display());
        // Another user must get there.
        fs::set_permissions(install.root(), fs::Permissions::from_mode(0o711)).expect("its mode");
        install.write_config();
        install.up().await;
        install
    }

    /// The configuration that reaches the real providers on this machine, and their tools and profiles.
    pub(crate) async fn with_provider(kind: Kind, keeper: &str) -> Self {
        let mut install = Self::prepared(&format!(
            "[[allow]]\nhost = \"127.0.0.1\"\naddress = \"127.0.0.1\"\n\n[keeper]\n{keeper}\n"
        ));
        install.write("profiles/test.toml", &profile(kind));
        install.write("tool.toml", &manifest(kind));
        install.up().await;
        let file = install.data().join("tool.toml");
        install.json(&["tool", "add", file.to_str().expect("a path")]);
        install
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn gateway_socket(&self) -> PathBuf {
        self.root().join("gateway.sock")
    }

    pub(crate) fn gateway(&self) -> String {
        format!("127.0.0.1:{}", self.gateway_port)
    }

    pub(crate) fn redirect_base(&self) -> String {
        format!("http://127.0.0.1:{}", self.redirect_port)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("up.log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.up.as_ref().expect("`up` runs").id()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        let folder = path.parent().expect("a parent");
        fs::create_dir_all(folder).expect("a folder");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("its mode");
        fs::write(path, text).expect("a file");
    }

    fn write_config(&self) {
        let text = format!(
            "{}\n[gateway]\nlisten = \"127.0.0.1:{}\"\n{}\n[redirect]\nlisten = \"127.0.0.1:{}\"\n",
            self.config, self.gateway_port, self.gateway_keys, self.redirect_port
        );
        self.write("nightlatch.toml", &text);
    }

    /// Another configuration, for the next `up`.
    pub(crate) fn configure(&mut self, config: &str) {
        config.clone_into(&mut self.config);
        self.write_config();
    }

    /// Starts `up` and waits until it answers.
    pub(crate) async fn up(&mut self) {
        self.spawn(&mut self.up_command());
        self.wait_until_up().await;
    }

    /// `up` as a command, not started: for a test that wraps it.
    pub(crate) fn up_command(&self) -> Command {
        let mut command = self.command();
        command.arg("up");
        command
    }

    /// Starts a command as this installation's `up`, its output to the log.
    pub(crate) fn spawn(&mut self, command: &mut Command) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("up.log"));
        let log = log.expect("a log file");
        let errors = log.try_clone().expect("a second handle");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        self.up = Some(child.expect("`up` starts"));
    }

    pub(crate) async fn wait_until_up(&mut self) {
        eventually("`up` answers", Duration::from_secs(30), async || {
            let ended = self.up.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "`up` ended: {ended:?}\n{}", self.log());
            self.run(&["health", "--json"]).status.success().then_some(())
        })
        .await;
    }

    /// Peak resident memory of `up`, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("`up` runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// Ends `up` by SIGKILL, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.up.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether `up` ends by itself within a time.
    pub(crate) async fn ends_within(&mut self, deadline: Duration) -> bool {
        let mut child = self.up.take().expect("`up` runs");
        let until = std::time::Instant::now() + deadline;
        let ended = eventually("`up` ends or is left running", deadline * 2, async || {
            let ended = child.try_wait().ok().flatten().is_some();
            (ended || std::time::Instant::now() > until).then_some(ended)
        })
        .await;
        if !ended {
            self.up = Some(child);
        }
        ended
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("USER", "dana")
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .env("NIGHTLATCH_DATA", self.data())
            .env("NIGHTLATCH_LOG", self.log_level);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, "", &[])
    }

    /// The same with standard input and environment.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Output {
        let mut child = self.begin(arguments, environment);
        if arguments.first() == Some(&"connect") {
            self.oracle.guard(input);
        }
        let mut stdin = child.stdin.take().expect("piped");
        // A command that reads nothing may have closed its end.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("the program ends");
        self.note_printed(&output.stdout);
        self.note_printed(&output.stderr);
        output
    }

    /// Runs a command that must succeed, with `--json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.json_with(arguments, "", &[])
    }

    pub(crate) fn json_with(&self, arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Value {
        let output = self.run_with(&[arguments, &["--json"]].concat(), input, environment);
        assert!(
            output.status.success(),
            "`{}`: {}\n{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "`{}` printed no JSON: {error}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stdout)
            )
        })
    }

    /// A command that is left running, with its output piped. What its environment holds is a secret.
    pub(crate) fn begin(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
        for (_, value) in environment {
            self.oracle.guard(value);
        }
        let mut command = self.command();
        command.args(arguments).envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// Notes what the command line printed.
    pub(crate) fn note_printed(&self, bytes: &[u8]) {
        self.oracle.note("what a command printed", bytes);
    }

    /// Asks the oracle from where nothing can be awaited.
    fn findings(&self) -> Vec<String> {
        let ask = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(self.oracle.findings(self.root()))
        };
        std::thread::scope(|scope| scope.spawn(ask).join()).expect("the oracle answers")
    }
}

impl Drop for Install {
    fn drop(&mut self) {
        if self.up.is_some() && !std::thread::panicking() {
            // What they print is noted, so every test's secrets are looked for in it.
            for watching in [&["metrics"][..], &["top", "--once"], &["top", "--json"]] {
                self.run(watching);
            }
        }
        self.kill();
        if !std::thread::panicking() {
            let found = self.findings();
            assert!(found.is_empty(), "a secret shows in: {}", found.join(", "));
        }
    }
}

/// A command in a mount namespace where a folder is a small filesystem of its own.
pub(crate) fn on_a_small_disk(command: &Command, folder: &Path, size: &str) -> Command {
    let script = format!("mount -t tmpfs -o size={size},mode=700 none \"$1\" && shift && exec \"$@\"");
    let mut small = Command::new("unshare");
    small.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // A namespace of users as well, where we are not root.
    if !rustix::process::geteuid().is_root() {
        small.arg("--map-root-user");
    }
    small.args(["--mount", "--", "sh", "-c", &script, "sh"]).arg(folder);
    small.arg(command.get_program()).args(command.get_args());
    small
}

/// Fills a disk to its last byte.
pub(crate) fn fill(path: &Path) {
    let mut filler = fs::File::create(path).expect("a filler");
    for size in [4096, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
}
