//! The peers, each doing the least that can be compared: it sets one header and passes everything on.
//!
//! One thread, connections kept on both sides, no log of requests. With TLS, each asks the client for its
//! certificate, verifies the upstream's, and keeps connections on both sides.

use std::{fs, net::TcpStream, path::Path};

use serde_json::{Value, json};

use super::child::{Child, pinned};
use crate::{
    machine::{Fault, Outcome},
    peers::Peers,
};

/// The header that each sets.
pub(super) const CREDENTIAL: &str = "Bearer bench-0123456789-abcdefghijklmnopqrst";

/// Where everything of a run is.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) core: usize,
    pub(super) folder: &'a Path,
    /// The certificates of `nightlatch-bench identity`.
    pub(super) identity: &'a Path,
    /// The upstream's addresses.
    pub(super) http: &'a str,
    pub(super) https: &'a str,
}

impl Scene<'_> {
    fn file(&self, name: &str) -> String {
        self.identity.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> Outcome<String> {
        let path = self.folder.join(name);
        fs::write(&path, text)
            .map_err(|error| Fault::one(format!("bench: cannot write `{}`: {error}", path.display())))?;
        Ok(path.display().to_string())
    }
}

/// A peer that answers.
#[derive(Debug)]
pub(super) struct Rival {
    pub(super) name: &'static str,
    pub(super) child: Child,
    pub(super) address: String,
    pub(super) is_secure: bool,
}

/// Starts all of them.
pub(super) fn start(scene: &Scene<'_>, peers: &Peers) -> Outcome<Vec<Rival>> {
    let mut rivals = Vec::new();
    let envoys =
        [("envoy-header", false, false), ("envoy-credential", false, true), ("envoy-tls", true, false)];
    for (name, is_secure, by_injector) in envoys {
        let port = free_port()?;
        let config = envoy(scene, port, is_secure, by_injector);
        let path = scene.write(&format!("{name}.json"), &config.to_string())?;
        let mut command = pinned(scene.core, &peers.envoy);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c", &path]);
        rivals.push(begin(scene, name, is_secure, port, &mut command)?);
    }
    for (name, is_secure) in [("nginx", false), ("nginx-tls", true)] {
        let port = free_port()?;
        let path = scene.write(&format!("{name}.conf"), &nginx(scene, name, port, is_secure))?;
        let mut command = pinned(scene.core, &peers.nginx);
        command.args(["-e", "stderr", "-c", &path]);
        rivals.push(begin(scene, name, is_secure, port, &mut command)?);
    }
    for (name, is_secure) in [("haproxy", false), ("haproxy-tls", true)] {
        let port = free_port()?;
        let path = scene.write(&format!("{name}.cfg"), &haproxy(scene, port, is_secure))?;
        let mut command = pinned(scene.core, &peers.haproxy);
        command.args(["-db", "-q", "-f", &path]);
        rivals.push(begin(scene, name, is_secure, port, &mut command)?);
    }
    let port = free_port()?;
    let mut command = pinned(scene.core, &peers.mitmdump);
    command.args(["-q", "--mode", &format!("reverse:http://{}", scene.http), "--listen-host", "127.0.0.1"]);
    command.args(["--listen-port", &port.to_string(), "--set"]);
    command.arg(format!("confdir={}", scene.folder.join("mitmproxy").display()));
    command.args(["--modify-headers", &format!("/~q/authorization/{CREDENTIAL}")]);
    rivals.push(begin(scene, "mitmproxy", false, port, &mut command)?);
    Ok(rivals)
}

fn begin(
    scene: &Scene<'_>,
    name: &'static str,
    is_secure: bool,
    port: u16,
    command: &mut std::process::Command,
) -> Outcome<Rival> {
    let address = format!("127.0.0.1:{port}");
    let mut child = Child::start(name, command, scene.folder)?;
    child.until(|| TcpStream::connect(&address).is_ok())?;
    Ok(Rival { name, child, address, is_secure })
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> Outcome<u16> {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| Fault::one(format!("bench: no free port: {error}")))
}

/// `{"address", "port_value"}` of Envoy.
fn socket(address: &str) -> Value {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
    json!({ "socket_address": { "address": host, "port_value": port.parse::<u16>().unwrap_or_default() } })
}

const ENVOY: &str = "type.googleapis.com/envoy.extensions";

/// An object with one member more.
fn with(mut object: Value, name: &str, member: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), member);
    }
    object
}

