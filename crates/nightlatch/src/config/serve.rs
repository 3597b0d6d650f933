//! What `serve` is told: all that `nightlatch.toml` knows, and who the others are.

use super::{Config, ConfigError, KEYS, Keys, at};
use nightlatch_custody::link::Trusted;
use nightlatch_domain::{ports::mailbox::Role, tool::Name};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};
use toml::Spanned;

/// The keys that only this file knows, by table.
const MORE: &Keys<'static> = &[
    ("", &["name", "data", "database", "peer", "control"]),
    ("database", &["address", "password_file", "ca_file"]),
    ("peer", &["role", "key"]),
    ("control", &["gateway_url", "gateway_pin"]),
    ("keeper", &["state"]),
];
/// And one that it does not: metrics are read by [`super::Config`]'s own file alone.
const NOT_HERE: [&str; 1] = ["metrics"];

/// The configuration of one process.
#[derive(Debug)]
pub(crate) struct ServeConfig {
    /// What its operator calls it.
    pub(crate) name: Name,
    /// A folder of its own.
    pub(crate) data: PathBuf,
    /// The database that all share.
    pub(crate) database: Database,
    /// Whose letters it reads.
    pub(crate) trusted: Trusted,
    /// Where the keeper's log lies; the user's own state folder where it is not said.
    pub(crate) state: Option<PathBuf>,
    /// What control tells of the gateways: their address and their key, `sha256//…`.
    pub(crate) gateways: Option<(String, String)>,
    /// All that one machine's file says too.
    pub(crate) house: Config,
}

/// Where the database is.
#[derive(Debug)]
pub(crate) struct Database {
    /// Whom to log in as, and where. Bears no password.
    pub(crate) address: String,
    /// The file that holds the password.
    pub(crate) password_file: Option<PathBuf>,
    /// The file of the certificates that vouch for it.
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Raw {
    name: Name,
    data: Spanned<PathBuf>,
    database: RawDatabase,
    #[serde(default)]
    peer: Vec<Spanned<RawPeer>>,
    #[serde(default)]
    keeper: RawKeeper,
    control: Option<RawControl>,
}

#[derive(Debug, Deserialize)]
struct RawDatabase {
    address: String,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct RawPeer {
    role: Role,
    key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawKeeper {
    state: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
struct RawControl {
    gateway_url: String,
    gateway_pin: Spanned<String>,
}

impl ServeConfig {
    /// Reads a file.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|error| in_file(path, error))
    }

    fn parse(text: &str) -> Result<Self, ConfigError> {
        let keys = keys();
        let keys: Vec<(&str, &[&str])> = keys.iter().map(|(table, keys)| (*table, keys.as_slice())).collect();
        super::check(text, &keys)?;
        let raw: Raw = toml::from_str(text).map_err(|error| at(text, error.span(), error.message()))?;
        let data = whole(text, "data", &raw.data)?;
        let house = Config::parse_with(text, &data, &keys)?;
        let mut trusted = Trusted::default();
        for peer in &raw.peer {
            let RawPeer { role, key } = peer.get_ref();
            let added = trusted.add(*role, key);
            added.map_err(|error| at(text, Some(peer.span()), &error.to_string()))?;
        }
        let state =
            raw.keeper.state.as_ref().map(|state| whole(text, "[keeper] state", state)).transpose()?;
        if let (Some(state), Some(span)) = (&state, raw.keeper.state.as_ref().map(Spanned::span))
            && state.starts_with(&data)
        {
            let message =
                "`[keeper] state` must lie outside of `data`: a copy of that folder must not hold the log";
            return Err(at(text, Some(span), message));
        }
        let gateways = raw.control.map(|control| control.read(text)).transpose()?;
        let password_file = raw.database.password_file.map(|file| data.join(file));
        let ca_file = raw.database.ca_file.map(|file| data.join(file));
        let database = Database { address: raw.database.address, password_file, ca_file };
        Ok(Self { name: raw.name, data, database, trusted, state, gateways, house })
    }
}

impl RawControl {
    fn read(self, text: &str) -> Result<(String, String), ConfigError> {
        let pin = self.gateway_pin.get_ref();
        if pin.len() != 52 || !pin.starts_with("sha256//") {
            let message =
                "`gateway_pin` is `sha256//` and 44 characters, as `--make-keys` prints it at a gateway";
            return Err(at(text, Some(self.gateway_pin.span()), message));
        }
        Ok((self.gateway_url, self.gateway_pin.into_inner()))
    }
}

/// What this file's tables know, those of the other file included.
fn keys() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut all: Vec<(&str, Vec<&str>)> = KEYS.iter().map(|(table, keys)| (*table, keys.to_vec())).collect();
    for (table, more) in MORE {
        match all.iter_mut().find(|(known, _)| known == table) {
            Some((_, keys)) => keys.extend(*more),
            None => all.push((table, more.to_vec())),
        }
    }
    all.iter_mut().for_each(|(_, keys)| keys.retain(|key| !NOT_HERE.contains(key)));
    all
}

fn whole(text: &str, name: &str, path: &Spanned<PathBuf>) -> Result<PathBuf, ConfigError> {
    if path.get_ref().is_absolute() {
        return Ok(path.get_ref().clone());
    }
    let message = format!("`{name}` must be a whole path: write `/srv/nightlatch/…`");
    Err(at(text, Some(path.span()), &message))
}

/// The same error, said of this file.
fn in_file(path: &Path, error: ConfigError) -> ConfigError {
    let said = match error {
        ConfigError::At { line, message } => format!(":{line}: {message}"),
        ConfigError::Entry { message } => format!(": {message}"),
        other => return other,
    };
    ConfigError::Serve { path: path.to_owned(), said }
}

#[cfg(test)]
mod tests {
    //! The file is taken whole or refused by line, with what to write.

