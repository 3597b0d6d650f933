//! An installation as an ordinary user has it, for `run`: where the tests run as root, everything here runs as nobody,
//! and the machine may be one that gives no namespaces.

use super::{canary::Oracle, eventually, ports::free_port, recorder::Recorder};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_nightlatch");

/// Nobody, on Debian and everywhere else.
const NOBODY: u32 = 65534;

/// What the machine under `run` gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// All that this one gives.
    AsItIs,
    /// No namespace of any kind: the administrator allows none.
    WithoutNamespaces,
    /// There are namespaces, and somebody has used them up.
    UsedUp,
    /// The home folder is mounted a second time, at `/mnt`.
    MountedTwice,
}

/// A user with a home folder, a project in it, and an `up` that answers.
pub(crate) struct Household {
    folder: TempDir,
    up: Option<Child>,
    /// Knows the key.
    pub(crate) oracle: Oracle,
}

/// The tool `canary`, its key, and where it arrives.
pub(crate) const TOOL: &str = "canary";

impl Household {
    /// A household whose tool is the recorder, connected with `key`.
    pub(crate) async fn with_tool(recorder: &Recorder, key: &str) -> Self {
        let mut house = Self::empty();
        house.oracle.guard(key);
        house.write("home/tool.toml", &manifest(recorder));
        house.write("home/data/nightlatch.toml", &house.config(recorder));
        // A child that another test starts just now holds our copy of the program open for writing until it execs.
        while !house.up().await {
            let log = fs::read_to_string(house.path("up.log")).unwrap_or_default();
            assert!(log.contains("Text file busy"), "`up` ended:\n{log}");
        }
        let file = house.home().join("tool.toml");
        house.json(&["tool", "add", file.to_str().expect("a path")]);
        let command = &mut house.command(Machine::AsItIs, &["connect", TOOL, "--from-env", "GIVEN_KEY"]);
        let connected = command.env("GIVEN_KEY", key).output().expect("the program starts");
        assert!(connected.status.success(), "{}", String::from_utf8_lossy(&connected.stderr));
        house
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let house = Self { folder, up: None, oracle: Oracle::default() };
        for name in ["home", "home/project", "home/bin", "home/data", "home/state"] {
            let path = house.path(name);
            fs::create_dir(&path).expect("a folder");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("its mode");
            theirs(&path);
        }
        fs::set_permissions(house.folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        theirs(house.folder.path());
        // The programs under `run` try our own commands too; the home folder is what they see.
        fs::copy(BINARY, house.binary()).expect("a copy of the program");
        fs::set_permissions(house.binary(), fs::Permissions::from_mode(0o755)).expect("its mode");
        house
    }

    fn config(&self, recorder: &Recorder) -> String {
        // The recorder's own folder is its maker's alone.
        let given = recorder.config();
        let root = given.split("root = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a root");
        self.write("home/data/root.pem", &fs::read_to_string(root).expect("the root"));
        let map = given.replace(root, self.path("home/data/root.pem").to_str().expect("a path"));
        let [gateway, redirect] = [free_port(), free_port()];
        format!(
            "{map}\n[[webhook]]\nname = \"ci\"\nurl = \"https://ci.canary.test/\"\n\n[gateway]\nlisten = \"127.0.0.1:{gateway}\"\n\n[redirect]\nlisten = \"127.0.0.1:{redirect}\"\n"
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("home/data")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("home/state")
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.path("home/project")
    }

    pub(crate) fn binary(&self) -> PathBuf {
        self.path("home/bin/nightlatch")
    }

    /// Everything that lies on disk.
    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.up.as_ref().expect("`up` runs").id()
    }

    /// A file of this user's.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let above = path.parent().expect("a parent");
        if !above.exists() {
            fs::create_dir_all(above).expect("a folder");
            theirs(above);
        }
        fs::write(&path, text).expect("a file");
        theirs(&path);
    }

    /// Starts `up`; whether it answers, or has ended.
    async fn up(&mut self) -> bool {
        let log = fs::File::create(self.path("up.log")).expect("a log file");
        let errors = log.try_clone().expect("a second handle");
        let mut command = self.command(Machine::AsItIs, &["up"]);
        let mut child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("`up` starts");
        let answers = eventually("`up` answers or ends", Duration::from_secs(60), async || {
            let healthy = self.command(Machine::AsItIs, &["health"]).output().expect("the program starts");
            let ended = child.try_wait().expect("a child").is_some();
            (ended || healthy.status.success()).then_some(!ended)
        })
        .await;
        self.up = Some(child);
        answers
    }

