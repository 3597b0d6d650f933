//! What a program in the sandbox does not see: where credentials lie in a home folder, and the sockets of
//! whoever would act for the user when asked.
//!
//! The list names places of well-known programs. It is no proof that nothing else in a home folder is secret: an
//! export in a shell's start-up file is not found. What is on the list is hidden whatever lies there.

use super::mounts::{self, Mount};
use std::{
    collections::VecDeque,
    fs,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

/// Below the home folder.
const IN_HOME: &[&str] = &[
    // Passwords and tokens that many programs read.
    ".netrc",
    "_netrc",
    ".git-credentials",
    ".config/git/credentials",
    ".authinfo",
    ".authinfo.gpg",
    ".subversion/auth",
    ".ngrok2",
    ".config/ngrok",
    ".sentryclirc",
    ".password-store",
    ".pgpass",
    ".my.cnf",
    ".mylogin.cnf",
    // Keys, and the agents that hold them.
    ".ssh",
    ".gnupg",
    ".config/age",
    ".config/sops",
    ".pki",
    ".local/share/keyrings",
    ".local/share/kwalletd",
    ".local/share/mkcert",
    ".mitmproxy",
    ".config/solana",
    ".1password",
    ".config/1Password",
    ".config/op",
    ".config/Bitwarden",
    ".config/Bitwarden CLI",
    ".vault-token",
    // Clouds.
    ".aws",
    ".azure",
    ".config/gcloud",
    ".boto",
    ".gsutil",
    ".s3cfg",
    ".config/rclone",
    ".oci",
    ".aliyun",
    ".bluemix",
    ".config/doctl",
    ".config/hcloud",
    ".config/linode-cli",
    ".config/scw",
    ".config/heroku",
    ".fly",
    ".config/fly",
    ".config/netlify",
    ".netlify",
    ".vercel",
    ".config/vercel",
    ".local/share/com.vercel.cli",
    ".wrangler",
    ".config/.wrangler",
    ".cloudflared",
    ".config/stripe",
    ".databrickscfg",
    ".snowflake",
    ".kaggle",
    ".terraform.d",
    ".terraformrc",
    ".pulumi",
    // Containers and clusters.
    ".docker",
    ".config/containers",
    ".kube",
    ".config/helm",
    ".minikube",
    // Forges and registries.
    ".config/gh",
    ".config/hub",
    ".config/glab-cli",
    ".config/tea",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".config/configstore",
    ".pypirc",
    ".config/pip",
    ".pip",
    ".config/pypoetry",
    ".local/share/uv/credentials",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".bundle/config",
    ".m2/settings.xml",
    ".m2/settings-security.xml",
    ".gradle/gradle.properties",
    ".composer/auth.json",
    ".config/composer/auth.json",
    ".nuget/NuGet",
    ".config/NuGet",
    ".huggingface",
    ".cache/huggingface/token",
    ".cache/huggingface/stored_tokens",
    // What agents keep of their own logins.
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".claude.json",
    ".local/share/opencode/auth.json",
    ".gemini/oauth_creds.json",
    ".config/github-copilot",
    // Browsers and chats: cookies and stored passwords.
    ".mozilla",
    ".thunderbird",
    ".config/google-chrome",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/microsoft-edge",
    ".config/Slack",
    ".config/discord",
    ".config/Signal",
    ".var/app",
    "snap",
    // The display's keys, and what was typed before.
    ".Xauthority",
    ".ICEauthority",
    ".bash_history",
    ".zsh_history",
    ".python_history",
    ".node_repl_history",
    ".psql_history",
    ".mysql_history",
    ".rediscli_history",
    ".local/share/fish/fish_history",
    ".local/share/atuin",
    ".viminfo",
];

/// Folders whose owners are other programs, and where sockets lie: they are replaced by empty ones.
pub(super) const COVERED: &[&str] = &["/tmp", "/var/tmp", "/run", "/dev/shm"];

/// What there is of the list, and of `more`, by its real name and wherever else a mount shows it. What lies below
/// another is left out.
pub(super) fn existing(
    home: &Path,
    configuration: &Path,
    more: &[PathBuf],
    mounts: &[Mount],
) -> Vec<PathBuf> {
    let all = listed(home, configuration, more).into_iter();
    let mut found: Vec<PathBuf> = all.filter_map(|path| fs::canonicalize(path).ok()).collect();
    let other: Vec<PathBuf> = found.iter().flat_map(|path| mounts::elsewhere(mounts, path)).collect();
    found.extend(other.into_iter().filter(|path| path.exists()));
    found.sort();
    found.dedup();
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in found {
        if !kept.iter().any(|above| path.starts_with(above)) {
            kept.push(path);
        }
    }
    kept
}

/// The list, and `more`, whether or not it is there: by the names that programs will use, and by those to which links
/// lead on the way.
pub(super) fn coming(home: &Path, configuration: &Path, more: &[PathBuf]) -> Vec<PathBuf> {
    let mut all = listed(home, configuration, more);
    let real: Vec<PathBuf> = all.iter().map(|path| as_far_as_there(path)).collect();
    all.extend(real);
    all.sort();
    all.dedup();
    all
}

fn listed(home: &Path, configuration: &Path, more: &[PathBuf]) -> Vec<PathBuf> {
    let in_home = IN_HOME.iter().map(|name| home.join(name));
    let moved = IN_HOME.iter().filter_map(|name| Some(configuration.join(name.strip_prefix(".config/")?)));
    in_home.chain(moved).chain(more.iter().cloned()).collect()
}

/// The real name of the part of a path that is there, and the rest as it stands.
fn as_far_as_there(path: &Path) -> PathBuf {
    let real = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        Some(fs::canonicalize(above).ok()?.components().chain(rest.components()).collect())
    });
    real.unwrap_or_else(|| path.to_owned())
}

