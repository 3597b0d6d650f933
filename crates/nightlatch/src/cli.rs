//! The grammar of the command line. What each command does is in `commands`, of the same names.
//!
//! Secrets have no place in it: an argument is seen by every process of the machine. They are typed at a
//! prompt, come on standard input, or are named by the variable that holds them (`--from-env`).

mod companion;
mod demo;
mod doctor;
mod import;
mod keeper;
mod store;

pub(crate) use companion::Companion;
pub(crate) use demo::{ACTOR, DemoAgent, DemoNaive, DemoPart};
pub(crate) use import::ImportTokens;
pub(crate) use keeper::{AdoptKeeper, KeeperCommand};
pub(crate) use store::{CheckStore, RestoreStore, StoreCommand};

use clap::{Args, Parser, Subcommand, ValueEnum};
use nightlatch_domain::{budget::Budget, grant::GrantText, task::Egress, tool::Name};
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// Exit codes, at the end of the program's own help.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed; standard error says what to do next
  2  the command line itself could not be read

Standard output holds results only; progress and hints go to standard error.

Examples:
  nightlatch demo
  nightlatch up
  nightlatch connect github --key
  nightlatch run --grant github:read -- gh issue list
  nightlatch task open --agent laptop --name triage
  nightlatch grant add --task triage 'github:read@acme/*'
  nightlatch agent enrol laptop --task triage";

/// A token-mediating gateway: agents get references, Nightlatch keeps the credentials.
#[derive(Debug, Parser)]
#[command(name = "nightlatch", version, after_help = EXIT_CODES, term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// The data folder [default: $XDG_DATA_HOME/nightlatch]
    #[arg(long, global = true, value_name = "DIR", env = "NIGHTLATCH_DATA", hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,
    /// Print results as JSON (with `up`: log in JSON)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve in the foreground: gateway, keeper and control on this machine
    #[command(after_help = "\
Examples:
  nightlatch up
  nightlatch --data /srv/nightlatch up
  NIGHTLATCH_LOG=debug nightlatch --json up

Where it listens is said in nightlatch.toml in the data folder. It refuses a folder that others can
read, a folder in use, a busy port, and a database whose keys are missing.")]
    Up(Up),
    /// Serve one plane, or all, over PostgreSQL: any number of each, on any machines
    #[command(after_help = SERVE_HELP)]
    Serve(Serve),
    /// Play the four breaks: an ordinary client beside an agent behind Nightlatch
    #[command(after_help = DEMO_HELP)]
    Demo(Demo),
    /// An actor of the demo
    #[command(name = ACTOR, subcommand, hide = true)]
    DemoPart(DemoPart),
    /// Stop the Nightlatch that serves this data folder
    #[command(after_help = "Examples:\n  nightlatch stop\n  nightlatch --data /srv/nightlatch stop")]
    Stop,
    /// Connect an account at a tool, or connect it again
    #[command(after_help = "\
Examples:
  nightlatch connect github                       (asks how)
  nightlatch connect github --key                 (asks for the token, unseen)
  pass show github | nightlatch connect github --key
  nightlatch connect openai --from-env OPENAI_API_KEY --name work
  nightlatch connect slack --oauth --client-id 1234.5678
  nightlatch connect slack --oauth --no-browser   (prints a link, takes the address back)
  nightlatch connect generic --key --host https://api.example.com/v2 --placement header:x-api-key
  nightlatch connect github --reconnect con_01K…

Starts Nightlatch in the background where it does not run, and says so.")]
    Connect(Connect),
    /// Run a program in a sandbox, with references in place of credentials
    #[command(after_help = RUN_HELP)]
    Run(Run),
    /// Stand beside an agent: a proxy for its programs that holds its key
    #[command(after_help = companion::HELP)]
    Companion(Companion),
    /// A stage of `run`'s sandbox
    #[command(name = nightlatch_companion::sandbox::STAGE, hide = true)]
    Stage {
        /// Which
        role: String,
    },
    /// What ends a task whose `run` was killed
    #[command(name = WATCH, hide = true)]
    RunWatch {
        /// What becomes of the task
        act: String,
        /// Which
        task: String,
    },
    /// List, show, test, remove or import connections
    #[command(subcommand)]
    Connection(ConnectionCommand),
    /// List keepers, vouch for one, forget one
    #[command(subcommand)]
    Keeper(KeeperCommand),
    /// Check the database, copy it, put a copy back
    #[command(subcommand)]
    Store(StoreCommand),
    /// List, show, add or check tools
    #[command(subcommand)]
    Tool(ToolCommand),
    /// List, show or check provider profiles
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Add, list, show, enrol, disable or enable agents
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Open, list, show, put to sleep or complete tasks
    #[command(subcommand)]
    Task(TaskCommand),
    /// Add, list or revoke grants
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Show the policies, or explain a decision
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Read or verify the ledger
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// How every connection is, what waits for you, what went wrong
    #[command(after_help = "Examples:\n  nightlatch health\n  nightlatch health --json")]
    Health,
    /// What is wrong, or holds so far and no further, where no call shows it
    #[command(after_help = doctor::HELP)]
    Doctor,
    /// What runs now, and how much: calls, rates, limits that were met
    #[command(after_help = "\