    /// The program with these arguments, as the user starts it in the project, not started.
    pub(crate) fn command(&self, machine: Machine, arguments: &[&str]) -> Command {
        // As a terminal starts a program: tests may run where somebody wants signals ignored, and that is inherited.
        let mut words = vec!["env".to_owned(), "--default-signal=HUP,INT,QUIT,TERM".to_owned()];
        if rustix::process::geteuid().is_root() {
            let user = NOBODY.to_string();
            words.extend(
                ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "--"].map(str::to_owned),
            );
        }
        match machine {
            Machine::AsItIs => {}
            Machine::WithoutNamespaces => words.extend(without_namespaces()),
            Machine::UsedUp => words.extend(used_up_namespaces()),
            Machine::MountedTwice => words.extend(mounted_twice(&self.home())),
        }
        words.push(self.binary().to_str().expect("a path").to_owned());
        let (program, rest) = words.split_first().expect("a program");
        let mut command = Command::new(program);
        command.args(rest).args(arguments).current_dir(self.project()).env_clear();
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.home())
            .env("USER", "dana")
            .env("TERM", "xterm")
            .env("XDG_STATE_HOME", self.state())
            .env("NIGHTLATCH_DATA", self.data());
        command
    }

    /// `run` with these options of a shell script, to its end.
    pub(crate) fn run(&self, machine: Machine, options: &[&str], script: &str) -> Output {
        let words = [&["run"], options, &["--", "bash", "-c", script]].concat();
        let mut command = self.command(machine, &words);
        command.stdin(Stdio::null()).output().expect("the program starts")
    }

    /// The same, left running.
    pub(crate) fn begin(&self, options: &[&str], script: &str) -> Child {
        let words = [&["run"], options, &["--", "bash", "-c", script]].concat();
        let mut command = self.command(Machine::AsItIs, &words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// What a command prints with `--json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let words = [arguments, &["--json"]].concat();
        let output = self.command(Machine::AsItIs, &words).output().expect("the program starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON on standard output")
    }

    /// The newest task, as `task list` shows it.
    pub(crate) fn newest_task(&self) -> Value {
        self.json(&["task", "list"])[0].clone()
    }
}

impl Drop for Household {
    fn drop(&mut self) {
        if let Some(mut child) = self.up.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A user namespace in which no other may be made, as where the administrator allows none.
fn without_namespaces() -> Vec<String> {
    let none = "echo 0 > /proc/sys/user/max_user_namespaces && \
        exec setpriv --ambient-caps=-all --inh-caps=-all -- \"$@\"";
    limited(none)
}

/// A user namespace in which one other may be made, and is, by somebody else.
fn used_up_namespaces() -> Vec<String> {
    let used_up = "echo 1 > /proc/sys/user/max_user_namespaces; \
        setpriv --ambient-caps=-all --inh-caps=-all -- unshare --user sleep 60 & other=$!; \
        until [ \"$(readlink /proc/$other/ns/user)\" != \"$(readlink /proc/$$/ns/user)\" ]; do :; done; \
        setpriv --ambient-caps=-all --inh-caps=-all -- \"$@\"; code=$?; kill $other; exit $code";
    limited(used_up)
}

fn mounted_twice(home: &Path) -> Vec<String> {
    let mounted = format!(
        "mount --bind '{}' /mnt && exec setpriv --ambient-caps=-all --inh-caps=-all -- \"$@\"",
        home.display()
    );
    let mut words = limited(&mounted);
    words.insert(1, "--mount".to_owned());
    words
}

/// A user namespace that `script` prepares, and then starts its arguments in.
fn limited(script: &str) -> Vec<String> {
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (user, group) = if own.0 == 0 { (NOBODY, NOBODY) } else { own };
    let (user, group) = (format!("--map-user={user}"), format!("--map-group={group}"));
    ["unshare", "--user", &user, &group, "--keep-caps", "bash", "-c", script, "limited"]
        .map(str::to_owned)
        .to_vec()
}

fn manifest(recorder: &Recorder) -> String {
    let more = "placeholder_env = [\"CANARY_TOKEN\"]\nshapes = [\"ghp_nlr0{core:32}\"]\n\n[[host]]";
    recorder.manifest(TOOL).replacen("\n[[host]]", more, 1)
}

fn theirs(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("its owner");
    }
}

/// The processes that have this word in their command line.
pub(crate) fn running(word: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("the processes").filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|own| own == word.as_bytes())
    })
    .collect()
}
