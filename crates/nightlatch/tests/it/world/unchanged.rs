//! Programs that know nothing of us, run as their users run them: under `nightlatch run`, in a folder of their own.
//!
//! What they had in memory and environment when they ended is noted by the installation's oracle, which looks for
//! secrets when the test ends; here is only what shows that it looked at the right thing.

use super::{
    connect::finished,
    http,
    human::{Browser, Landed},
    install::Install,
    parts::{folders, parts},
    upstream::{Behind, Upstream},
};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A repository at GitHub, as the tests have it: the API, git, and an account that is connected by a key.
pub(crate) struct GitHub {
    pub(crate) install: Install,
    pub(crate) api: Upstream,
    pub(crate) git: Upstream,
    /// The name of a repository of this test's own, at git.
    pub(crate) repository: &'static str,
    key: &'static str,
}

/// What git's server tells of a repository.
#[derive(Debug, Deserialize)]
pub(crate) struct Told {
    pub(crate) served: u64,
    pub(crate) refused: u64,
    pub(crate) subjects: Vec<String>,
}

impl GitHub {
    /// `key` opens the account, and at git nothing but `dana/REPOSITORY`.
    pub(crate) async fn connected(repository: &'static str, key: &'static str) -> Self {
        let api = Upstream::start("api.github.com", Behind::server(&parts().emulate.github));
        let git = Upstream::start("github.com", Behind::server(&parts().git.base));
        let made = serde_json::json!({ "owner": "dana", "name": repository, "credential": key });
        let made = http::post_json(&format!("{}/repositories", parts().git.admin), &made).await;
        assert!(made.status.is_success(), "no repository: {}", made.text());
        let install = Install::started(&format!("{}{}", api.config(), git.config())).await;
        install.json_with(&["connect", "github", "--key"], key, &[]);
        let github = Self { install, api, git, repository, key };
        github.api.forget();
        github
    }

    /// What the API is to get.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }

    /// What git's server is to get.
    pub(crate) fn basic(&self) -> String {
        basic("x-access-token", self.key)
    }

    /// What git's server tells.
    pub(crate) async fn told(&self) -> Told {
        let name = self.repository;
        http::get(&format!("{}/repository?name=dana/{name}", parts().git.admin)).await.json()
    }
}

/// An `Authorization` header of user and password.
pub(crate) fn basic(user: &str, password: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// What `run` shuts a program in with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Walls {
    /// The best that this machine gives; with namespaces, nobody else can reach the proxy.
    Best,
    /// None, so that the proxy is reached with a password, which each client must send.
    None,
}

impl Walls {
    pub(crate) const EACH: [Self; 2] = [Self::Best, Self::None];

    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Best => &[],
            Self::None => &["--unconfined"],
        }
    }
}

/// How a program ended, and what it had in memory then.
pub(crate) struct Ran {
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    memories: Vec<(String, Vec<u8>)>,
    /// The reference, as the variable had it that it was given in.
    pub(crate) reference: String,
}

