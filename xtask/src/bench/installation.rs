//! An installation of Nightlatch as an operator sets it up: a data folder, `up`, and everything else through its own
//! command line.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{child::Child, load::text, rivals::free_port};
use crate::machine::{self, Fault, Outcome};

/// The task of everything that is measured; its agent is the one that a first start makes.
pub(super) const TASK: &str = "bench";

/// An installation that answers.
#[derive(Debug)]
pub(super) struct Installation {
    pub(super) child: Child,
    folder: PathBuf,
    program: PathBuf,
    /// `host:port` of the TLS listener.
    pub(super) gateway: String,
}

impl Installation {
    /// Lays a data folder with these further files and lines of configuration, and serves it with `up`, the program as
    /// a command on the cores that it may have.
    pub(super) fn start(
        up: Command,
        program: &Path,
        folder: &Path,
        configured: &str,
        files: &[(&str, String)],
    ) -> Outcome<Self> {
        let data = folder.join("data");
        let gateway = format!("127.0.0.1:{}", free_port()?);
        private(&data)?;
        let own = ("nightlatch.toml", configuration(folder, &gateway, free_port()?) + configured);
        for (name, text) in files.iter().chain([&own]) {
            let path = data.join(name);
            private(path.parent().unwrap_or(&data))?;
            fs::write(path, text).map_err(failed)?;
        }
        let child = served(up, folder)?;
        let mut started = Self { child, folder: folder.to_owned(), program: program.to_owned(), gateway };
        started.awaited()?;
        Ok(started)
    }

    /// Stops it, does something to its data folder, and serves it again.
    pub(super) fn stopped(&mut self, up: Command, meanwhile: impl FnOnce(&Path) -> Outcome) -> Outcome {
        machine::output(self.command().arg("stop"))?;
        self.child.until_ended()?;
        meanwhile(&self.data())?;
        self.child = served(up, &self.folder)?;
        self.awaited()
    }

    /// The data folder.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
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
        let (program, folder) = (&self.program, &self.folder);
        self.child.until(|| {
            let mut health = command_line(program, folder);
            health.args(["health", "--json"]).stdout(Stdio::null()).stderr(Stdio::null());
            health.status().is_ok_and(|status| status.success())
        })
    }

    /// Adds a tool by the text of its manifest.
    pub(super) fn add_tool(&self, name: &str, manifest: &str) -> Outcome {
        let file = self.folder.join(format!("{name}.toml"));
        fs::write(&file, manifest).map_err(failed)?;
        self.json(&["tool", "add", &file.display().to_string()], "").map(drop)
    }

    /// Opens the task.
    pub(super) fn open_task(&self) -> Outcome {
        self.json(&["task", "open", "--agent", "laptop", "--name", TASK], "").map(drop)
    }

    /// A reference of the task to a tool, to read and to write.
    pub(super) fn granted(&self, tool: &str) -> Outcome<String> {
        let grant = self.json(&["grant", "add", &format!("{tool}:write"), "--task", TASK], "")?;
        Ok(text(&grant, "reference"))
    }

    /// Enrols the user that runs us for the task.
    pub(super) fn enrol_user(&self) -> Outcome {
        let socket = self.socket().display().to_string();
        self.enrol(&["--unix-socket", &socket, "http://localhost/v1/enrol"])
    }

    /// Enrols the certificate in a folder for the task.
    pub(super) fn enrol_key(&self, identity: &Path) -> Outcome {
        let file = |name: &str| identity.join(name).display().to_string();
        let url = format!("https://{}/v1/enrol", self.gateway);
        self.enrol(&["--insecure", "--cert", &file("agent.pem"), "--key", &file("agent.key"), &url])
    }

    fn enrol(&self, words: &[&str]) -> Outcome {
        let issued = self.json(&["agent", "enrol", "laptop", "--task", TASK], "")?;
        let body = format!("{{\"code\":\"{}\"}}", text(&issued, "code"));
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "-d", &body]).args(words);
        machine::output(&mut curl).map(drop)
    }

    /// Runs a command to its end, with standard input; its JSON.
    pub(super) fn json(&self, words: &[&str], input: &str) -> Outcome<Value> {
        let mut command = self.command();
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

    /// A command of this installation, not yet with its words.
    pub(super) fn command(&self) -> Command {
        command_line(&self.program, &self.folder)
    }
}

/// What cannot be set up, and why.
pub(super) fn failed(error: impl std::fmt::Display) -> Fault {
    Fault::one(format!("bench: cannot set Nightlatch up: {error}"))
}

fn private(folder: &Path) -> Outcome {
    machine::make_folder(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)
}

fn served(mut up: Command, folder: &Path) -> Outcome<Child> {
    environment(&mut up, folder).arg("up");
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    Child::start(&name, &mut up, folder)
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

fn configuration(folder: &Path, gateway: &str, redirect: u16) -> String {
    let socket = folder.join("gateway.sock");
    format!(
        "[gateway]\nlisten = \"{gateway}\"\nsocket = \"{}\"\nown_user = true\n\n\
         [redirect]\nlisten = \"127.0.0.1:{redirect}\"\n\n\
         [[allow]]\nhost = \"127.0.0.1\"\naddress = \"127.0.0.1\"\n\n{}",
        socket.display(),
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