Examples:
  nightlatch top                  (drawn anew each second; Ctrl-C ends it)
  nightlatch top --once
  nightlatch top --json           (one look)")]
    Top {
        /// Print what is there once
        #[arg(long)]
        once: bool,
    },
    /// The metrics, as OpenMetrics text
    #[command(after_help = "\
Examples:
  nightlatch metrics
  nightlatch metrics | grep calls_total

`[metrics] listen = \"127.0.0.1:9464\"` in nightlatch.toml answers the same at
http://127.0.0.1:9464/metrics.")]
    Metrics,
    /// What the receivers of webhooks must know
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// What became of one call, and why
    #[command(
        after_help = "Examples:\n  nightlatch why call_01K…\n\nThe id stands in each answer of the gateway as `nightlatch-call`."
    )]
    Why {
        /// The call's id
        #[arg(value_name = "CALL_ID")]
        call: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Show the secret with which a receiver checks that a message is from here
    #[command(after_help = "\
Examples:
  nightlatch webhook secret ci

Webhooks stand in nightlatch.toml: `[[webhook]]` with `name` and `url`. A durable call that names
one (`\"webhook\":\"ci\"`) has its end told there, signed as Standard Webhooks says. Who has the
secret can sign too: to make a new one, stop Nightlatch, remove keys/gateway/webhook-NAME.key and
start it.")]
    Secret {
        /// The webhook's name
        name: Name,
    },
}

/// What a plane is told, for its help.
const SERVE_HELP: &str = "\
Examples:
  nightlatch serve --role keeper --config keeper-1.toml --make-keys  (once: prints its [[peer]])
  nightlatch serve --role keeper --config owner.toml --migrate       (once, as the database's owner)
  nightlatch serve --role keeper --config keeper-1.toml
  nightlatch --data /srv/nightlatch/control-1 health                 (commands speak to control)

keeper-1.toml (unknown keys are refused; files are named from `data`):
  name = \"keeper-1\"                  # no two processes have one name
  data = \"/srv/nightlatch/keeper-1\"  # a folder of its own: keys, ledger, spool
  [database]
  address = \"postgres://keeper@db.internal/nightlatch\"
  password_file = \"database.password\"  # readable by its owner alone
  ca_file = \"database-ca.pem\"      # who vouches for it; needed where it is on another machine
  [[peer]]                           # each plane that may write to this one
  role = \"gateway\"
  key = \"…\"                          # as --make-keys printed it there
  [keeper]
  state = \"/srv/nightlatch/state\"    # its log lies here: outside of `data` and of every backup
  [control]                          # what control tells of the gateways
  gateway_url = \"https://gateway.internal:8443\"
  gateway_pin = \"sha256//…\"
Beside these it knows the keys of nightlatch.toml: [gateway], [redirect], [[map]], [[allow]],
[[limit]], [[webhook]], [otel].

A keeper lists every gateway and control, a gateway every keeper and control, control every
gateway and every keeper; two of a kind need not list each other.

Keepers share keys/keeper.key, gateways all of keys/gateway: copy them to the next of a kind
before it starts. Each plane logs in as a member of its own database role (nightlatch_gateway,
nightlatch_control, nightlatch_keeper) and of nightlatch_ledger.";

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// What this process is
    #[arg(long)]
    pub(crate) role: ServeRole,
    /// Its configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Make the keys that are missing, print what the other planes must be told, and end
    #[arg(long, conflicts_with = "migrate")]
    pub(crate) make_keys: bool,
    /// Bring the database up to this version, and end
    #[arg(long)]
    pub(crate) migrate: bool,
}