/// Envoy's configuration: the header as a mutation of the route, or by its credential injector.
fn envoy(scene: &Scene<'_>, port: u16, is_secure: bool, by_injector: bool) -> Value {
    let mutation = json!([{
        "header": { "key": "authorization", "value": CREDENTIAL },
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"
    }]);
    let host = json!({
        "name": "all",
        "domains": ["*"],
        "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "upstream", "timeout": "0s" } }]
    });
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": format!("{ENVOY}.filters.http.router.v3.Router") }
    });
    let (host, filters) = match by_injector {
        true => (host, json!([injector(), router])),
        false => (with(host, "request_headers_to_add", mutation), json!([router])),
    };
    let manager = json!({
        "@type": format!("{ENVOY}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "codec_type": "HTTP1",
        "route_config": { "virtual_hosts": [host] },
        "http_filters": filters
    });
    let chain = json!({
        "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager }]
    });
    let upstream = if is_secure { scene.https } else { scene.http };
    let cluster = json!({
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(upstream) } }] }]
        }
    });
    let secured = |object, tls| if is_secure { with(object, "transport_socket", tls) } else { object };
    let (chain, cluster) = (secured(chain, downstream_tls(scene)), secured(cluster, upstream_tls(scene)));
    let address = socket(&format!("127.0.0.1:{port}"));
    let secret =
        json!({ "name": "credential", "generic_secret": { "secret": { "inline_string": CREDENTIAL } } });
    json!({ "static_resources": {
        "secrets": [secret],
        "listeners": [{ "name": "bench", "address": address, "filter_chains": [chain] }],
        "clusters": [cluster]
    }})
}

fn injector() -> Value {
    json!({
        "name": "envoy.filters.http.credential_injector",
        "typed_config": {
            "@type": format!("{ENVOY}.filters.http.credential_injector.v3.CredentialInjector"),
            "overwrite": true,
            "credential": {
                "name": "envoy.http.injected_credentials.generic",
                "typed_config": {
                    "@type": format!("{ENVOY}.http.injected_credentials.generic.v3.Generic"),
                    "credential": { "name": "credential" },
                    "header": "authorization"
                }
            }
        }
    })
}

fn downstream_tls(scene: &Scene<'_>) -> Value {
    json!({
        "name": "tls",
        "typed_config": {
            "@type": format!("{ENVOY}.transport_sockets.tls.v3.DownstreamTlsContext"),
            "require_client_certificate": true,
            "common_tls_context": {
                "tls_certificates": [{
                    "certificate_chain": { "filename": scene.file("server.pem") },
                    "private_key": { "filename": scene.file("server.key") }
                }],
                "validation_context": { "trusted_ca": { "filename": scene.file("agent.pem") } }
            }
        }
    })
}

fn upstream_tls(scene: &Scene<'_>) -> Value {
    json!({
        "name": "tls",
        "typed_config": {
            "@type": format!("{ENVOY}.transport_sockets.tls.v3.UpstreamTlsContext"),
            "sni": "localhost",
            "common_tls_context": {
                "validation_context": { "trusted_ca": { "filename": scene.file("ca.pem") } }
            }
        }
    })
}

fn nginx(scene: &Scene<'_>, name: &str, port: u16, is_secure: bool) -> String {
    let folder = scene.folder.display();
    let (scheme, upstream) = if is_secure { ("https", scene.https) } else { ("http", scene.http) };
    let (listen, tls) = match is_secure {
        false => ("", String::new()),
        true => (
            " ssl",
            format!(
                "ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client on;\n\
                 proxy_ssl_verify on; proxy_ssl_trusted_certificate {}; proxy_ssl_name localhost;\n\
                 proxy_ssl_server_name on;",
                scene.file("server.pem"),
                scene.file("server.key"),
                scene.file("agent.pem"),
                scene.file("ca.pem"),
            ),
        ),
    };
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log stderr;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
         access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s;\n\
         client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;\n\
         fastcgi_temp_path {folder}/{name}-f; uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;\n\
         upstream up {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 3600s; }}\n\
         server {{ listen 127.0.0.1:{port}{listen}; {tls}\n\
         location / {{ proxy_pass {scheme}://up; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header Authorization \"{CREDENTIAL}\"; proxy_max_temp_file_size 0; }} }} }}\n"
    )
}

fn haproxy(scene: &Scene<'_>, port: u16, is_secure: bool) -> String {
    let (bind, server) = match is_secure {
        false => (String::new(), scene.http.to_owned()),
        true => (
            format!(
                " ssl crt {} ca-file {} verify required",
                scene.file("server.both"),
                scene.file("agent.pem")
            ),
            format!(
                "{} ssl verify required ca-file {} sni str(localhost)",
                scene.https,
                scene.file("ca.pem")
            ),
        ),
    };
    format!(
        "global\n nbthread 1\n maxconn 8192\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n\
         timeout http-keep-alive 1h\n option http-keep-alive\n\
         frontend front\n bind 127.0.0.1:{port}{bind}\n default_backend back\n\
         backend back\n http-reuse always\n http-request set-header Authorization \"{CREDENTIAL}\"\n\
         server up {server}\n"
    )
}
