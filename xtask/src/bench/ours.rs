//! Nightlatch as it is measured beside its peers: one task, a user and a key, two tools, and what may weigh it down.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    child::pinned,
    installation::Installation,
    rivals::{CREDENTIAL, Scene},
};
use crate::machine::{self, Outcome};

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
    pub(super) runs: Runs,
}

/// Under what the program runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Runs {
    /// Nothing.
    Plainly,
    /// An allocator that overwrites what is freed.
    Wiping,
    /// A disk that takes a millisecond longer to sync.
    SlowDisk,
}

impl Runs {
    fn up(self, scene: &Scene<'_>, program: &Path) -> Outcome<Command> {
        let mut up = pinned(scene.core, program);
        match self {
            Self::Plainly => {}
            Self::Wiping => drop(up.env("_RJEM_MALLOC_CONF", "junk:free")),
            Self::SlowDisk => drop(up.env("LD_PRELOAD", slow_sync(scene.folder)?)),
        }
        Ok(up)
    }
}

/// What makes every sync slow, compiled anew: a disk that is slow by itself is not to be had everywhere.
pub(super) fn slow_sync(folder: &Path) -> Outcome<PathBuf> {
    let library = folder.join("slow_sync.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library);
    machine::output(compiler.arg(machine::root()?.join("bench/slow_sync.c")).arg("-ldl"))?;
    Ok(library)
}

/// An installation that is measured beside its peers.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) installation: Installation,
    /// References to the tool over plain HTTP and over TLS.
    pub(super) plain: String,
    pub(super) secure: String,
}

impl Ours {
    /// Sets one up with a user and an agent's key, both of one task.
    pub(super) fn start(scene: &Scene<'_>, program: &Path, twist: Twist) -> Outcome<Self> {
        let up = || twist.runs.up(scene, program);
        let mapped = mapped(scene.https, scene.identity);
        let files = [("policies/bench.cedar", policies(twist.policies))];
        let folder = scene.folder.join(twist.name);
        let installation = Installation::start(up()?, program, &folder, &mapped, &files)?;
        let mut ours = Self { installation, plain: String::new(), secure: String::new() };
        ours.furnish(scene)?;
        if twist.ballast > 0 {
            ours.installation.stopped(up()?, |data| weigh_down(data, twist.ballast))?;
        }
        Ok(ours)
    }

    fn furnish(&mut self, scene: &Scene<'_>) -> Outcome {
        let at = &self.installation;
        for (tool, scheme, address) in [("bench", "http", scene.http), ("benchtls", "https", HOST)] {
            at.add_tool(tool, &manifest(tool, scheme, address))?;
            at.json(&["connect", tool, "--key"], CREDENTIAL.trim_start_matches("Bearer "))?;
        }
        at.open_task()?;
        self.plain = at.granted("bench")?;
        self.secure = at.granted("benchtls")?;
        for _ in 2..GRANTS {
            at.granted("bench")?;
        }
        at.enrol_user()?;
        at.enrol_key(scene.identity)
    }
}

/// Configuration by which the host that stands for the upstream is at this address.
pub(super) fn mapped(https: &str, identity: &Path) -> String {
    let root = identity.join("ca.pem");
    format!("[[map]]\nhost = \"{HOST}\"\nto = \"{https}\"\nroot = \"{}\"\n", root.display())
}

/// Puts rows into the database while nobody serves it.
fn weigh_down(data: &Path, rows: usize) -> Outcome {
    let script = machine::root()?.join("bench/ballast.py");
    let mut python = Command::new("python3");
    machine::output(python.arg(script).arg(data.join("db.sqlite")).arg(rows.to_string())).map(drop)
}

/// A manifest of the upstream, as an operator would write it.
pub(super) fn manifest(tool: &str, scheme: &str, address: &str) -> String {
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
pub(super) fn policies(count: usize) -> String {
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