/// How many entries of a home folder, and of the working folder, are looked at for sockets; that many take some tenths
/// of a second.
const LOOKED_AT_MAX: usize = 50_000;

/// The Unix sockets that lie in the file system: those that the kernel lists for this network namespace, and what
/// lies in the home folder under whatever name it has there (a socket may have been renamed, or bound by a relative
/// one), with the named pipes that somebody reads. In the working folder pipes are the program's own matter.
///
/// Whether all was looked at comes with them. What lies in the working folder is looked at by itself: however much of
/// it earlier runs made there, it is not at the cost of the rest.
pub(super) fn sockets(
    home: &Path,
    work: &Path,
    hidden: &[PathBuf],
    mounts: &[Mount],
) -> (Vec<PathBuf>, bool) {
    let table = fs::read("/proc/net/unix").unwrap_or_default();
    let mut paths = in_table(&String::from_utf8_lossy(&table));
    paths.retain(|path| fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()));
    let (mut whole, within) = (true, work.starts_with(home).then_some(work));
    for folder in [home].into_iter().chain(within) {
        let (found, all) = lying(folder, work, hidden, LOOKED_AT_MAX);
        paths.extend(found);
        whole &= all;
    }
    let other: Vec<PathBuf> = paths.iter().flat_map(|path| mounts::elsewhere(mounts, path)).collect();
    paths.extend(other.into_iter().filter(|path| path.exists()));
    paths.sort();
    paths.dedup();
    (paths, whole)
}

/// Sockets and pipes below `folder`, those near it first and those in another working folder left out; and whether
/// at most `max` entries were all.
fn lying(folder: &Path, work: &Path, hidden: &[PathBuf], max: usize) -> (Vec<PathBuf>, bool) {
    let (in_work, mut folders) = (folder == work, VecDeque::from([folder.to_owned()]));
    let (mut found, mut looked_at) = (Vec::new(), 0);
    while let Some(folder) = folders.pop_front() {
        for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            if looked_at == max {
                return (found, false);
            }
            looked_at += 1;
            let (Ok(kind), path) = (entry.file_type(), entry.path()) else { continue };
            if kind.is_dir() && !hidden.contains(&path) && path != work {
                folders.push_back(path);
            } else if kind.is_socket() || (kind.is_fifo() && !in_work) {
                found.push(path);
            }
        }
    }
    (found, true)
}

