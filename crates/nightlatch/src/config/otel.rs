//! `[otel]`: where traces of calls go, and how many.
//!
//! What goes there leaves this machine's gateway for somebody's database, by a connection that the operator asked for
//! with this table alone. So a literal address, or `localhost`, is allowed by being written here; what a name resolves
//! to is judged like any other, and `[[map]]` and `[[allow]]` of that host hold. Plain HTTP stays on this machine.

use super::{ConfigError, at, entry};
use crate::place::ours_alone;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use nightlatch_domain::tool::Scheme;
use nightlatch_egress::{Allow, Destination, EgressConfig};
use serde::Deserialize;
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};
use toml::Spanned;
use zeroize::Zeroizing;

/// OTLP 1.x: what is added to a collector's address for traces.
const PATH: &str = "/v1/traces";
/// A collector's key, and something that says whose traces they are.
const HEADERS_MAX: usize = 16;
/// What the exporter says itself, or HTTP does.
const OURS: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
];

/// Where traces go.
#[derive(Debug)]
pub(crate) struct Otel {
    /// The collector.
    pub(crate) to: Destination,
    /// The path of its traces.
    pub(crate) path: String,
    /// What it wants to be told, its key as a rule.
    pub(crate) headers: HeaderMap,
    /// Of all calls, from 0 to 1.
    pub(crate) sample: f64,
    /// What may be dialled for it.
    pub(crate) egress: EgressConfig,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    endpoint: Option<Spanned<String>>,
    headers: Option<PathBuf>,
    sample: Spanned<f64>,
}

impl Default for Raw {
    fn default() -> Self {
        Self { endpoint: None, headers: None, sample: Spanned::new(0..0, 1.0) }
    }
}

/// What the table says; none where there is no endpoint in it. `egress` is what the operator says of all ways out.
pub(super) fn read(
    text: &str,
    raw: &Spanned<Raw>,
    folder: &Path,
    egress: &EgressConfig,
) -> Result<Otel, ConfigError> {
    let wrong = |span, message: &str| at(text, Some(span), message);
    let table = raw.get_ref();
    let missing = "`[otel]` says nothing without an endpoint: write `endpoint = \"https://…\"`";
    let endpoint = table.endpoint.as_ref().ok_or_else(|| wrong(raw.span(), missing))?;
    let (to, path) = destination(endpoint.get_ref()).map_err(|message| wrong(endpoint.span(), message))?;
    let sample = *table.sample.get_ref();
    if !(0.0..=1.0).contains(&sample) {
        return Err(wrong(table.sample.span(), "`[otel] sample` is a part of all calls: write 0 to 1"));
    }
    let headers = table.headers.as_ref().map(|file| headers(&folder.join(file))).transpose()?;
    let egress = EgressConfig { maps: egress.maps.clone(), allows: allowed(&to, egress)? };
    Ok(Otel { to, path, headers: headers.unwrap_or_default(), sample, egress })
}

fn destination(endpoint: &str) -> Result<(Destination, String), &'static str> {
    let odd =
        "`[otel] endpoint` is no address of a collector: write `https://otel.example.com`, without a query";
    let url: Uri = endpoint.parse().map_err(|_| odd)?;
    let to = Destination::of_url(&url).map_err(|_| odd)?;
    if url.query().is_some() || endpoint.contains('#') {
        return Err(odd);
    }
    if to.scheme() == Scheme::Http && !is_here(&to) {
        return Err(
            "`[otel] endpoint` is plain HTTP and must be a loopback address: write `https://…` or `http://127.0.0.1:4318`",
        );
    }
    Ok((to, format!("{}{PATH}", url.path().trim_end_matches('/'))))
}

fn is_here(to: &Destination) -> bool {
    to.host() == "localhost" || to.literal().is_some_and(|address| address.is_loopback())
}

/// What the operator allows its host, and what naming it allows.
fn allowed(to: &Destination, egress: &EgressConfig) -> Result<Vec<Allow>, ConfigError> {
    let mut allows: Vec<Allow> =
        egress.allows.iter().filter(|allow| allow.host() == to.host()).cloned().collect();
    let own: Vec<IpAddr> = match to.literal() {
        Some(address) => vec![address],
        None if is_here(to) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        None => Vec::new(),
    };
    for address in own {
        allows.push(Allow::new(to.host(), &address.to_string()).map_err(|error| entry(&error))?);
    }
    Ok(allows)
}

