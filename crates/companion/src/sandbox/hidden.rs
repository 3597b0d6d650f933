//! What a program in the sandbox does not see: where credentials lie in a home folder, and the sockets of
//! whoever would act for the user when asked.
//!
//! The list names places of well-known programs. It is no proof that nothing else in a home folder is secret: an
//! export in a shell's start-up file is not found. What is on the list is hidden whatever lies there.

use std::{
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
];

/// Folders whose owners are other programs, and where sockets lie: they are replaced by empty ones.
pub(super) const COVERED: &[&str] = &["/tmp", "/var/tmp", "/run", "/dev/shm"];

/// What there is of the list, and of `more`, by its real name. What lies below another is left out.
pub(super) fn existing(home: &Path, configuration: &Path, more: &[PathBuf]) -> Vec<PathBuf> {
    let listed = IN_HOME.iter().map(|name| home.join(name));
    let moved = IN_HOME.iter().filter_map(|name| Some(configuration.join(name.strip_prefix(".config/")?)));
    let all = listed.chain(moved).chain(more.iter().cloned());
    let mut found: Vec<PathBuf> = all.filter_map(|path| fs::canonicalize(path).ok()).collect();
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

/// The Unix sockets that lie in the file system, as the kernel lists them for this network namespace.
pub(super) fn sockets() -> Vec<PathBuf> {
    let table = fs::read("/proc/net/unix").unwrap_or_default();
    let mut paths = listed(&String::from_utf8_lossy(&table));
    paths.retain(|path| fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()));
    paths
}

/// Num, RefCount, Protocol, Flags, Type, St, Inode, Path (proc(5)); `@` begins an abstract name.
fn listed(table: &str) -> Vec<PathBuf> {
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

    use super::{existing, listed};
    use std::{
        fs,
        os::unix::fs::symlink,
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
        assert_eq!(existing(&home, &home.join("elsewhere"), &more), expected);
    }

    #[test]
    fn sockets_are_read_with_their_spaces_and_abstract_ones_are_not() {
        let table = "Num RefCount Protocol Flags Type St Inode Path\n\
            0000: 00000002 00000000 00010000 0001 01 1 /run/user/1000/bus\n\
            0000: 00000002 00000000 00010000 0001 01 2 /home/a b/agent.sock\n\
            0000: 00000002 00000000 00010000 0001 01 3 @/tmp/.X11-unix/X0\n\
            0000: 00000003 00000000 00000000 0001 03 4\n";
        let expected = [Path::new("/home/a b/agent.sock"), Path::new("/run/user/1000/bus")];
        assert_eq!(listed(table), expected.map(PathBuf::from));
    }
}
