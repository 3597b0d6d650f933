//! `nightlatch.toml`: what the operator says. Absent, everything has its default.
//!
//! A file is taken whole or refused whole, with the line and what to write: a key that is not known is
//! most often a known one that was mistyped, and a listener that was meant must not be left out in silence.

mod limit;
mod otel;
mod serve;
mod webhook;

use nightlatch_egress::{Allow, EgressConfig, Map};
use nightlatch_gateway::brakes::Rule;
pub(crate) use otel::Otel;
use serde::Deserialize;
pub(crate) use serve::{Database, ServeConfig};
use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    path::{Component, Path, PathBuf},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
pub(crate) use webhook::Webhook;

/// The file's name in the data folder.
pub(crate) const FILE: &str = "nightlatch.toml";

/// Tables and the keys that they know.
type Keys<'a> = [(&'a str, &'a [&'a str])];

/// Those of the data folder's file; the root's name is empty.
const KEYS: &Keys<'static> = &[
    ("", &["gateway", "redirect", "keeper", "map", "allow", "limit", "metrics", "otel", "webhook"]),
    ("gateway", &["listen", "names", "socket", "own_user"]),
    ("redirect", &["listen"]),
    ("keeper", &["refresh_timer"]),
    ("map", &["host", "to", "root", "open"]),
    ("allow", &["host", "address", "open"]),
    ("metrics", &["listen"]),
    ("otel", &["endpoint", "headers", "sample"]),
    ("webhook", &["name", "url"]),
    ("limit", &["of", "name", "per_second", "burst", "at_once"]),
];