/// Reads lines `name: value`. They hold a key, so nobody else may read the file, and nothing of it is repeated here.
fn headers(path: &Path) -> Result<HeaderMap, ConfigError> {
    ours_alone(path).map_err(|error| entry(&error))?;
    let text = fs::read_to_string(path);
    let text = Zeroizing::new(text.map_err(|source| ConfigError::File { path: path.to_owned(), source })?);
    let mut headers = HeaderMap::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = header(line).ok_or_else(|| ConfigError::Entry {
            message: format!(
                "`[otel] headers`: line {} of `{}` is no header that may be set here: write `name: value`",
                number + 1,
                path.display()
            ),
        })?;
        headers.append(name, value);
    }
    if headers.len() > HEADERS_MAX {
        let message = format!("`[otel] headers`: `{}` has more than {HEADERS_MAX} lines", path.display());
        return Err(ConfigError::Entry { message });
    }
    Ok(headers)
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let name: HeaderName = name.trim().parse().ok().filter(|name| !OURS.contains(name))?;
    let mut value = HeaderValue::from_str(value.trim()).ok().filter(|value| !value.is_empty())?;
    value.set_sensitive(true);
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError};
    use super::Otel;
    use std::{fs, net::IpAddr, os::unix::fs::PermissionsExt as _, path::Path};

    fn read(table: &str, folder: &Path) -> Result<Otel, ConfigError> {
        Config::parse(&format!("[otel]\n{table}"), folder).map(|config| config.otel.expect("a table"))
    }

    fn at(endpoint: &str) -> Result<Otel, ConfigError> {
        read(&format!("endpoint = \"{endpoint}\"\n"), Path::new("/nowhere"))
    }

    #[test]
    fn without_the_table_there_are_no_traces() {
        assert!(Config::parse("", Path::new("/nowhere")).unwrap().otel.is_none());
    }

    #[test]
    fn an_endpoint_is_a_collectors_address_and_traces_have_their_path_below_it() {
        let there = at("https://otel.example.com").unwrap();
        assert_eq!(
            (there.to.to_string(), there.path.as_str()),
            ("https://otel.example.com".into(), "/v1/traces")
        );
        assert_eq!((there.sample, there.headers.len()), (1.0, 0));
        assert!(there.egress.allows.is_empty(), "a name opens nothing");
        assert_eq!(at("https://otel.example.com/a/b/").unwrap().path, "/a/b/v1/traces");
        for (endpoint, address) in [
            ("http://127.0.0.1:4318", "127.0.0.1"),
            ("http://localhost:4318", "::1"),
            ("http://[::1]:4318", "::1"),
            ("https://10.0.0.7", "10.0.0.7"),
        ] {
            let here = at(endpoint).unwrap();
            let address: IpAddr = address.parse().unwrap();
            assert!(here.egress.allows(here.to.host(), address), "{endpoint}");
            assert!(!here.egress.allows("tool.example", address), "{endpoint} opens it to another host");
        }
    }

    #[test]
    fn what_the_operator_allows_another_host_is_not_allowed_to_the_collector() {
        let allow = |host: &str| format!("[[allow]]\nhost = \"{host}\"\naddress = \"10.0.0.0/8\"\n");
        let table = "[otel]\nendpoint = \"https://otel.example.com\"\n";
        let text = format!("{}{}{table}", allow("otel.example.com"), allow("tool.example"));
        let otel = Config::parse(&text, Path::new("/nowhere")).unwrap().otel.unwrap();
        let hosts: Vec<_> = otel.egress.allows.iter().map(|allow| allow.host().to_owned()).collect();
        assert_eq!(hosts, ["otel.example.com"]);
    }

    #[test]
    fn plain_http_beyond_this_machine_and_what_is_no_address_are_refused_by_line() {
        for endpoint in [
            "http://otel.example.com",
            "http://10.0.0.7:4318",
            "https://user@otel.example.com",
            "otel.example.com",
            "https://otel.example.com/?key=1",
            "https://otel.example.com/#a",
            "grpc://otel.example.com",
            "",
        ] {
            let said = at(endpoint).unwrap_err().to_string();
            assert!(said.starts_with("nightlatch.toml:2: `[otel] endpoint`"), "{endpoint}: {said}");
        }
        let said = read("sample = 0.5\n", Path::new("/nowhere")).unwrap_err().to_string();
        assert!(said.starts_with("nightlatch.toml:1: ") && said.contains("endpoint"), "{said}");
    }

    #[test]
    fn a_sample_is_a_part_of_all_calls() {
        let sample = |sample: &str| {
            let table = format!("endpoint = \"https://otel.example.com\"\nsample = {sample}\n");
            read(&table, Path::new("/nowhere")).map(|otel| otel.sample)
        };
        assert_eq!(["0", "0.25", "1", "1.0"].map(|good| sample(good).unwrap()), [0.0, 0.25, 1.0, 1.0]);
        for odd in ["-0.1", "1.5", "nan", "inf", "10"] {
            let said = sample(odd).unwrap_err().to_string();
            assert!(said.starts_with("nightlatch.toml:3: `[otel] sample`"), "{odd}: {said}");
        }
    }

    #[test]
    fn headers_are_read_from_a_file_of_ours_alone_and_never_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("collector");
        let with = |text: &str, mode: u32| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            read("endpoint = \"https://otel.example.com\"\nheaders = \"collector\"\n", folder.path())
        };
        let good = with("# a comment\n\nx-api-key: canary-collector-key\nX-Tenant: a b\n", 0o600).unwrap();
        assert_eq!((good.headers.len(), &good.headers["x-tenant"]), (2, &"a b".parse().unwrap()));
        assert!(!format!("{good:?}").contains("canary"), "a key is shown");
        for odd in ["x-api-key canary", "x-api-key:", "host: canary", "Content-Type: canary", "a b: canary"] {
            let said = with(&format!("x: y\n{odd}\n"), 0o600).unwrap_err().to_string();
            assert!(said.contains("line 2") && !said.contains("canary"), "{odd}: {said}");
        }
        let said = with("x-api-key: canary\n", 0o644).unwrap_err().to_string();
        assert!(said.contains("can be read by others") && !said.contains("canary"), "{said}");
        fs::remove_file(&file).unwrap();
        assert!(read("endpoint = \"https://a.example\"\nheaders = \"collector\"\n", folder.path()).is_err());
    }
}
