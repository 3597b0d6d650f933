//! The environment variables under which a program looks for a tool's credential.
//!
//! `run` sets each to the grant's reference, so that a program that knows nothing of us finds something to
//! send. A manifest may be an operator's own, and the reference's shape is the manifest's too: a name that
//! steers a program (`PATH`, `LD_PRELOAD`, `NODE_OPTIONS`) would make data into code. No list of such names
//! is ever whole, so the rule is turned round: only a name that ends like a credential's is taken, and of
//! those none that belongs to a family which steers.

/// The most names in one manifest.
pub(super) const LIMIT: usize = 8;

/// The longest name.
const NAME_LIMIT_BYTES: usize = 64;

/// What the name of a credential ends with, as a word of its own or grown together (`PGPASSWORD`).
const ENDINGS: &[&str] = &["TOKEN", "KEY", "SECRET", "PASSWORD", "_PAT"];

/// Families that steer a program whatever they end with: the loader's, git's (`GIT_SSL_KEY` is a file), an
/// interpreter's, npm's configuration, TLS and SSH files, the session's, and our own.
const STEERING: &[&str] = &[
    "BASH",
    "CURL",
    "DBUS_",
    "DYLD_",
    "GIT_",
    "JAVA_",
    "LD_",
    "NIGHTLATCH_",
    "NPM_CONFIG",
    "OPENSSL",
    "PERL",
    "PYTHON",
    "RUBY",
    "SSH",
    "SSL",
    "XDG_",
];

/// Why a name may not be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// It is no name that may stand here at all.
    #[error(
        "`{0}` is no name of an environment variable here: write 1 to {NAME_LIMIT_BYTES} of `A` to `Z`, `0` to `9` and `_`, a letter first"
    )]
    Malformed(String),
    /// It may steer a program.
    #[error(
        "`{0}` may steer a program and is never set: name the variable that holds the credential, ending in `TOKEN`, `KEY`, `SECRET`, `PASSWORD` or `_PAT`"
    )]
    Steers(String),
}

/// A name that `run` may set to a reference.
pub(super) fn variable(text: &str) -> Result<String, EnvironmentError> {
    let inner = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let sound = text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.len() <= NAME_LIMIT_BYTES
        && text.bytes().all(inner);
    if !sound {
        return Err(EnvironmentError::Malformed(text.chars().take(80).collect()));
    }
    let names_credential = ENDINGS.iter().any(|ending| text.ends_with(ending));
    let steers = STEERING.iter().any(|family| text.starts_with(family));
    match names_credential && !steers {
        true => Ok(text.to_owned()),
        false => Err(EnvironmentError::Steers(text.to_owned())),
    }
}

#[cfg(test)]
mod tests;
