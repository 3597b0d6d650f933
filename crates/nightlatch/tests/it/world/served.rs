//! An installation as its operator runs it over PostgreSQL: processes of each plane, each with a folder, a configuration
//! and a database login of its own. The command line speaks to the first control process.

use super::{
    eventually,
    install::{Install, on_a_small_disk},
    parts::parts,
    ports::free_port,
    street::Street,
};
use nightlatch_domain::ports::mailbox::Role;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

const PASSWORD: &str = "canary-database-5d0c7a1e9b3f4826";
static DRAWN: AtomicU32 = AtomicU32::new(0);

/// What the operator of an installation says.
pub(crate) struct Told {
    /// To each process, besides its own place. Begins in the table `[keeper]`.
    pub(crate) operator: String,
    /// To a keeper of this number besides.
    pub(crate) keepers: Box<dyn Fn(usize) -> String + Send + Sync>,
    /// Files of each data folder.
    pub(crate) files: Vec<(&'static str, String)>,
    /// The server that its database is on, if not the one that every test shares.
    pub(crate) server: Option<String>,
    /// Where the database's server is reached, if not where it is.
    pub(crate) database_at: Option<String>,
    /// Where the keepers live, if not among the others.
    pub(crate) street: Option<Arc<Street>>,
    /// The level of the processes' logs.
    pub(crate) log_level: &'static str,
    /// Of each keeper's data folder, one that is a small disk of its own, and its size.
    pub(crate) small: Option<(&'static str, &'static str)>,
}

impl Told {
    /// The same to each.
    pub(crate) fn all(operator: &str) -> Self {
        Self {
            operator: operator.to_owned(),
            keepers: Box::new(|_| String::new()),
            files: Vec::new(),
            server: None,
            database_at: None,
            street: None,
            log_level: "trace",
            small: None,
        }
    }
}

/// The installation. Its processes end with it.
pub(crate) struct Served {
    pub(crate) install: Install,
    /// The address of its database, as whoever owns it.
    pub(crate) database: String,
    peers: String,
    told: Told,
    processes: Vec<Process>,
}

struct Process {
    role: &'static str,
    number: usize,
    name: String,
    data: PathBuf,
    gateway: String,
    child: Option<Child>,
}

impl Served {
    /// So many processes of each plane, with what the operator says besides.
    pub(crate) async fn started(of_each: usize, operator: &str) -> Self {
        Self::told(of_each, Told::all(operator)).await
    }

    /// The same, with more to say.
    pub(crate) async fn told(of_each: usize, told: Told) -> Self {
        let mut served = Self::laid_out(of_each, told);
        for index in 0..served.processes.len() {
            served.start(index);
        }
        served.until_healthy().await;
        served
    }

    /// One process that is every plane.
    pub(crate) async fn in_one(operator: &str) -> Self {
        let mut served = Self::prepared(0, operator);
        served.start(0);
        served.until_healthy().await;
        served
    }

    /// The same, not started: folders, keys, database. Of each none: one process is all.
    pub(crate) fn prepared(of_each: usize, operator: &str) -> Self {
        Self::laid_out(of_each, Told::all(operator))
    }

    fn laid_out(of_each: usize, told: Told) -> Self {
        let mut install = Install::prepared("");
        install.log_level = told.log_level;
        let server = told.server.as_ref().unwrap_or(&parts().postgres.address);
        let name = format!("served_{}_{}", std::process::id(), DRAWN.fetch_add(1, Ordering::Relaxed));
        sql(server, &format!("CREATE DATABASE {name} TEMPLATE template0"));
        let database = format!("{server}/{name}");
        install.oracle.guard(PASSWORD);
        let mut served = Self { install, database, peers: String::new(), told, processes: Vec::new() };
        // The database's owner brings it up to the version, and gives each plane a login of its own.
        let owner = served.install.root().join("owner.toml");
        let address = served.database.clone();
        fs::write(&owner, served.config("owner", &served.install.root().join("owner"), &address, ""))
            .expect("a file");
        served.serve(&["--role", "all", "--migrate"], &owner);
        let every = Role::ALL.map(|role| format!("nightlatch_{role}")).join(", ");
        let logins = Role::ALL.map(|role| (role.as_str(), format!("nightlatch_{role}")));
        for (login, planes) in logins.into_iter().chain([("all", every)]) {
            let create = format!(
                "CREATE ROLE {login}_{name} LOGIN PASSWORD '{PASSWORD}' IN ROLE {planes}, nightlatch_ledger"
            );
            sql(&served.database, &create);
        }
        if of_each == 0 {
            served.add("all", 1, &name);
            return served;
        }
        for role in Role::ALL {
            for number in 1..=of_each {
                served.add(role.as_str(), number, &name);
            }
        }
        // What the first of each printed is told to all.
        for index in 0..served.processes.len() {
            let path = served.config_path(index);
            let text = fs::read_to_string(&path).expect("a configuration");
            fs::write(&path, text + &served.peers).expect("a configuration");
        }
        served
    }

