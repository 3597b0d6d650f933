//! The grammar of `connection import`.

use clap::Args;
use nightlatch_domain::tool::Name;

/// What `connection import` reads and does, for its help.
pub(super) const HELP: &str = "\
Standard input holds one JSON object a line:
  {\"tool\":\"slack\",\"client_id\":\"1234.5678\",\"refresh_token\":\"…\",\"name\":\"dana\"}
  tool           the tool, unless --tool names it
  client_id      the client that the token was given to, unless --client-id names it or there is
                 one only; it must be registered here (see the last example)
  refresh_token  the newest one that the old system has
  access_token   optional; it tells whose account it is before the refresh token is spent
  expires_at     optional; its end, in RFC 3339 or seconds since 1970
  account        optional; another account (by id or label) than this one is not connected
  name           optional; the connection's name; the account gives it where it is absent
  host           optional; the base address, where the tool leaves it open
  tenant         optional; refused where it is not the one that is served here

Each token is sealed to the keeper before it leaves this process. Its first refresh is the proof:
few at a time for each provider, one at a time until one of its client was taken. A bad line is
named and stops no other. What was taken in goes on by itself: after Ctrl-C, or a crash of anything,
run the same command over the same lines, and what is there is not done twice.

Examples:
  nightlatch connection import --old-system-stopped < tokens.jsonl
  old-system export | nightlatch connection import --old-system-stopped --tool slack --json
  nightlatch connection import --old-system-stopped --tool slack --client-id 1234.5678 \\
      --client-secret-from-env SLACK_SECRET < tokens.jsonl";

#[derive(Debug, Args)]
pub(crate) struct ImportTokens {
    /// That the system which held the tokens has stopped for good: where two refresh one token, most providers end
    /// the connection
    #[arg(long)]
    pub(crate) old_system_stopped: bool,
    /// The tool of lines that name none
    #[arg(long, value_name = "TOOL")]
    pub(crate) tool: Option<Name>,
    /// The client id of lines that name none
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub(crate) client_id: Option<String>,
    /// Register --client-id at --tool's provider first, with the secret that this variable holds
    #[arg(long, value_name = "VAR", requires_all = ["client_id", "tool"])]
    pub(crate) client_secret_from_env: Option<String>,
    /// Register it first as a client that has no secret
    #[arg(long, requires_all = ["client_id", "tool"], conflicts_with = "client_secret_from_env")]
    pub(crate) public_client: bool,
    /// The base address of lines that name none, where the tool leaves it open
    #[arg(long, value_name = "URL")]
    pub(crate) host: Option<String>,
    /// Fail where Nightlatch does not run, and do not start it
    #[arg(long)]
    pub(crate) no_start: bool,
}