    use super::ServeConfig;
    use std::path::Path;

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn text(more: &str) -> String {
        format!(
            "name = \"keeper-1\"\ndata = \"/srv/k1\"\n[database]\naddress = \"postgres://k@db/n\"\n{more}"
        )
    }

    fn refusal(text: &str) -> String {
        super::in_file(Path::new("k.toml"), ServeConfig::parse(text).unwrap_err()).to_string()
    }

    #[test]
    fn what_the_help_shows_is_read() {
        let more = format!(
            "password_file = \"db.password\"\nca_file = \"db.pem\"\n[[peer]]\nrole = \"gateway\"\nkey = \"{KEY}\"\n[keeper]\nstate = \"/srv/state\"\n\
             [control]\ngateway_url = \"https://g:8443\"\ngateway_pin = \"sha256//{KEY}=\"\n\
             [[map]]\nhost = \"a.example\"\nto = \"127.0.0.1:1\"\n"
        );
        let config = ServeConfig::parse(&text(&more)).unwrap();
        assert_eq!(config.name.as_str(), "keeper-1");
        assert_eq!(config.database.password_file.as_deref(), Some(Path::new("/srv/k1/db.password")));
        assert_eq!(config.database.ca_file.as_deref(), Some(Path::new("/srv/k1/db.pem")));
        assert_eq!(config.state.as_deref(), Some(Path::new("/srv/state")));
        assert_eq!((config.house.egress.maps.len(), config.gateways.is_some()), (1, true));
    }

    #[test]
    fn what_is_wrong_is_refused_by_line_with_what_to_write() {
        for (more, said) in [
            ("[[peer]]\nrole = \"gatway\"\nkey = \"x\"\n", "k.toml:6: "),
            ("[[peer]]\nrole = \"gateway\"\nkey = \"x\"\n", "43 characters"),
            ("[keeper]\nstate = \"state\"\n", "k.toml:6: `[keeper] state` must be a whole path"),
            ("[keeper]\nstate = \"/srv/k1/state\"\n", "outside of `data`"),
            (
                "[control]\ngateway_url = \"u\"\ngateway_pin = \"abc\"\n",
                "k.toml:7: `gateway_pin` is `sha256//`",
            ),
            (
                "pasword_file = \"x\"\n",
                "k.toml:5: `[database]` has no key `pasword_file`: did you mean `password_file`?",
            ),
            ("[metrics]\nlisten = \"127.0.0.1:1\"\n", "k.toml:5: the file has no key `metrics`"),
        ] {
            let refused = refusal(&text(more));
            assert!(refused.contains(said), "{refused}");
        }
        let twice = format!(
            "[[peer]]\nrole = \"gateway\"\nkey = \"{KEY}\"\n[[peer]]\nrole = \"keeper\"\nkey = \"{KEY}\"\n"
        );
        assert!(refusal(&text(&twice)).contains("k.toml:8: a plane's key is"), "a key is of one role");
        assert!(refusal("data = \"/srv\"\n").contains("missing field"));
        assert!(refusal(&text("").replace("/srv/k1", "k1")).starts_with("k.toml:2: `data` must be"));
    }
}