/// What is written where there is no file yet.
const FIRST: &str = "\
# nightlatch.toml: read when `nightlatch up` starts. Unknown keys are refused.
#
# [gateway]
# listen = \"127.0.0.1:8443\"
# names = [\"nightlatch.internal\"]  # further host names under which agents may call it
# socket = \"/run/nightlatch/gateway.sock\"  # also over a Unix socket, for users that enrolled there; not in the data folder
# own_user = true                 # there, the user that runs `up` may be an agent too: every program of it is that agent
#
# [redirect]                      # registered at providers: change it before the first login
# listen = \"127.0.0.1:8444\"
#
# [metrics]                       # for collectors on this machine; plain HTTP, so loopback only
# listen = \"127.0.0.1:9464\"
#
# [otel]                          # traces of calls, to a collector of yours by OTLP over HTTP
# endpoint = \"https://otel.example.com\"  # `/v1/traces` is added; plain HTTP on loopback only
# headers = \"otel.headers\"       # a file of yours alone with lines `name: value`, for the collector's key
# sample = 0.1                    # of all calls; absent, each
#
# [[map]]                         # a real host name that is answered elsewhere
# host = \"api.example.com\"
# to = \"10.0.0.5:8443\"
# root = \"example-ca.pem\"         # trusted for this host only
#
# [[allow]]                       # a host that may have a private or loopback address
# host = \"gitlab.internal\"
# address = \"10.1.0.0/16\"
# open = true                     # also for programs that go there by themselves, under `--egress open`; so for [[map]]
#
# [[webhook]]                     # who may be told of the end of a durable call; agents name it, and say no address
# name = \"ci\"
# url = \"https://hooks.example.com/nightlatch\"  # its secret: `nightlatch webhook secret ci`
#
# [[limit]]                       # of calls, each agent's; also of = \"task\", \"connection\" or \"tool\"
# of = \"agent\"
# name = \"laptop\"               # of this one only; a connection is named TOOL/NAME
# per_second = 5                  # 0.1 is six a minute
# burst = 20                      # that may come together
# at_once = 4                     # under way together
";

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Something in it is wrong.
    #[error("{file}:{line}: {message}", file = FILE)]
    At {
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to write.
        message: String,
    },
    /// An entry that is well written does not hold.
    #[error("{file}: {message}", file = FILE)]
    Entry {
        /// What is wrong and what to write.
        message: String,
    },
    /// The same, in a file that `serve` was given.
    #[error("{path}{said}", path = path.display())]
    Serve {
        /// The file.
        path: PathBuf,
        /// The line, what is wrong and what to write.
        said: String,
    },
    /// It cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where the gateway listens; always with TLS.
    pub(crate) gateway: SocketAddr,
    /// Host names besides the loopback ones under which agents may call the gateway.
    pub(crate) names: Vec<String>,
    /// A Unix socket on which the gateway listens too, admitting by the peer's user.
    pub(crate) socket: Option<PathBuf>,
    /// Whether the user that runs this process may be an agent there.
    pub(crate) own_user: bool,
    /// Where redirects are answered; loopback, since it is plain HTTP.
    pub(crate) redirect: SocketAddr,
    /// Whether the keeper refreshes ahead of expiry by its timer; without it, when a call needs it.
    pub(crate) refresh_timer: bool,
    /// What may be reached beyond the public internet.
    pub(crate) egress: EgressConfig,
    /// Where metrics are read; nowhere where it is not said.
    pub(crate) metrics: Option<SocketAddr>,
    /// Where traces of calls go; nowhere where it is not said.
    pub(crate) otel: Option<Otel>,
    /// How often tools may be called, and by whom.
    pub(crate) limits: Vec<Rule>,
    /// Who may be told of the ends of durable calls.
    pub(crate) webhooks: Vec<Webhook>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    gateway: Gateway,
    redirect: Listener,
    keeper: Keeper,
    metrics: Listener,
    otel: Option<Spanned<otel::Raw>>,
    map: Vec<RawMap>,
    allow: Vec<RawAllow>,
    limit: Vec<Spanned<limit::Raw>>,
    webhook: Vec<Spanned<webhook::Raw>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Gateway {
    listen: Option<SocketAddr>,
    names: Vec<String>,
    socket: Option<Spanned<PathBuf>>,
    own_user: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listener {
    listen: Option<Spanned<SocketAddr>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Keeper {
    refresh_timer: Option<Switch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    On,
    Off,
}

#[derive(Debug, Deserialize)]
struct RawMap {
    host: String,
    to: SocketAddr,
    root: Option<PathBuf>,
    #[serde(default)]
    open: bool,
}

#[derive(Debug, Deserialize)]
struct RawAllow {
    host: String,
    address: String,
    #[serde(default)]
    open: bool,
}

impl Config {
    /// Reads the file in the data folder.
    pub(crate) fn load(folder: &Path) -> Result<Self, ConfigError> {
        let path = folder.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::parse("", folder),
            Err(source) => Err(ConfigError::File { path, source }),
        }
    }

    /// Writes the first file, all in comments, where there is none.
    pub(crate) fn write_first(folder: &Path) -> Result<(), crate::place::PlaceError> {
        let path = folder.join(FILE);
        if path.exists() { Ok(()) } else { crate::place::write_whole(&path, FIRST.as_bytes()) }
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        Self::parse_with(text, folder, KEYS)
    }

    fn parse_with(text: &str, folder: &Path, keys: &Keys<'_>) -> Result<Self, ConfigError> {
        check(text, keys)?;
        let raw: Raw = toml::from_str(text).map_err(|error| at(text, error.span(), error.message()))?;
        let redirect = raw
            .redirect
            .listen
            .map_or_else(|| Ok(local(8444)), |listen| loopback(text, "redirect", &listen))?;
        let metrics = raw.metrics.listen.map(|listen| loopback(text, "metrics", &listen)).transpose()?;
        let socket = raw.gateway.socket.as_ref().map(|socket| outside(text, socket, folder)).transpose()?;
        let egress = EgressConfig {
            maps: raw.map.iter().map(|map| map.read(folder)).collect::<Result<_, _>>()?,
            allows: raw.allow.iter().map(RawAllow::read).collect::<Result<_, _>>()?,
        };
        let otel = raw.otel.as_ref().map(|otel| otel::read(text, otel, folder, &egress)).transpose()?;
        Ok(Self {
            socket,
            own_user: raw.gateway.own_user,
            gateway: raw.gateway.listen.unwrap_or_else(|| local(8443)),
            names: raw.gateway.names,
            redirect,
            metrics,
            refresh_timer: raw.keeper.refresh_timer != Some(Switch::Off),
            egress,
            otel,
            webhooks: webhook::read_all(text, &raw.webhook)?,
            limits: raw.limit.iter().map(|limit| limit::read(text, limit)).collect::<Result<_, _>>()?,
        })
    }
}

impl RawMap {
    fn read(&self, folder: &Path) -> Result<Map, ConfigError> {
        let root = self.root.as_ref().map(|root| {
            let path = folder.join(root);
            fs::read(&path).map_err(|source| ConfigError::File { path, source })
        });
        let root = root.transpose()?;
        let map = Map::new(&self.host, self.to, root.as_deref()).map_err(|error| entry(&error))?;
        Ok(if self.open { map.for_open_egress() } else { map })
    }
}

impl RawAllow {
    fn read(&self) -> Result<Allow, ConfigError> {
        let allow = Allow::new(&self.host, &self.address).map_err(|error| entry(&error))?;
        Ok(if self.open { allow.for_open_egress() } else { allow })
    }
}

fn entry(error: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::Entry { message: error.to_string() }
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn loopback(text: &str, name: &str, listen: &Spanned<SocketAddr>) -> Result<SocketAddr, ConfigError> {
    let address = *listen.get_ref();
    if address.ip().is_loopback() {
        return Ok(address);
    }
    let message = format!(
        "`[{name}] listen` is plain HTTP and must be a loopback address: write `127.0.0.1:{}`",
        address.port()
    );
    Err(at(text, Some(listen.span()), &message))
}

/// Who may connect to the socket must not need to see the data folder, and a program in the sandbox of `run`, which
/// hides that folder, must not find its place by it.
fn outside(text: &str, socket: &Spanned<PathBuf>, folder: &Path) -> Result<PathBuf, ConfigError> {
    let path = socket.get_ref();
    let is_plain = path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    if is_plain && !path.starts_with(folder) {
        return Ok(path.clone());
    }
    let message = "`[gateway] socket` must be a whole path outside the data folder: write `/run/nightlatch/gateway.sock`";
    Err(at(text, Some(socket.span()), message))
}

/// Refuses what is no TOML, or has keys that are not known.
fn check(text: &str, keys: &Keys<'_>) -> Result<(), ConfigError> {
    let table = DeTable::parse(text).map_err(|error| at(text, error.span(), error.message()))?;
    known(text, "", table.get_ref(), keys)
}

/// Refuses keys that no table knows, with the nearest that it does.
fn known(text: &str, name: &str, table: &DeTable<'_>, keys: &Keys<'_>) -> Result<(), ConfigError> {
    let known_here = keys.iter().find(|(table, _)| *table == name).map(|(_, keys)| *keys).unwrap_or_default();
    for (key, value) in table {
        let key_text: &str = key.get_ref();
        if !known_here.contains(&key_text) {
            let place = if name.is_empty() { "the file".to_owned() } else { format!("`[{name}]`") };
            let hint = suggestion(key_text, known_here);
            return Err(at(text, Some(key.span()), &format!("{place} has no key `{key_text}`: {hint}")));
        }
        if name.is_empty() {
            of_value(text, key_text, value.get_ref(), keys)?;
        }
    }
    Ok(())
}

fn of_value(text: &str, name: &str, value: &DeValue<'_>, keys: &Keys<'_>) -> Result<(), ConfigError> {
    match value {
        DeValue::Table(table) => known(text, name, table, keys),
        DeValue::Array(entries) => {
            entries.iter().try_for_each(|entry| of_value(text, name, entry.get_ref(), keys))
        }
        _ => Ok(()),
    }
}

/// The known key that shares most letter pairs with what was written, where it shares any.
fn suggestion(word: &str, known: &[&str]) -> String {
    let pairs = |text: &str| -> Vec<(char, char)> { text.chars().zip(text.chars().skip(1)).collect() };
    let own = pairs(word);
    let shared = |other: &str| pairs(other).iter().filter(|pair| own.contains(pair)).count();
    match known.iter().map(|other| (shared(other), *other)).max_by_key(|(count, _)| *count) {
        Some((count, near)) if count > 0 => format!("did you mean `{near}`?"),
        _ => format!(
            "it may hold {}",
            known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
        ),
    }
}

fn at(text: &str, span: Option<Range<usize>>, message: &str) -> ConfigError {
    let start = span.map_or(text.len(), |span| span.start);
    let before = text.as_bytes().get(..start).unwrap_or(text.as_bytes());
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    ConfigError::At { line, message: message.trim().replace('\n', "; ") }
}

#[cfg(test)]
mod tests {
    use super::{Config, ConfigError, FIRST};
    use std::path::Path;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/nowhere"))
    }

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn without_a_file_everything_has_its_default() {
        for text in ["", FIRST] {
            let config = parse(text).unwrap();
            assert_eq!(config.gateway, "127.0.0.1:8443".parse().unwrap());
            assert_eq!(config.redirect, "127.0.0.1:8444".parse().unwrap());
            assert!(config.refresh_timer && config.egress.maps.is_empty() && config.egress.allows.is_empty());
        }
    }

    #[test]
    fn what_the_first_file_shows_in_comments_is_read() {
        let shown: String =
            FIRST.lines().skip(2).map(|line| format!("{}\n", line.trim_start_matches('#'))).collect();
        let shown =
            shown.replace(" root = \"example-ca.pem\"", "").replace(" headers = \"otel.headers\"", "");
        let config = parse(&shown).unwrap();
        assert_eq!((config.egress.maps.len(), config.egress.allows.len(), config.webhooks.len()), (1, 1, 1));
    }

    #[test]
    fn what_tools_may_reach_is_open_to_programs_only_where_it_says_so() {
        let map = "[[map]]\nhost = \"a.example\"\nto = \"127.0.0.1:1\"\n";
        let allow = "[[allow]]\nhost = \"b.example\"\naddress = \"127.0.0.1\"\n";
        let read = |open: &str| parse(&format!("{map}{open}{allow}{open}")).unwrap().egress;
        let [closed, open] = ["", "open = true\n"].map(read);
        assert!(!closed.maps[0].is_for_open_egress() && open.maps[0].is_for_open_egress());
        assert_eq!(closed.allows[0].clone().for_open_egress(), open.allows[0]);
        assert_ne!(closed.allows[0], open.allows[0]);
    }

    #[test]
    fn an_unknown_key_is_named_by_line_with_the_one_that_was_meant() {
        let said = refusal("[gateway]\nlisten = \"127.0.0.1:1\"\n\n[redirect]\nlisen = \"127.0.0.1:2\"\n");
        assert_eq!(said, "nightlatch.toml:5: `[redirect]` has no key `lisen`: did you mean `listen`?");
        let said = refusal("\n[gatway]\nlisten = \"127.0.0.1:1\"\n");
        assert_eq!(said, "nightlatch.toml:2: the file has no key `gatway`: did you mean `gateway`?");
        assert!(
            refusal("[[map]]\nhost = \"a.example\"\nto = \"127.0.0.1:1\"\nzzz = 1\n")
                .contains(":4: `[map]` has no key")
        );
    }

    #[test]
    fn a_half_written_file_is_refused_by_line() {
        assert!(refusal("[gateway]\nlisten = \"127.0").starts_with("nightlatch.toml:2: "));
        assert!(refusal("[gateway]\nlisten = \"127.0.0.1:1\"\n[redir").starts_with("nightlatch.toml:3: "));
    }

    #[test]
    fn a_wrong_value_is_refused_by_line() {
        assert!(refusal("[gateway]\n\nlisten = \"localhost\"\n").starts_with("nightlatch.toml:3: "));
        assert!(refusal("[keeper]\nrefresh_timer = \"maybe\"\n").starts_with("nightlatch.toml:2: "));
        assert!(
            refusal("[[allow]]\nhost = \"a.example\"\naddress = \"x\"\n").contains("no address of a host")
        );
        assert!(refusal("gateway = 1\n").starts_with("nightlatch.toml:1: "));
    }

    #[test]
    fn the_socket_lies_outside_the_data_folder() {
        let read =
            |path: &str| Config::parse(&format!("[gateway]\nsocket = \"{path}\"\n"), Path::new("/srv/data"));
        let config = read("/run/nightlatch/gateway.sock").unwrap();
        assert_eq!(config.socket.as_deref(), Some(Path::new("/run/nightlatch/gateway.sock")));
        assert!(!config.own_user);
        for path in ["gateway.sock", "/srv/data/run/gateway.sock", "/srv/other/../data/gateway.sock"] {
            let said = read(path).unwrap_err().to_string();
            assert!(
                said.starts_with("nightlatch.toml:2: ") && said.contains("outside the data folder"),
                "{said}"
            );
        }
    }

    #[test]
    fn the_redirect_listener_never_leaves_loopback() {
        for address in ["0.0.0.0:8444", "[::]:8444", "192.168.0.1:8444"] {
            let said = refusal(&format!("[redirect]\nlisten = \"{address}\"\n"));
            assert!(said.starts_with("nightlatch.toml:2: ") && said.contains("loopback"), "{said}");
        }
        assert!(parse("[redirect]\nlisten = \"[::1]:8444\"\n").is_ok());
        let said = refusal("[metrics]\nlisten = \"0.0.0.0:9464\"\n");
        assert!(said.contains("`[metrics] listen`") && said.contains("loopback"), "{said}");
        assert!(parse("[metrics]\nlisten = \"127.0.0.1:9464\"\n").unwrap().metrics.is_some());
    }
}