    /// A folder with its keys: the first of a kind makes them, the next ones get a copy.
    fn add(&mut self, role: &'static str, number: usize, database: &str) {
        let name = format!("{role}-{number}");
        let is_cli = ["control", "all"].contains(&role) && number == 1;
        let data = if is_cli { self.install.data() } else { self.install.root().join(&name) };
        fs::create_dir_all(&data).expect("a folder");
        private(&data);
        fs::write(data.join("database.password"), format!("{PASSWORD}\n")).expect("a password");
        fs::set_permissions(
            data.join("database.password"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .expect("its mode");
        for (name, text) in &self.told.files {
            let path = data.join(name);
            let folder = path.parent().expect("a parent");
            fs::create_dir_all(folder).expect("a folder");
            private(folder);
            fs::write(path, text).expect("a file");
        }
        let first_gateway = ["gateway", "all"].contains(&role) && number == 1;
        let gateway =
            if first_gateway { self.install.gateway() } else { format!("127.0.0.1:{}", free_port()) };
        let state = self.install.root().join("state").join(&name);
        let redirect = if is_cli {
            self.install.redirect_base().trim_start_matches("http://").to_owned()
        } else {
            format!("127.0.0.1:{}", free_port())
        };
        let more = format!(
            "[gateway]\nlisten = \"{gateway}\"\n[redirect]\nlisten = \"{redirect}\"\n[keeper]\nstate = \"{}\"\n{}\n",
            state.display(),
            self.told.operator
        );
        let more = if role == "keeper" { more + &(self.told.keepers)(number) } else { more };
        // One that is all knows its gateway's key by itself.
        let told = format!(
            "[control]\ngateway_url = \"https://{}\"\ngateway_pin = \"sha256//{}=\"\n",
            self.install.gateway(),
            "A".repeat(43)
        );
        let more = if role == "control" { more + &told } else { more };
        let (_, own) = self.database.split_once('@').expect("an address");
        let (own, _) = own.split_once('/').expect("a database");
        let server = match &self.told.street {
            Some(street) if role == "keeper" => street.database(number).to_string(),
            _ => self.told.database_at.as_deref().unwrap_or(own).to_owned(),
        };
        let address = format!("postgres://{role}_{database}@{server}/{database}");
        let file = format!("password_file = \"database.password\"\n{more}");
        let process = Process { role, number, name: name.clone(), data: data.clone(), gateway, child: None };
        self.processes.push(process);
        let path = self.config_path(self.processes.len() - 1);
        fs::write(&path, self.config(&name, &data, &address, &file)).expect("a configuration");
        match self.processes.iter().find(|other| other.role == role && other.name != name) {
            None => {
                let printed = self.serve(&["--role", role, "--make-keys"], &path);
                self.peers.push_str(&printed);
            }
            Some(first) => copy(&first.data.join("keys"), &data.join("keys")),
        }
    }

    fn config(&self, name: &str, data: &Path, address: &str, more: &str) -> String {
        format!(
            "name = \"{name}\"\ndata = \"{}\"\n[database]\naddress = \"{address}\"\n{more}",
            data.display()
        )
    }

    fn config_path(&self, index: usize) -> PathBuf {
        self.install.root().join(format!("{}.toml", self.processes[index].name))
    }

    /// A `serve` that ends by itself.
    fn serve(&self, arguments: &[&str], config: &Path) -> String {
        let mut command = self.install.command();
        let output =
            command.arg("serve").args(arguments).arg("--config").arg(config).output().expect("it runs");
        self.install.note_printed(&output.stderr);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn start(&mut self, index: usize) {
        let path = self.config_path(index);
        let process = &self.processes[index];
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path(&process.name));
        let log = log.expect("a log");
        let mut command = self.install.command();
        command.args(["serve", "--role", process.role, "--config"]).arg(path);
        if let (Some((folder, size)), "keeper") = (self.told.small, process.role) {
            let folder = process.data.join(folder);
            fs::create_dir_all(&folder).expect("a folder");
            private(&folder);
            command = on_a_small_disk(&command, &folder, size);
        }
        if let (Some(street), "keeper") = (&self.told.street, process.role) {
            command = street.inside(process.number, &command);
        }
        let errors = log.try_clone().expect("a second handle");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("`serve` starts");
        self.processes[index].child = Some(child);
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.install.root().join(format!("{name}.log"))
    }

    fn logs(&self) -> String {
        let one = |process: &Process| {
            let text = fs::read_to_string(self.log_path(&process.name)).unwrap_or_default();
            let lines: Vec<&str> =
                text.lines().filter(|line| !line.contains("TRACE") && !line.contains("DEBUG")).collect();
            let from = lines.len().saturating_sub(15);
            format!("--- {}\n{}\n", process.name, lines.get(from..).unwrap_or_default().join("\n"))
        };
        self.processes.iter().map(one).collect()
    }

    async fn until_healthy(&mut self) {
        eventually("every process serves", Duration::from_secs(60), async || {
            for process in &mut self.processes {
                let ended = process.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
                assert!(ended.is_none(), "{} ended: {ended:?}\n{}", process.name, self.install.log());
            }
            let all_listen = self.processes.iter().all(|process| {
                let text = fs::read_to_string(self.log_path(&process.name)).unwrap_or_default();
                text.contains("nightlatch serves")
            });
            let healthy = all_listen && self.install.run(&["health", "--json"]).status.success();
            if !all_listen && self.processes.iter().any(|one| one.child.is_none()) {
                panic!("{}", self.logs());
            }
            healthy.then_some(())
        })
        .await;
    }

    /// The addresses of its gateways.
    pub(crate) fn gateways(&self) -> Vec<String> {
        let of = self.processes.iter().filter(|process| ["gateway", "all"].contains(&process.role));
        of.map(|process| process.gateway.clone()).collect()
    }

    /// The names of processes whose ledger has `word` in it.
    pub(crate) fn whose_ledger_says(&self, word: &str) -> Vec<String> {
        let says = |process: &&Process| self.ledger_of(&process.name).contains(word);
        self.processes.iter().filter(says).map(|process| process.name.clone()).collect()
    }

    /// The names of a role's processes.
    pub(crate) fn named(&self, role: &str) -> Vec<String> {
        let of = self.processes.iter().filter(|process| process.role == role);
        of.map(|process| process.name.clone()).collect()
    }

    /// Whether a process was not killed.
    pub(crate) fn runs(&self, name: &str) -> bool {
        self.processes[self.index(name)].child.is_some()
    }

    fn index(&self, name: &str) -> usize {
        self.processes.iter().position(|process| process.name == name).expect("such a process")
    }

    /// Starts a process and does not wait until it serves.
    pub(crate) fn begin(&mut self, name: &str) {
        self.start(self.index(name));
    }

    /// Ends a process as a crash would.
    pub(crate) fn kill(&mut self, name: &str) {
        let index = self.index(name);
        let mut child = self.processes[index].child.take().expect("it runs");
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
    }

    /// What a running process is told by a signal.
    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        let child = self.processes[self.index(name)].child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("it is ours");
    }

    /// A folder of a process's data, as that process sees it.
    pub(crate) fn folder_of(&self, name: &str, folder: &str) -> PathBuf {
        let process = &self.processes[self.index(name)];
        let pid = process.child.as_ref().expect("it runs").id();
        PathBuf::from(format!("/proc/{pid}/root{}", process.data.join(folder).display()))
    }

    /// Where a keeper's log lies.
    pub(crate) fn state_of(&self, name: &str) -> PathBuf {
        self.install.root().join("state").join(name)
    }

    /// Copies all that a process has, as it lies there now, for a process of another name that is not started.
    pub(crate) fn copy(&mut self, name: &str, copy: &str) {
        let process = &self.processes[self.index(name)];
        let Process { role, number, ref gateway, .. } = *process;
        let (gateway, data) = (gateway.clone(), self.install.root().join(copy));
        for (from, to) in [(&process.data, &data), (&self.state_of(name), &self.state_of(copy))] {
            let copied = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
            assert!(copied.success());
        }
        let config = fs::read_to_string(self.config_path(self.index(name))).expect("a configuration");
        self.processes.push(Process { role, number, name: copy.to_owned(), data, gateway, child: None });
        fs::write(self.config_path(self.index(copy)), config.replace(name, copy)).expect("a configuration");
    }

    /// The log of a process since its last start.
    pub(crate) fn log_of(&self, name: &str) -> String {
        fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }

    /// The text of what a process wrote into its ledger.
    pub(crate) fn ledger_of(&self, name: &str) -> String {
        let folder = self.processes[self.index(name)].data.join("ledger");
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).collect()
    }

