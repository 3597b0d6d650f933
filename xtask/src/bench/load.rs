//! The load, the upstreams, the provider and the crowd, the issuer and the keeper: programs of `nightlatch-bench`, which end
//! when we close their standard input.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::machine::{self, Fault, Outcome};

/// A program that answers a line with a line.
#[derive(Debug)]
struct Talker {
    process: Process,
    told: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
}

impl Talker {
    /// A command of `nightlatch-bench`, not yet with its words.
    fn start(mut command: Command, words: &[&str]) -> Outcome<Self> {
        let failed = |what: &str| Fault::one(format!("bench: cannot start `{}`: {what}", words.join(" ")));
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| failed(&error.to_string()))?;
        let (told, says) = (process.stdin.take(), process.stdout.take());
        let (Some(told), Some(says)) = (told, says) else { return Err(failed("it has no pipes")) };
        Ok(Self { process, told: Some(told), says: BufReader::new(says) })
    }

    fn line(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        let read = self.says.read_line(&mut line).map_err(|error| Fault::one(format!("bench: {error}")))?;
        if read == 0 {
            return Err(Fault::one("bench: the load ended by itself"));
        }
        serde_json::from_str(&line)
            .map_err(|error| Fault::one(format!("bench: the load said no JSON: {error}")))
    }

    /// Says a command, and what came of it; `about` is what a fault is about.
    fn carry_out(&mut self, about: &str, command: &Value) -> Outcome<Value> {
        let told = self.told.as_mut().ok_or_else(|| Fault::one("bench: the load was told to end"))?;
        writeln!(told, "{command}")
            .map_err(|error| Fault::one(format!("bench: the load is gone: {error}")))?;
        let said = self.line()?;
        match said.get("fault").and_then(Value::as_str) {
            Some(fault) => Err(Fault::one(format!("bench: `{about}`: {fault}"))),
            None => Ok(said),
        }
    }
}