/// Which planes a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServeRole {
    /// Carries agents' calls
    Gateway,
    /// Answers humans: the API, redirects
    Control,
    /// Holds the credentials
    Keeper,
    /// All three
    All,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Leave the terminal's session: how other commands start it in the background
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

/// What the demo does, for its help.
const DEMO_HELP: &str = "\
It starts a provider and Nightlatch in a temporary folder, plays each break as real HTTP on
loopback (with an ordinary client that holds its tokens, and with an agent under `run`), prints
what came of it, and stays up to be looked at until Ctrl-C. Nothing of yours is read or changed.
Linux only: it looks into the memory of the programs that it starts.

Examples:
  nightlatch demo
  nightlatch demo --exit --json

The exit code is 0 only if every break broke the ordinary client and none broke the agent.";

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End when it was played, and do not stay up
    #[arg(long)]
    pub(crate) exit: bool,
    /// The keeper's timer: `off` shows that the demo can fail
    #[arg(long, value_enum, default_value = "on", hide = true)]
    pub(crate) refresh_timer: Switch,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Switch {
    pub(crate) const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

/// The hidden command with which `run` starts its watcher.
pub(crate) const WATCH: &str = "run-watch";

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The tool (`nightlatch tool list`)
    pub(crate) tool: Name,
    /// With an API key or token: asks for it, or reads standard input
    #[arg(long, group = "way")]
    pub(crate) key: bool,
    /// With an API key or token that this variable holds
    #[arg(long, group = "way", value_name = "VAR")]
    pub(crate) from_env: Option<String>,
    /// By logging in at the provider (OAuth)
    #[arg(long, group = "way")]
    pub(crate) oauth: bool,
    /// As the client itself, without a human (not supported yet)
    #[arg(long, group = "way")]
    pub(crate) client_credentials: bool,
    /// The connection's name [default: main]
    #[arg(long, conflicts_with = "reconnect")]
    pub(crate) name: Option<Name>,
    /// Connect this connection's account again: its id or TOOL/NAME
    #[arg(long, value_name = "CONNECTION")]
    pub(crate) reconnect: Option<String>,
    /// The base address, where the tool leaves it open: https://HOST[:PORT][/PREFIX]
    #[arg(long, value_name = "URL")]
    pub(crate) host: Option<String>,
    /// Where the credential stands there: bearer, basic:USER or header:NAME
    #[arg(long, requires = "host")]
    pub(crate) placement: Option<String>,
    /// The client id that the provider gave you
    #[arg(long, value_name = "ID", requires = "oauth", allow_hyphen_values = true)]
    pub(crate) client_id: Option<String>,
    /// The variable that holds the client secret; else it is asked for
    #[arg(long, value_name = "VAR", requires = "client_id")]
    pub(crate) client_secret_from_env: Option<String>,
    /// The client has no secret
    #[arg(long, requires = "client_id", conflicts_with = "client_secret_from_env")]
    pub(crate) public_client: bool,
    /// A scope to ask for, repeatable [default: the tool's]
    #[arg(long = "scope", value_name = "SCOPE", requires = "oauth")]
    pub(crate) scopes: Vec<String>,
    /// The browser cannot reach this machine: print the link, take the redirected address back
    #[arg(long, requires = "oauth")]
    pub(crate) no_browser: bool,
    /// Fail where Nightlatch does not run, and do not start it
    #[arg(long)]
    pub(crate) no_start: bool,
}

/// What `run` does, for its help.
const RUN_HELP: &str = "\
Examples:
  nightlatch run --grant github:read -- gh issue list
  nightlatch run --grant 'github:write@acme/*' --grant slack -- ./agent.sh
  nightlatch run --task triage -- bash
  nightlatch run --egress open -- npm install

It opens a task for the program, of 24 hours at most, and completes it when the program has ended;
a task that is named with --task sleeps then. The program finds a proxy, the certificates to trust
and, in place of a credential, the reference of each grant. It may write to the working folder and
to a temporary one, sees no other process, reaches nothing but Nightlatch, and none of the usual
places of credentials. What this machine cannot enforce of that is said once. At the end it says
what was refused, and the command that would allow it.

