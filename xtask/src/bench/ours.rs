//! Nightlatch as an operator sets it up: a data folder, `up`, and everything else through its own command line.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{
    child::{Child, pinned},
    rivals::{CREDENTIAL, Scene, free_port},
};
use crate::machine::{self, Fault, Outcome};

/// The name that stands for the upstream where TLS is spoken.
pub(super) const HOST: &str = "api.bench.test";
/// Grants that every installation has, of the one task.
const GRANTS: usize = 10;

/// How an installation differs from the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Twist {
    pub(super) name: &'static str,
    /// Statements of the operator, a tenth of them about the tool that is called.
    pub(super) policies: usize,
    /// Grants that nobody uses, beside the ten.
    pub(super) ballast: usize,
}

/// An installation that answers.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) child: Child,
    folder: PathBuf,
    program: PathBuf,
    /// `host:port` of the TLS listener.
    pub(super) gateway: String,
    /// References to the tool over plain HTTP and over TLS.
    pub(super) plain: String,
    pub(super) secure: String,
}

impl Ours {
    /// Sets one up with a user and an agent's key, both of one task.
    pub(super) fn start(scene: &Scene<'_>, program: &Path, twist: Twist) -> Outcome<Self> {
        let folder = scene.folder.join(twist.name);
        let data = folder.join("data");
        machine::make_folder(&data.join("policies"))?;
        for private in [&data, &data.join("policies")] {
            fs::set_permissions(private, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        let gateway = format!("127.0.0.1:{}", free_port()?);
        let write = |name: &str, text: &str| fs::write(data.join(name), text).map_err(failed);
        write("nightlatch.toml", &configuration(scene, &folder, &gateway, free_port()?))?;
        write("policies/bench.cedar", &policies(twist.policies))?;
        let child = up(scene, program, &folder, twist.name)?;
        let (plain, secure) = (String::new(), String::new());
        let mut ours = Self { child, folder, program: program.to_owned(), gateway, plain, secure };
        ours.awaited()?;
        ours.furnish(scene)?;
        if twist.ballast > 0 {
            ours.weigh_down(scene, twist)?;
        }
        Ok(ours)
    }

    /// The Unix socket on which a user is admitted.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("gateway.sock")
    }

    /// The TLS listener by the name that the load gives it in its handshake.
    pub(super) fn authority(&self) -> String {
        self.gateway.replace("127.0.0.1", "localhost")
    }

    fn awaited(&mut self) -> Outcome {
        let (program, folder) = (self.program.clone(), self.folder.clone());
        self.child.until(|| {
            let mut health = command_line(&program, &folder);
            health.args(["health", "--json"]).stdout(Stdio::null()).stderr(Stdio::null());
            health.status().is_ok_and(|status| status.success())
        })
    }

    fn furnish(&mut self, scene: &Scene<'_>) -> Outcome {
        for (tool, scheme, address) in [("bench", "http", scene.http), ("benchtls", "https", HOST)] {
            let file = self.folder.join(format!("{tool}.toml"));
            fs::write(&file, manifest(tool, scheme, address)).map_err(failed)?;
            self.json(&["tool", "add", &file.display().to_string()], "")?;
            self.json(&["connect", tool, "--key"], CREDENTIAL.trim_start_matches("Bearer "))?;
        }
        self.json(&["task", "open", "--agent", "laptop", "--name", "bench"], "")?;
        self.plain = self.granted("bench")?;
        self.secure = self.granted("benchtls")?;
        for _ in 2..GRANTS {
            self.granted("bench")?;
        }
        let socket = self.socket().display().to_string();
        self.enrol(&["--unix-socket", &socket, "http://localhost/v1/enrol"])?;
        self.enrol_key(scene.identity)
    }

    /// Enrols the certificate in a folder for the task.
    pub(super) fn enrol_key(&self, identity: &Path) -> Outcome {
        let file = |name: &str| identity.join(name).display().to_string();
        let url = format!("https://{}/v1/enrol", self.gateway);
        self.enrol(&["--insecure", "--cert", &file("agent.pem"), "--key", &file("agent.key"), &url])
    }

    fn granted(&self, tool: &str) -> Outcome<String> {
        let grant = self.json(&["grant", "add", &format!("{tool}:write"), "--task", "bench"], "")?;
        Ok(text(&grant, "reference"))
    }

    fn enrol(&self, words: &[&str]) -> Outcome {
        let issued = self.json(&["agent", "enrol", "laptop", "--task", "bench"], "")?;
        let body = format!("{{\"code\":\"{}\"}}", text(&issued, "code"));
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "-d", &body]).args(words);
        machine::output(&mut curl).map(drop)
    }

    /// Puts rows into the database while nobody serves it, and serves it again.
    fn weigh_down(&mut self, scene: &Scene<'_>, twist: Twist) -> Outcome {
        machine::output(command_line(&self.program, &self.folder).arg("stop"))?;
        self.child.until_ended()?;
        let script = machine::root()?.join("bench/ballast.py");
        let database = self.folder.join("data/db.sqlite");
        let mut python = Command::new("python3");
        machine::output(python.arg(script).arg(database).arg(twist.ballast.to_string()))?;
        self.child = up(scene, &self.program, &self.folder, twist.name)?;
        self.awaited()
    }

    fn json(&self, words: &[&str], input: &str) -> Outcome<Value> {
        let mut command = command_line(&self.program, &self.folder);
        command.args(words).arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = process.stdin.take() {
            // A command that reads nothing may have closed its end.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = process.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Fault::one(format!("bench: `nightlatch {}`: {}", words.join(" "), said.trim())));
        }
        serde_json::from_slice(&output.stdout).map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> Fault {
    Fault::one(format!("bench: cannot set Nightlatch up: {error}"))
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn up(scene: &Scene<'_>, program: &Path, folder: &Path, name: &str) -> Outcome<Child> {
    let mut command = pinned(scene.core, program);
    environment(&mut command, folder).arg("up");
    Child::start(name, &mut command, scene.folder)
}

fn command_line(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    environment(&mut command, folder);
    command
}

fn environment<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command.env("NIGHTLATCH_DATA", folder.join("data")).env("XDG_STATE_HOME", folder.join("state"));
    command.env("NIGHTLATCH_LOG", "warn").env("HOME", folder).env("USER", "bench")
}

fn configuration(scene: &Scene<'_>, folder: &Path, gateway: &str, redirect: u16) -> String {
    let (socket, root) = (folder.join("gateway.sock"), scene.identity.join("ca.pem"));
    format!(
        "[gateway]\nlisten = \"{gateway}\"\nsocket = \"{}\"\nown_user = true\n\n\
         [redirect]\nlisten = \"127.0.0.1:{redirect}\"\n\n\
         [[map]]\nhost = \"{HOST}\"\nto = \"{}\"\nroot = \"{}\"\n\n\
         [[allow]]\nhost = \"127.0.0.1\"\naddress = \"127.0.0.1\"\n\n{}",
        socket.display(),
        scene.https,
        root.display(),
        unlimited(),
    )
}

/// An agent that calls as fast as it can is a loop to the ordinary limits: they are counted, and never reached.
fn unlimited() -> String {
    let limit = |of: &str| {
        format!("[[limit]]\nof = \"{of}\"\nper_second = 1000000\nburst = 1000000\nat_once = 65536\n\n")
    };
    ["agent", "task", "connection", "tool"].map(limit).concat()
}

/// A manifest of the upstream, as an operator would write it.
fn manifest(tool: &str, scheme: &str, address: &str) -> String {
    let (host, port) = match address.split_once(':') {
        Some((host, port)) => (host, format!("port = {port}\n")),
        None => (address, String::new()),
    };
    format!(
        "name = \"{tool}\"\ntitle = \"The upstream of a benchmark\"\ndocs = \"https://example.com/docs\"\n\n\
         [[host]]\nhost = \"{host}\"\nscheme = \"{scheme}\"\n{port}key = {{ kind = \"bearer\" }}\n\
         challenge = \"Bearer\"\n\n\
         [account]\nprobe = \"/me\"\nid = [\"/id\"]\nlabel = \"/login\"\n\n\
         [[operation]]\nid = \"things.get\"\nmethod = \"GET\"\npath = \"/things/{{thing}}\"\neffect = \"read\"\n\
         resource = \"{{thing}}\"\npage = \"https://example.com/docs/things\"\n\n\
         [[operation]]\nid = \"things.put\"\nmethod = \"POST\"\npath = \"/things/{{thing}}\"\neffect = \"write\"\n\
         resource = \"{{thing}}\"\npage = \"https://example.com/docs/things\"\n\n\
         [[operation]]\nid = \"bytes.get\"\nmethod = \"GET\"\npath = \"/bytes/{{bytes}}\"\neffect = \"read\"\n\
         page = \"https://example.com/docs/bytes\"\n"
    )
}

/// So many statements, a tenth of them about the tool that is called, none of which forbids it.
fn policies(count: usize) -> String {
    let statement = |number: usize| {
        let tool =
            if number.is_multiple_of(10) { "bench".to_owned() } else { format!("tool{}", number % 100) };
        format!(
            "@id(\"p{number}\")\nforbid (principal, action, resource in Tool::\"{tool}\")\n\
             when {{ context.method == \"BREW{number}\" }};\n\n"
        )
    };
    (0..count).map(statement).collect()
}