impl Talker {
    /// Tells it to end, and waits until it has done so in its own way.
    fn close(mut self) -> Outcome {
        drop(self.told.take());
        match self.process.wait() {
            Ok(status) if status.success() => Ok(()),
            _ => Err(Fault::one("bench: a program did not end well")),
        }
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where the upstream answers.
#[derive(Debug)]
pub(super) struct Upstream {
    _process: Talker,
    pub(super) http: String,
    pub(super) https: String,
}

impl Upstream {
    pub(super) fn start(bench: Command, identity: &Path) -> Outcome<Self> {
        let identity = identity.display().to_string();
        let mut process = Talker::start(bench, &["upstream", &identity])?;
        let said = process.line()?;
        Ok(Self { http: text(&said, "http"), https: text(&said, "https"), _process: process })
    }
}

/// The upstream that knows the one credential.
#[derive(Debug)]
pub(super) struct Witness {
    process: Talker,
    pub(super) https: String,
}

impl Witness {
    pub(super) fn start(bench: Command, identity: &Path, authorization: &str) -> Outcome<Self> {
        let identity = identity.display().to_string();
        let mut process = Talker::start(bench, &["witness", &identity, authorization])?;
        let said = process.line()?;
        Ok(Self { https: text(&said, "https"), process })
    }

    /// What it was asked since the last time.
    pub(super) fn tally(&mut self) -> Outcome<Value> {
        self.process.carry_out("witness", &json!({ "tally": {} }))
    }
}

/// Many agents.
#[derive(Debug)]
pub(super) struct Crowd(Talker);

impl Crowd {
    pub(super) fn start(bench: Command) -> Outcome<Self> {
        Talker::start(bench, &["crowd"]).map(Self)
    }

    /// Makes agents of the installation with this data folder, each with a grant of the tool; how many were made in
    /// time, and in how many seconds.
    pub(super) fn gather(
        &mut self,
        (data, gateway): (&Path, &str),
        tool: &str,
        agents: usize,
        within: Duration,
    ) -> Outcome<(u64, f64)> {
        let facts = json!({
            "data": data,
            "gateway": gateway,
            "tool": tool,
            "agents": agents,
            "within_secs": within.as_secs(),
        });
        let made = self.0.carry_out("crowd", &json!({ "gather": facts }))?;
        let secs = made.get("secs").and_then(Value::as_f64).unwrap_or_default();
        Ok((made.get("agents").and_then(Value::as_u64).unwrap_or_default(), secs))
    }

    /// From now on it has this core alone.
    pub(super) fn pin(&self, core: usize) -> Outcome {
        let mut taskset = Command::new("taskset");
        taskset.args(["--all-tasks", "--cpu-list", "--pid", &core.to_string()]);
        machine::output(taskset.arg(self.0.process.id().to_string())).map(drop)
    }

    /// Each calls once, so many at a time; what came of it.
    pub(super) fn round(&mut self, at_once: usize) -> Outcome<Value> {
        self.0.carry_out("crowd", &json!({ "round": { "at_once": at_once } }))
    }
}

/// The provider whose tokens rotate, and its tool.
#[derive(Debug)]
pub(super) struct Provider {
    process: Talker,
    pub(super) issuer: String,
    /// The tool's address.
    pub(super) tool: String,
}

impl Provider {
    pub(super) fn start(bench: Command) -> Outcome<Self> {
        let mut process = Talker::start(bench, &["provider"])?;
        let said = process.line()?;
        Ok(Self { issuer: text(&said, "issuer"), tool: text(&said, "tool"), process })
    }

    /// The id and the secret of a client whose access tokens live so long.
    pub(super) fn register(&mut self, redirect_uri: &str, access_secs: u64) -> Outcome<(String, String)> {
        let facts = json!({ "redirect_uri": redirect_uri, "access_secs": access_secs });
        let client = self.process.carry_out("register", &json!({ "register": facts }))?;
        Ok((text(&client, "client_id"), text(&client, "client_secret")))
    }

    /// Logs in and agrees; where the browser goes next.
    pub(super) fn consent(&mut self, address: &str) -> Outcome<String> {
        let told = self.process.carry_out("consent", &json!({ "consent": { "address": address } }))?;
        Ok(text(&told, "address"))
    }

    /// What the provider counted of a client, and what the tool saw.
    pub(super) fn tally(&mut self, client_id: &str) -> Outcome<Value> {
        self.process.carry_out("tally", &json!({ "tally": { "client_id": client_id } }))
    }
}

/// A token endpoint at several addresses.
#[derive(Debug)]
pub(super) struct Issuer {
    process: Talker,
    pub(super) ports: Vec<String>,
}

impl Issuer {
    pub(super) fn start(bench: Command, origins: usize) -> Outcome<Self> {
        let mut process = Talker::start(bench, &["issuer", &origins.to_string()])?;
        let said = process.line()?;
        let ports = said.get("ports").and_then(Value::as_array).into_iter().flatten();
        Ok(Self { ports: ports.map(ToString::to_string).collect(), process })
    }

    /// How long its access tokens live, and how long it takes over them, from now on.
    pub(super) fn answers(&mut self, access_secs: u64, delay: Duration) -> Outcome {
        let how = json!({ "access_secs": access_secs, "delay_micros": delay.as_micros() });
        self.process.carry_out("issuer", &json!({ "answer": how })).map(drop)
    }

    /// Refreshes since it began, and tokens that it refused.
    pub(super) fn tally(&mut self) -> Outcome<(u64, u64)> {
        let tally = self.process.carry_out("issuer", &json!({ "tally": {} }))?;
        Ok((number(&tally, "refreshes"), number(&tally, "refused")))
    }
}

/// The keeper, as a program of its own.
#[derive(Debug)]
pub(super) struct Keeper {
    process: Talker,
    /// How long the issuer's tokens are to live.
    pub(super) access_secs: u64,
}

impl Keeper {
    /// Over a store, with what it keeps beside it in a folder.
    pub(super) fn open(program: Command, store: &str, folder: &Path, ports: &[String]) -> Outcome<Self> {
        let folder = folder.display().to_string();
        let words: Vec<&str> = [store, &folder].into_iter().chain(ports.iter().map(String::as_str)).collect();
        let mut process = Talker::start(program, &words)?;
        let access_secs = number(&process.line()?, "access_secs");
        Ok(Self { process, access_secs })
    }

    pub(super) fn ask(&mut self, what: &str, facts: &Value) -> Outcome<Value> {
        self.process.carry_out(what, &json!({ what: facts }))
    }

    /// Ends it as an operator does.
    pub(super) fn close(self) -> Outcome {
        self.process.close()
    }
}

/// A number that is a member of an object; none is 0.
pub(super) fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// A string member of an object.
pub(super) fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The load.
#[derive(Debug)]
pub(super) struct Load(Talker);

/// Whom it asks, and how.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) name: String,
    /// `tcp:…` or `unix:…`.
    pub(super) to: String,
    /// `{n}` in it is a number that no other request of this target has.
    pub(super) request: String,
    pub(super) connections: usize,
    /// That of a good answer.
    pub(super) status: u16,
    /// The folder of the agent's certificate, where it speaks TLS.
    pub(super) identity: Option<PathBuf>,
    /// `host:port` of a tunnel, and whether HTTP/2 is spoken in it.
    pub(super) tunnel: Option<(String, bool)>,
}

/// What came of a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice {
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Load {
    pub(super) fn start(bench: Command) -> Outcome<Self> {
        Talker::start(bench, &["load"]).map(Self)
    }

    /// Opens all connections of a target and asks once over each.
    pub(super) fn open(&mut self, target: &Target) -> Outcome {
        let facts = json!({
            "name": target.name,
            "to": target.to,
            "request": target.request,
            "connections": target.connections,
            "status": target.status.to_string(),
            "identity": target.identity,
            "tunnel": target.tunnel.as_ref().map(|(to, _)| to),
            "http2": target.tunnel.as_ref().map(|(_, is_http2)| is_http2),
        });
        self.0.carry_out(&target.name, &json!({ "open": facts })).map(drop)
    }

    /// Asks once over each connection, opened anew where it was closed meanwhile.
    pub(super) fn freshen(&mut self, target: &str) -> Outcome {
        self.0.carry_out(target, &json!({ "freshen": { "target": target } })).map(drop)
    }

    /// Every connection asks as soon as it was answered, for so long.
    pub(super) fn closed(&mut self, target: &str, millis: u64) -> Outcome<Slice> {
        self.slice(target, &json!({ "closed": { "target": target, "millis": millis } }))
    }

    /// So many requests a second, each timed from when it was due.
    pub(super) fn paced(&mut self, target: &str, rate: u64, millis: u64) -> Outcome<Slice> {
        self.slice(target, &json!({ "paced": { "target": target, "rate": rate, "millis": millis } }))
    }

    /// Several targets at a time, each at its own pace; what came of each, by its name.
    pub(super) fn mixed(&mut self, paces: &[(&str, u64)], millis: u64) -> Outcome<Value> {
        let paces: Vec<Value> =
            paces.iter().map(|(target, rate)| json!({ "target": target, "rate": rate })).collect();
        self.0.carry_out("mixed", &json!({ "mixed": { "paces": paces, "millis": millis } }))
    }

    /// Opens connections that ask nothing.
    pub(super) fn hold(&mut self, target: &str, connections: usize) -> Outcome {
        self.0
            .carry_out(target, &json!({ "hold": { "target": target, "connections": connections } }))
            .map(drop)
    }

    /// Closes a target's connections.
    pub(super) fn close(&mut self, target: &str) -> Outcome {
        self.0.carry_out(target, &json!({ "drop": { "target": target } })).map(drop)
    }

    fn slice(&mut self, target: &str, command: &Value) -> Outcome<Slice> {
        let said = self.0.carry_out(target, command)?;
        let number = |name: &str| said.get(name).and_then(Value::as_u64).unwrap_or_default();
        let micros = |name: &str| said.get(name).and_then(Value::as_f64).unwrap_or_default();
        let (requests, failed) = (number("requests"), number("failed"));
        if requests == 0 || failed * 1000 > requests {
            let why = said.get("why").and_then(Value::as_str).unwrap_or_default();
            return Err(Fault::one(format!(
                "bench: {failed} of {requests} asked of `{target}` failed: {why}"
            )));
        }
        Ok(Slice { requests, bytes: number("bytes"), p50_us: micros("p50_us"), p99_us: micros("p99_us") })
    }
}