The exit code is the program's own: 128 and the signal's number where a signal ended it, 127 where
it was not found, 126 where it could not be run.";

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The agent that acts, by id or name [default: laptop, or the task's]
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// The task, by id or name [default: one of its own]
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// A grant to give the task, repeatable: TOOL[/CONNECTION][:OPS][@RESOURCE]
    #[arg(long = "grant", value_name = "GRANT")]
    pub(crate) grants: Vec<GrantText>,
    /// Where it may reach: the hosts that a tool binds, or also others, without a credential [default: tools]
    #[arg(long, value_enum, conflicts_with = "task", hide_possible_values = false)]
    pub(crate) egress: Option<EgressMode>,
    /// Without a sandbox: nothing but the gateway's own rules is enforced
    #[arg(long)]
    pub(crate) unconfined: bool,
    /// Fail where Nightlatch does not run, and do not start it
    #[arg(long)]
    pub(crate) no_start: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionCommand {
    /// List the connections
    #[command(after_help = "Examples:\n  nightlatch connection list\n  nightlatch connection list --json")]
    List,
    /// Show one connection
    #[command(
        after_help = "Examples:\n  nightlatch connection show github/main\n  nightlatch connection show con_01K…"
    )]
    Show {
        /// Its id or TOOL/NAME
        connection: String,
    },
    /// Ask the tool whose account it is
    #[command(after_help = "Examples:\n  nightlatch connection test github/main")]
    Test {
        /// Its id or TOOL/NAME
        connection: String,
    },
    /// Remove it and delete its secrets
    #[command(
        after_help = "Examples:\n  nightlatch connection remove github/main\n  nightlatch connection remove con_01K… --yes"
    )]
    Remove {
        /// Its id or TOOL/NAME
        connection: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Bring in refresh tokens that another system held, from standard input
    #[command(after_help = import::HELP)]
    Import(ImportTokens),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ToolCommand {
    /// List the tools
    #[command(after_help = "Examples:\n  nightlatch tool list")]
    List,
    /// Show one tool with its operations
    #[command(after_help = "Examples:\n  nightlatch tool show github")]
    Show {
        /// Its name
        tool: Name,
    },
    /// Add a tool by its manifest or its OpenAPI document, or put a newer one in its place
    #[command(after_help = AFTER_TOOL_ADD)]
    Add(AddTool),
    /// Check a manifest; needs no server
    #[command(after_help = "Examples:\n  nightlatch tool check jira.toml")]
    Check {
        /// The manifest
        file: PathBuf,
    },
}

const AFTER_TOOL_ADD: &str = "\
Examples:
  nightlatch tool add jira.toml
  nightlatch tool add --openapi pets.yaml --name pets --dry-run
  nightlatch tool add --openapi pets.json --name pets --host https://api.example.com
  nightlatch tool add --openapi pets.json --name pets --placement header:x-api-key

Every method of every path of an OpenAPI document becomes an operation with an effect: by its
method, and graver where its names speak of rights or secrets. What that changes is shown and
asked about before it takes effect; where nobody can be asked, it needs `--yes`.";

#[derive(Debug, Args)]
pub(crate) struct AddTool {
    /// The manifest
    #[arg(required_unless_present = "openapi", conflicts_with_all = ["openapi", "name", "host", "placement"])]
    pub(crate) file: Option<PathBuf>,
    /// An OpenAPI 3.0 or 3.1 document, in JSON or YAML
    #[arg(long, value_name = "FILE", requires = "name")]
    pub(crate) openapi: Option<PathBuf>,
    /// What the tool of the document is to be called
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<Name>,
    /// The base address, where it is not the document's own: https://HOST[:PORT][/PREFIX]
    #[arg(long, value_name = "URL")]
    pub(crate) host: Option<String>,
    /// Where the key stands, where it is not what the document says: bearer, basic:USER, header:NAME[:PREFIX]
    #[arg(long)]
    pub(crate) placement: Option<String>,
    /// Only show what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// List the provider profiles
    #[command(after_help = "Examples:\n  nightlatch profile list")]
    List,
    /// Show what is known of one provider
    #[command(after_help = "Examples:\n  nightlatch profile show github")]
    Show {
        /// Its name
        profile: Name,
    },
    /// Check a profile; needs no server
    #[command(after_help = "\
Examples:
  nightlatch profile check acme.toml

A profile of your own lies in `profiles/` of the data folder and is read when Nightlatch starts.")]
    Check {
        /// The profile
        file: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Risk {
    Low,
    Medium,
    High,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Add an agent
    #[command(
        after_help = "Examples:\n  nightlatch agent add reviewer --purpose 'reviews pull requests' --risk low"
    )]
    Add {
        /// Its name
        name: Name,
        /// What it is for
        #[arg(long)]
        purpose: Option<String>,
        /// How much harm it could do
        #[arg(long, value_enum, default_value = "medium")]
        risk: Risk,
    },
    /// List the agents
    #[command(after_help = "Examples:\n  nightlatch agent list")]
    List,
    /// Show one agent with its enrolments
    #[command(after_help = "Examples:\n  nightlatch agent show laptop")]
    Show {
        /// Its id or name
        agent: String,
    },
    /// Print a one-time code with which the agent enrols its key for a task
    #[command(after_help = "\
Examples:
  nightlatch agent enrol laptop --task triage
  nightlatch agent enrol laptop                   (opens a task of 24 hours)

The code is good for ten minutes and once. The agent makes its own key; it never leaves the agent.
A user of this machine is enrolled likewise, over the socket that nightlatch.toml names:
  curl --unix-socket /run/nightlatch/gateway.sock -d '{\"code\":\"nle_…\"}' http://localhost/v1/enrol")]
    Enrol {
        /// Its id or name
        agent: String,
        /// The task, by id or name
        #[arg(long)]
        task: Option<String>,
    },
    /// Let the agent do nothing until it is enabled again
    #[command(after_help = "Examples:\n  nightlatch agent disable laptop")]
    Disable {
        /// Its id or name
        agent: String,
    },
    /// Let the agent act again
    #[command(after_help = "Examples:\n  nightlatch agent enable laptop")]
    Enable {
        /// Its id or name
        agent: String,
    },
}

/// Where a task may reach without a tool.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum EgressMode {
    Tools,
    Open,
}