    /// Starts a process again, and waits until it serves.
    pub(crate) async fn start_again(&mut self, name: &str) {
        let index = self.index(name);
        let _ = fs::remove_file(self.log_path(name));
        self.start(index);
        eventually("it serves again", Duration::from_secs(60), async || {
            let ended =
                self.processes[index].child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "{name} ended: {ended:?}\n{}", self.logs());
            self.log_of(name).contains("nightlatch serves").then_some(())
        })
        .await;
    }

    /// Starts a process again.
    pub(crate) async fn restart(&mut self, name: &str) {
        let index = self.index(name);
        let _ = fs::remove_file(self.log_path(name));
        self.start(index);
        self.until_healthy().await;
    }

    /// Waits until a process ended by itself, and says whether it did well.
    pub(crate) async fn ends(&mut self, name: &str) -> bool {
        let index = self.index(name);
        let mut child = self.processes[index].child.take().expect("it runs");
        let ended =
            eventually("it ends", Duration::from_secs(60), async || child.try_wait().expect("a child"));
        ended.await.success()
    }

    /// Asks a process to end, and waits until it did.
    pub(crate) async fn stop(&mut self, name: &str) {
        self.signal(name, Signal::TERM);
        assert!(self.ends(name).await, "{name}\n{}", self.logs());
    }

