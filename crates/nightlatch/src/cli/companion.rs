//! The grammar of `companion`.

use clap::Args;
use std::{net::SocketAddr, path::PathBuf};

/// What stands under the help of `companion`.
pub(super) const HELP: &str = "\
Examples:
  nightlatch agent enrol laptop --task triage       (where the gateway is: prints code and key)
  nightlatch companion --gateway 127.0.0.1:8443 --gateway-key sha256//… --code-file code \\
    --key agent.key --listen 127.0.0.1:8080 --trust-file trust.pem
  HTTPS_PROXY=http://127.0.0.1:8080 SSL_CERT_FILE=trust.pem ./agent

In a CI job, with the code as a masked variable:
  nightlatch companion --gateway nightlatch.internal:8443 --gateway-key \"$GATEWAY_KEY\" \\
    --code-from-env ENROL_CODE --key agent.key --listen 127.0.0.1:8080 --trust-file trust.pem &

As a sidecar in compose, where both containers share one network. The key has a volume of its own:
  agent:
    network_mode: service:companion
    environment: { HTTPS_PROXY: http://127.0.0.1:8080, SSL_CERT_FILE: /trust/trust.pem }
    volumes: [ \"trust:/trust:ro\" ]
  companion:
    command: nightlatch companion --gateway nightlatch.internal:8443 --gateway-key sha256//…
      --code-file /run/secrets/code --key /key/agent.key --listen 127.0.0.1:8080
      --trust-file /trust/trust.pem --peer-uid 1000
    volumes: [ \"key:/key\", \"trust:/trust\" ]

The key is made here and stays in its file; an enrolled key needs no code when it starts again. A
key belongs to one task: for another task, another file.
Without a password only processes of one user may come: this one's, or the one of --peer-uid. A
listener that other machines reach needs one: http://nightlatch:PASSWORD@HOST:PORT. A gateway that
is called by a name of its own must know it: `names` in its nightlatch.toml.";

/// A companion that stands beside an agent.
#[derive(Debug, Args)]
pub(crate) struct Companion {
    /// Where the gateway listens
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) gateway: String,
    /// The gateway's key, as `agent enrol` prints it
    #[arg(long, value_name = "HASH")]
    pub(crate) gateway_key: String,
    /// The agent's key in a file of this user alone; made where it is not there
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// A file with the one-time code
    #[arg(long, value_name = "FILE", conflicts_with = "code_from_env")]
    pub(crate) code_file: Option<PathBuf>,
    /// The variable that holds the one-time code
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) code_from_env: Option<String>,
    /// Where programs find their proxy
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// A file with the proxy's password: 16 letters and digits at least
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// The user whose processes may come [default: this one, where no password is asked for]
    #[arg(long, value_name = "UID")]
    pub(crate) peer_uid: Option<u32>,
    /// Write here what programs shall trust: the system's roots and the tools' authorities
    #[arg(long, value_name = "FILE")]
    pub(crate) trust_file: Option<PathBuf>,
}