/// Num, RefCount, Protocol, Flags, Type, St, Inode, Path (proc(5)); `@` begins an abstract name.
fn in_table(table: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let at = line.find(" /")?;
        line.get(at + 1..).map(PathBuf::from)
    };
    let mut paths: Vec<PathBuf> = table.lines().filter_map(path).collect();
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    //! Proves that what is hidden is found by its real name, once, and that sockets are read with their spaces.

    use super::{coming, existing, in_table, lying};
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
        path::{Path, PathBuf},
    };

    #[test]
    fn what_is_there_is_hidden_by_its_real_name_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        fs::create_dir_all(home.join("dotfiles/aws")).unwrap();
        fs::create_dir_all(home.join(".docker/run")).unwrap();
        symlink("dotfiles/aws", home.join(".aws")).unwrap();
        fs::create_dir_all(home.join("elsewhere/gh")).unwrap();
        let more = [home.join(".docker/run"), home.join("absent")];
        let expected = [".docker", "dotfiles/aws", "elsewhere/gh"].map(|name| home.join(name));
        assert_eq!(existing(&home, &home.join("elsewhere"), &more, &[]), expected);
    }

    #[test]
    fn sockets_and_pipes_are_found_whatever_they_are_called() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        for path in ["deep/er", "work", "hidden"] {
            fs::create_dir_all(home.join(path)).unwrap();
        }
        for path in ["deep/er/bound", "work/bound", "hidden/bound"] {
            let _socket = UnixListener::bind(home.join(path)).unwrap();
        }
        fs::rename(home.join("deep/er/bound"), home.join("deep/er/renamed")).unwrap();
        let mode = Mode::from_raw_mode(0o600);
        for path in ["deep/pipe", "work/pipe"] {
            mknodat(CWD, home.join(path), FileType::Fifo, mode, 0).unwrap();
        }
        fs::write(home.join("deep/file"), "").unwrap();
        let (work, hidden) = (home.join("work"), [home.join("hidden")]);
        let (mut found, whole) = lying(&home, &work, &hidden, 100);
        found.sort();
        assert_eq!(
            (found, whole),
            (["deep/er/renamed", "deep/pipe"].map(|name| home.join(name)).into(), true)
        );
        assert_eq!(lying(&work, &work, &hidden, 100), (vec![work.join("bound")], true));
    }

    #[test]
    fn what_earlier_runs_left_in_the_working_folder_hides_no_socket_and_what_is_not_looked_at_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        let work = home.join("work");
        for path in ["work/deep", "other/deep"] {
            fs::create_dir_all(home.join(path)).unwrap();
        }
        (0..20).for_each(|name| fs::write(work.join(name.to_string()), "").unwrap());
        let _socket = UnixListener::bind(home.join("other/deep/bound")).unwrap();
        assert_eq!(lying(&home, &work, &[], 10), (vec![home.join("other/deep/bound")], true));
        assert_eq!(lying(&home, &work, &[], 4), (vec![home.join("other/deep/bound")], true));
        assert_eq!(lying(&home, &work, &[], 3), (Vec::new(), false));
        assert!(!lying(&work, &work, &[], 10).1);
    }

    #[test]
    fn what_may_come_is_known_by_its_name_and_by_its_real_one() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        fs::create_dir_all(home.join("dotfiles/config")).unwrap();
        symlink("dotfiles/config", home.join(".config")).unwrap();
        let coming = coming(&home, &home.join("moved"), &[home.join("named/later")]);
        for name in [".netrc", ".config/gh", "dotfiles/config/gh", "moved/gh", "named/later"] {
            assert!(coming.contains(&home.join(name)), "{name}");
        }
    }

    #[test]
    fn sockets_are_read_with_their_spaces_and_abstract_ones_are_not() {
        let table = "Num RefCount Protocol Flags Type St Inode Path\n\
            0000: 00000002 00000000 00010000 0001 01 1 /run/user/1000/bus\n\
            0000: 00000002 00000000 00010000 0001 01 2 /home/a b/agent.sock\n\
            0000: 00000002 00000000 00010000 0001 01 3 @/tmp/.X11-unix/X0\n\
            0000: 00000003 00000000 00000000 0001 03 4\n";
        let expected = [Path::new("/home/a b/agent.sock"), Path::new("/run/user/1000/bus")];
        assert_eq!(in_table(table), expected.map(PathBuf::from));
    }
}