impl Ran {
    /// The lines of JSON that it printed.
    pub(crate) fn told<T: serde::de::DeserializeOwned>(&self) -> Vec<T> {
        let lines = self.stdout.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Fails unless the process of this name was looked into while it held its reference: a scan that sees
    /// nothing proves nothing.
    pub(crate) fn assert_looked_into(&self, name: &str) {
        let mut memories = self.memories.iter().filter(|(own, _)| own == name);
        let held = |memory: &[u8]| memchr::memmem::find(memory, self.reference.as_bytes()).is_some();
        let names: Vec<_> = self.memories.iter().map(|(own, _)| own).collect();
        assert!(memories.any(|(_, memory)| held(memory)), "no memory of `{name}` among {names:?}\n{self}");
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ok: {}\n{}\n{}", self.ok, self.stdout, self.stderr)
    }
}

/// A script of the programs that the tests run.
pub(crate) fn script(name: &str) -> String {
    program(&parts().agents.scripts, name)
}

/// The Python of the agents.
pub(crate) fn python() -> String {
    program(&parts().agents.bin, "python")
}

/// A script for it, of which it writes no compiled form beside it.
pub(crate) fn python_script(name: &str) -> [String; 3] {
    [python(), "-B".to_owned(), script(name)]
}

/// A program of the parts.
pub(crate) fn program(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("a path of text").to_owned()
}

impl Install {
    /// Connects an account by OAuth at a public provider whose login page is answered at `login` on this machine.
    pub(crate) async fn connect_at(&self, tool: &str, public: &str, login: &str) {
        let client = ("desktop.client.test", "canary-client-secret-4c7a1e9b");
        let (child, address) = self.begin_oauth(tool, client, &[], "/oauth/start/");
        let mut browser = Browser::of("dana@example.com", "any").stopping_before(public);
        let Landed::Before(at_provider) = browser.open(&address).await else {
            panic!("the browser was not sent to {public}")
        };
        let Landed::Page(page) = browser.open(&at_provider.replacen(public, login, 1)).await else {
            panic!("the browser stopped on its way")
        };
        let ended = finished(child).await;
        assert!(page.status.is_success() && ended.status.success(), "{}\n{}", page.text(), ended.stderr);
    }

    /// Runs a program with one grant in the folder `here` of the installation, and waits for its end. `variable` is
    /// the one that it finds its reference in.
    pub(crate) fn run_unchanged(
        &self,
        here: &str,
        (grant, walls): (&str, Walls),
        variable: &str,
        words: &[&str],
    ) -> Ran {
        self.run_watched(here, &[&["--grant", grant], walls.options()].concat(), variable, words)
    }

    /// The same in a task that is there already.
    pub(crate) fn run_watched(&self, here: &str, options: &[&str], variable: &str, words: &[&str]) -> Ran {
        let here = self.work(here);
        fs::create_dir_all(&here).expect("a folder");
        let dumps = here.join("memory");
        let up = self.up_command();
        let mut command = Command::new(up.get_program());
        command.env_clear().envs(up.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.arg("run").args(options).args(["--", "sh", "-c", "cd \"$0\" && exec \"$@\""]).arg(&here);
        command.args(python_script("watched.py")).arg(&dumps).args(words);
        let output = command.current_dir(folders().1).stdin(Stdio::null()).output().expect("`run` starts");
        self.note_printed(&output.stdout);
        self.note_printed(&output.stderr);
        let ran = Ran {
            ok: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            memories: kept(&dumps, ".memory"),
            reference: String::new(),
        };
        for (name, bytes) in ran.memories.iter().chain(&kept(&dumps, ".environ")) {
            self.oracle.note(&format!("what `{name}` had in memory"), bytes);
        }
        let reference = value_of(variable, &kept(&dumps, ".environ"));
        // Some hundred megabytes, which the oracle has by now.
        fs::remove_dir_all(&dumps).expect("it was ours");
        Ran { reference: reference.unwrap_or_else(|| panic!("`{variable}` is not set\n{ran}")), ..ran }
    }

    /// A folder for one program of this installation. It is below the parts, which are the working folder of `run`:
    /// what lies elsewhere may be hidden from the program, as all folders for temporary files are.
    pub(crate) fn work(&self, here: &str) -> PathBuf {
        folders().0.join("unchanged").join(self.root().file_name().expect("a name")).join(here)
    }
}

/// What was kept of every process, by the process's name.
fn kept(dumps: &Path, kind: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(dumps).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = files.filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(kind)?.split_once('-')?.1.to_owned();
        Some((name, fs::read(&path).ok()?))
    });
    named.collect()
}

fn value_of(variable: &str, environments: &[(String, Vec<u8>)]) -> Option<String> {
    let lines = environments.iter().flat_map(|(_, environment)| environment.split(|byte| *byte == 0));
    let mut values = lines.filter_map(|line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
        (name == variable && !value.is_empty()).then(|| value.to_owned())
    });
    values.next()
}