    /// Asks every process to end, and says how each did.
    pub(crate) async fn end(&mut self) -> Vec<(String, bool)> {
        for child in self.processes.iter().filter_map(|process| process.child.as_ref()) {
            let pid = Pid::from_child(child);
            kill_process(pid, Signal::TERM).expect("it is ours");
        }
        let mut ended = Vec::new();
        for process in &mut self.processes {
            let Some(mut child) = process.child.take() else { continue };
            let status = eventually("a process ends", Duration::from_secs(60), async || {
                child.try_wait().expect("a child")
            })
            .await;
            ended.push((process.name.clone(), status.success()));
        }
        ended
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.logs());
        }
        for mut child in self.processes.iter_mut().filter_map(|process| process.child.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Their own place is the only one where the oracle may not find them.
        for process in &self.processes {
            let _ = fs::remove_file(process.data.join("database.password"));
        }
    }
}

/// Runs SQL as whoever owns the server.
pub(crate) fn sql(address: &str, text: &str) -> String {
    let mut command = Command::new(parts().postgres.programs.join("psql"));
    let output =
        command.args([address, "-v", "ON_ERROR_STOP=1", "-At", "-c", text]).output().expect("psql runs");
    assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn private(folder: &Path) {
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("its mode");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    private(to);
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
