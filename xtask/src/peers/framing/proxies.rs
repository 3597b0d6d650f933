//! The peers as reverse proxies on loopback: nothing is configured but what it takes to stand before a server.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use super::super::Peers;
use crate::{
    bench::Child,
    machine::{self, Fault, Outcome},
    parts::Places,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nginx,
    Haproxy,
    Envoy,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Envoy];

    const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
        }
    }

    const fn program(self, peers: &Peers) -> &PathBuf {
        match self {
            Self::Nginx => &peers.nginx,
            Self::Haproxy => &peers.haproxy,
            Self::Envoy => &peers.envoy,
        }
    }

    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["-e", "stderr", "-c"],
            Self::Haproxy => &["-db", "-q", "-f"],
            Self::Envoy => &["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"],
        }
    }

    fn configuration(self, own: SocketAddr, to: SocketAddr, folder: &Path) -> String {
        let text = match self {
            Self::Nginx => NGINX,
            Self::Haproxy => HAPROXY,
            Self::Envoy => ENVOY,
        };
        let ports = text.replace("OWN", &own.port().to_string()).replace("TO", &to.port().to_string());
        ports.replace("FOLDER", &folder.display().to_string())
    }
}

/// A proxy that runs until this is dropped.
pub(super) struct Proxy {
    /// Its name and version.
    pub(super) name: String,
    pub(super) address: SocketAddr,
    folder: PathBuf,
    _child: Child,
}

impl Proxy {
    /// Starts it before `upstream` and waits until it listens.
    pub(super) fn start(kind: Kind, peers: &Peers, upstream: SocketAddr) -> Outcome<Self> {
        let failed = |error| Fault::one(format!("peers: cannot start {}: {error}", kind.name()));
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(failed)?;
        let run = Places::find()?.installed.join("run").join(std::process::id().to_string());
        let folder = run.join(kind.name());
        machine::make_folder(&folder)?;
        let configuration = folder.join("configuration.yaml");
        fs::write(&configuration, kind.configuration(address, upstream, &folder)).map_err(failed)?;
        // However we end, it ends with us.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(kind.program(peers))
            .args(kind.words())
            .arg(&configuration);
        let mut child = Child::start(kind.name(), command.current_dir(&folder), &folder)?;
        child.until(|| TcpStream::connect(address).is_ok())?;
        let name = format!("{} {}", kind.name(), version(kind, peers)?);
        Ok(Self { name, address, folder, _child: child })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // What a run wrote is kept only if it could not be removed.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The last word of three numbers that a program says when it is asked for its version.
fn version(kind: Kind, peers: &Peers) -> Outcome<String> {
    let flag = if kind == Kind::Envoy { "--version" } else { "-v" };
    let said = Command::new(kind.program(peers)).arg(flag).output();
    let said = said.map_err(|error| Fault::one(format!("peers: no version of {}: {error}", kind.name())))?;
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    let version = numbers.map(|word| word.trim_matches('.')).find(|word| word.split('.').count() == 3);
    version.map(str::to_owned).ok_or_else(|| Fault::one(format!("peers: {} says no version", kind.name())))
}

const NGINX: &str = "\
daemon off;
master_process off;
pid FOLDER/pid;
events {}
http {
  access_log off;
  client_body_temp_path FOLDER/body;
  proxy_temp_path FOLDER/proxy;
  fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi;
  scgi_temp_path FOLDER/scgi;
  server {
    listen 127.0.0.1:OWN;
    location / { proxy_pass http://127.0.0.1:TO; proxy_http_version 1.1; }
  }
}
";

const HAPROXY: &str = "\
defaults
  mode http
  timeout connect 2s
  timeout client 2s
  timeout server 2s
frontend in
  bind 127.0.0.1:OWN
  default_backend out
backend out
  server one 127.0.0.1:TO
";

const ENVOY: &str = r#"
static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: OWN } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            virtual_hosts:
            - { name: all, domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: out } }] }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
  - name: out
    connect_timeout: 2s
    load_assignment:
      cluster_name: out
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: TO } } }
"#;