impl From<EgressMode> for Egress {
    fn from(mode: EgressMode) -> Self {
        match mode {
            EgressMode::Tools => Self::Tools,
            EgressMode::Open => Self::Open,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Open a task
    #[command(after_help = "\
Examples:
  nightlatch task open --agent laptop --name triage
  nightlatch task open --agent laptop --for 30d --purpose 'weekly report'")]
    Open {
        /// The agent that acts, by id or name
        #[arg(long)]
        agent: String,
        /// The task's name
        #[arg(long)]
        name: Option<Name>,
        /// How long it may last: 90s, 15m, 8h, 30d
        #[arg(long = "for", value_name = "DURATION", default_value = "24h", value_parser = duration)]
        lasts: Duration,
        /// What it is about
        #[arg(long)]
        purpose: Option<String>,
        /// Where it may reach: the hosts that a tool binds, or also others, without a credential
        #[arg(long, value_enum, default_value = "tools")]
        egress: EgressMode,
    },
    /// List the tasks, newest first
    #[command(after_help = "Examples:\n  nightlatch task list")]
    List,
    /// Show one task with its wakes and grants
    #[command(after_help = "Examples:\n  nightlatch task show triage")]
    Show {
        /// Its id or name
        task: String,
    },
    /// Put a task to sleep: its leases end now, its next proof wakes it
    #[command(after_help = "Examples:\n  nightlatch task sleep triage")]
    Sleep {
        /// Its id or name
        task: String,
    },
    /// Complete a task for good
    #[command(after_help = "Examples:\n  nightlatch task complete triage")]
    Complete {
        /// Its id or name
        task: String,
    },
}

/// The grammar of grants, for the help of `grant add`.
const GRANT_HELP: &str = "\
A grant is TOOL[/CONNECTION][:OPS][@RESOURCE].
  OPS       effects (read, write, destructive, admin) or ids of operations, comma-separated; default
            read. `write` includes `read`; `destructive` and `admin` include nothing else.
  RESOURCE  the tool's template with `*` for a segment (acme/*); default all.

Examples:
  nightlatch grant add --task triage github
  nightlatch grant add --task triage 'github/main:write@acme/*'
  nightlatch grant add --task triage 'slack:chat.postMessage' --for 2h
  nightlatch grant add --task triage github:write --budget calls=100,writes=5,bytes=1G

A budget is how much the grant is good for in all, until a human is asked again. Bytes are those of
bodies, both ways, with K, M, G or T for powers of 1024.
It prints the reference, which the agent puts where the tool expects its own credential.";

#[derive(Debug, Subcommand)]
pub(crate) enum GrantCommand {
    /// Give a task a grant, and print its reference
    #[command(after_help = GRANT_HELP)]
    Add {
        /// The task, by id or name
        #[arg(long)]
        task: String,
        /// TOOL[/CONNECTION][:OPS][@RESOURCE]
        grant: GrantText,
        /// How long it may last; as long as its task where it is absent
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        lasts: Option<Duration>,
        /// How much it is good for in all: `calls=100,writes=5,bytes=1G`
        #[arg(long, value_name = "BUDGET")]
        budget: Option<Budget>,
    },
    /// List the grants with their references, newest first
    #[command(after_help = "Examples:\n  nightlatch grant list\n  nightlatch grant list --task triage")]
    List {
        /// Of this task only, by id or name
        #[arg(long)]
        task: Option<String>,
    },
    /// Take a grant back
    #[command(after_help = "Examples:\n  nightlatch grant revoke grt_01K…\n  nightlatch grant revoke nlr_…")]
    Revoke {
        /// Its id or reference
        grant: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show what policies may read, and the policies in force
    #[command(after_help = "\
Examples:
  nightlatch policy show

Files `policies/*.cedar` in the data folder may only forbid; they are read when Nightlatch starts.")]
    Show,
    /// What would be decided of a call, and why; nothing is sent
    #[command(after_help = "\
Examples:
  nightlatch policy explain --task triage github GET /repos/acme/site/issues
  nightlatch policy explain --task triage grt_01K… POST '/repos/acme/site/issues'")]
    Explain {
        /// The task, by id or name
        #[arg(long)]
        task: String,
        /// The tool, TOOL/CONNECTION, or a grant's id
        target: String,
        /// The method
        method: String,
        /// The path as it stands after /TOOL at the gateway
        path: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Print the last records, oldest first
    #[command(after_help = "Examples:\n  nightlatch ledger tail\n  nightlatch ledger tail --last 100 --json")]
    Tail {
        /// How many, 1000 at most
        #[arg(long, default_value_t = 20)]
        last: u32,
    },
    /// Print one record
    #[command(after_help = "Examples:\n  nightlatch ledger show 42")]
    Show {
        /// Its number
        seq: u64,
    },
    /// Say whether the ledger is whole, or which record is the first that does not fit
    #[command(after_help = "\
Examples:
  nightlatch ledger verify
  nightlatch ledger verify --dir backup/ledger    (needs no server; without the signed head)")]
    Verify {
        /// A folder to verify in place of the one that is served
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

/// Reads `90s`, `15m`, `8h`, `30d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!("`{text}` is no duration: write a whole number and `s`, `m`, `h` or `d`, for example `24h`")
    };
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit_secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(wrong()),
    };
    let secs = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_secs));
    secs.filter(|secs| *secs > 0).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::{Cli, duration};
    use clap::{CommandFactory as _, Parser as _};
    use std::time::Duration;

    #[test]
    fn the_grammar_holds() {
        Cli::command().debug_assert();
    }

    /// A longer line is broken, and leaves a stump.
    #[test]
    fn no_line_of_an_after_help_is_longer_than_a_screen() {
        const COLUMNS: usize = 100;
        let mut commands = vec![Cli::command()];
        let mut long = Vec::new();
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines = text.lines().filter(|line| line.chars().count() > COLUMNS);
            long.extend(lines.map(|line| format!("{}: {line}", command.get_name())));
        }
        assert_eq!(long, Vec::<String>::new());
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "h", "24", "1.5h", "-1h", "0h", "24 h", "h24", "99999999999999999999d", "1é"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_command_takes_a_secret_as_an_argument() {
        let refused = [
            &["nightlatch", "connect", "github", "--key", "ghp_x"][..],
            &["nightlatch", "connect", "github", "--key=ghp_x"],
            &["nightlatch", "connect", "slack", "--oauth", "--client-id", "1", "--client-secret", "x"],
            &["nightlatch", "connection", "import", "--old-system-stopped", "--refresh-token", "x"],
            &["nightlatch", "connection", "import", "--old-system-stopped", "x"],
        ];
        for line in refused {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn one_way_to_connect_is_chosen_at_most() {
        assert!(Cli::try_parse_from(["nightlatch", "connect", "github", "--key", "--oauth"]).is_err());
        assert!(Cli::try_parse_from(["nightlatch", "connect", "github"]).is_ok());
    }
}
