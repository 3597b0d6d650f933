//! What a soak runs against: a provider whose tokens rotate, its tool, an installation with one account connected and
//! one agent that may use it.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::Value;

use super::ACCESS_SECS;
use crate::{
    bench::{
        child::free,
        installation::{Installation, failed},
        load::Provider,
        programs::Programs,
    },
    machine::{self, Fault, Outcome},
};

/// The tool's name, and that of its provider.
pub(super) const TOOL: &str = "sim";
/// Where `connect` finds the client's secret.
const SECRET_VARIABLE: &str = "SOAK_CLIENT_SECRET";

/// Everything that runs but the load.
pub(super) struct Stage {
    pub(super) installation: Installation,
    provider: Provider,
    client_id: String,
    /// What the agent holds.
    pub(super) reference: String,
    /// The folder of the agent's certificate.
    pub(super) identity: PathBuf,
    /// When the first tokens were given out.
    pub(super) logged_in: Instant,
}

impl Stage {
    pub(super) fn set(programs: &Programs, folder: &Path) -> Outcome<Self> {
        let identity = folder.join("identity");
        machine::output(Command::new(&programs.bench).arg("identity").arg(&identity).arg("localhost"))?;
        let mut provider = Provider::start(free(&programs.bench))?;
        let files = [("profiles/sim.toml", profile(&provider.issuer))];
        let (up, place) = (free(&programs.nightlatch), folder.join("soak"));
        let installation = Installation::start(up, &programs.nightlatch, &place, "", &files)?;
        installation.add_tool(TOOL, &manifest(&provider.tool))?;
        let client_id = log_in(&installation, &mut provider, &folder.join("cookies"))?;
        let logged_in = machine::moment();
        installation.open_task()?;
        let reference = installation.granted(TOOL)?;
        installation.enrol_user()?;
        installation.enrol_key(&identity)?;
        Ok(Self { installation, provider, client_id, reference, identity, logged_in })
    }

    /// What the provider counted, and what its tool saw.
    pub(super) fn tally(&mut self) -> Outcome<Value> {
        self.provider.tally(&self.client_id)
    }
}

/// Connects the account, as a human does at a terminal and a browser: the client that is registered for it.
fn log_in(at: &Installation, provider: &mut Provider, cookies: &Path) -> Outcome<String> {
    let redirect_uri = what_to_register(at)?;
    let (client_id, secret) = provider.register(&redirect_uri, ACCESS_SECS)?;
    let mut connect = at.command();
    connect.args(["connect", TOOL, "--oauth", "--client-id", &client_id]);
    connect.args(["--client-secret-from-env", SECRET_VARIABLE]).env(SECRET_VARIABLE, secret);
    connect.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = connect.spawn().map_err(failed)?;
    let mut says = BufReader::new(process.stderr.take().ok_or_else(|| failed("`connect` has no output"))?);
    let mut printed = String::new();
    let start = loop {
        let from = printed.len();
        if says.read_line(&mut printed).map_err(failed)? == 0 {
            return Err(failed(format!("`connect` printed no address: {printed}")));
        }
        if let Some(address) = address(printed.get(from..).unwrap_or_default(), "/oauth/start/") {
            break address;
        }
    };
    // The browser: one redirect to the provider with a cookie of ours, and back with it.
    let mut opens = Command::new("curl");
    opens.args(["--silent", "--output", "/dev/null", "--write-out", "%{redirect_url}"]);
    let authorize = machine::output(opens.arg("--cookie-jar").arg(cookies).arg(start))?;
    let mut returns = Command::new("curl");
    returns.args(["--silent", "--fail", "--output", "/dev/null"]).arg("--cookie").arg(cookies);
    let returned = machine::output(returns.arg(provider.consent(&authorize)?));
    // Its end would else wait for somebody to read.
    says.read_to_string(&mut printed).map_err(failed)?;
    let ended = process.wait().map_err(failed)?;
    if ended.success() { returned.map(|_| client_id) } else { Err(failed(format!("`connect`: {printed}"))) }
}

/// `connect` prints the redirect address where there is no client yet, and ends.
fn what_to_register(at: &Installation) -> Outcome<String> {
    let asked = at.command().args(["connect", TOOL, "--oauth"]).stdin(Stdio::null()).output();
    let printed = String::from_utf8_lossy(&asked.map_err(failed)?.stderr).into_owned();
    let found = address(&printed, "/oauth/callback/");
    found.ok_or_else(|| Fault::one(format!("soak: `connect` printed no redirect address: {printed}")))
}

fn address(printed: &str, marker: &str) -> Option<String> {
    let mut words = printed.split_whitespace().filter(|word| word.starts_with("http://127.0.0.1:"));
    words.find(|word| word.contains(marker)).map(str::to_owned)
}

/// The provider as its documentation would have it: strict.
fn profile(issuer: &str) -> String {
    format!(
        "name = \"{TOOL}\"\ntitle = \"The provider of a soak\"\nissuer = \"{issuer}\"\n\
         authorization_endpoint = \"{issuer}/authorize\"\ntoken_endpoint = \"{issuer}/token\"\n\
         iss_announced = true\nclient_auth = [\"client_secret_basic\"]\nrotation = \"always\"\n\
         reuse = {{ grace_secs = 0, after_grace = \"revoke_family_and_access\" }}\n\
         old_access = \"survives\"\nblast = \"chain\"\n"
    )
}

fn manifest(tool: &str) -> String {
    let port = tool.rsplit(':').next().unwrap_or_default();
    let operation = |id: &str, method: &str, path: &str, effect: &str| {
        format!(
            "[[operation]]\nid = \"{id}\"\nmethod = \"{method}\"\npath = \"{path}\"\neffect = \"{effect}\"\n\
             resource = \"{{thing}}\"\npage = \"https://example.com/docs\"\n\n"
        )
    };
    format!(
        "name = \"{TOOL}\"\ntitle = \"The tool of a soak\"\ndocs = \"https://example.com/docs\"\n\
         profile = \"{TOOL}\"\nscopes = [\"things\"]\n\n\
         [[host]]\nhost = \"127.0.0.1\"\nscheme = \"http\"\nport = {port}\n\
         oauth = {{ kind = \"bearer\" }}\nchallenge = \"Bearer\"\n\n\
         [account]\nprobe = \"/me\"\nid = [\"/id\"]\nlabel = \"/login\"\n\n"
    ) + &operation("things.get", "GET", "/things/{thing}", "read")
        + &operation("things.put", "POST", "/things/{thing}", "write")
        + &operation("things.delete", "DELETE", "/things/{thing}", "destructive")
        + &operation("missing.get", "GET", "/missing/{thing}", "read")
        + &operation("events.listen", "GET", "/events/{thing}", "read")
}
