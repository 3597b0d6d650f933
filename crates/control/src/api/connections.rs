//! Bodies about connections: how one comes to be, how it is, how it ends.

use super::{OneTime, schema::dto};
use nightlatch_domain::{
    clock::Timestamp,
    id::{ClientId, ConnectionId, FlowId, TicketId},
    sealed::{ClientAuth, Sealed},
    tool::Name,
};

dto! {
    /// One account at one tool.
    ConnectionView {
        /// Its id.
        id: ConnectionId,
        /// The tool.
        tool: Name,
        /// Its name, unique within the tool.
        name: Name,
        /// The account's id at the tool, where it was probed.
        account: Option<String>,
        /// The account as people know it.
        label: Option<String>,
        /// `tokens` (the keeper refreshes them) or `static` (the secret itself; lower assurance).
        source: String,
        /// Where its credential may go.
        hosts: Vec<String>,
        /// `healthy`, `recovering` or `needs-you`.
        state: String,
        /// Why, where it is not healthy.
        reason: Option<String>,
        /// Until when its access token is good.
        access_until: Option<Timestamp>,
        /// When it was last refreshed.
        refreshed_at: Option<Timestamp>,
        /// When a refresh last failed.
        failed_at: Option<Timestamp>,
        /// When the keeper next acts.
        due_at: Option<Timestamp>,
        /// The ticket that asks a human.
        ticket: Option<TicketId>,
        /// The command that a human runs, where one is needed.
        command: Option<String>,
        /// When it was made.
        created_at: Timestamp,
    }

    /// A static secret that is to become a connection.
    AddConnection {
        /// The tool.
        tool: Name,
        /// The connection's name; `main` where it is absent.
        name: Option<Name>,
        /// The connection to reconnect: its id or `TOOL/NAME`.
        reconnect: Option<String>,
        /// The base address, for a tool whose manifest leaves it open: `https://HOST[:PORT][/PREFIX]`.
        host: Option<String>,
        /// Where the credential stands there, if not where the manifest says: `bearer`, `basic:USER` or `header:NAME`.
        placement: Option<String>,
        /// The secret, sealed to the intake key.
        secret: Sealed,
    }

    /// A connection is there.
    Connected {
        /// It.
        connection: ConnectionView,
    }

    /// What the tool said when it was asked whose account a connection is.
    TestResult {
        /// The connection.
        connection: ConnectionView,
        /// Whether the tool took the credential.
        works: bool,
        /// Whether the account was asked for; some tools have no way to.
        probed: bool,
        /// What was found, in words.
        detail: String,
    }

    /// A connection is gone, its secrets deleted; nothing uses it any more.
    Removed {
        /// Which.
        id: ConnectionId,
        /// As `tool/name`.
        connection: String,
    }

    /// Our registration at a provider.
    AddClientRequest {
        /// The provider's profile.
        provider: Name,
        /// The client id that the provider gave.
        client_id: String,
        /// How we authenticate; where it is absent: with the secret as the profile says, or not at all without one.
        auth: Option<ClientAuth>,
        /// The client secret, sealed to the intake key.
        secret: Option<Sealed>,
    }

    /// Our registration at a provider, without its secret.
    ClientView {
        /// Its id.
        id: ClientId,
        /// The provider's profile.
        provider: Name,
        /// The issuer.
        issuer: String,
        /// The client id that the provider gave.
        client_id: String,
        /// How we authenticate.
        auth: ClientAuth,
        /// When it was added.
        created_at: Timestamp,
    }

    /// What is to be registered at the provider of a tool.
    RedirectView {
        /// The tool.
        tool: Name,
        /// The provider's profile.
        provider: Name,
        /// The exact redirect URI; the provider compares it letter by letter.
        redirect_uri: String,
        /// The page of the provider where clients are registered, where the profile names one.
        register_at: Option<String>,
        /// The scopes that are asked for unless others are named.
        scopes: Vec<String>,
        /// The registrations that exist already, newest first.
        clients: Vec<ClientView>,
    }

    /// A flow that is to begin.
    BeginFlowRequest {
        /// The tool.
        tool: Name,
        /// The connection's name; `main` where it is absent.
        name: Option<Name>,
        /// Our registration.
        client: ClientId,
        /// The connection to reconnect: its id or `TOOL/NAME`.
        reconnect: Option<String>,
        /// The scopes; the manifest's where none are named.
        scopes: Vec<String>,
        /// The base address, for a tool whose manifest leaves it open: `https://HOST[:PORT][/PREFIX]`.
        host: Option<String>,
        /// Where the credential stands there, if not where the manifest says: `bearer`, `basic:USER` or `header:NAME`.
        placement: Option<String>,
    }

    /// A flow that was begun.
    FlowStarted {
        /// Its id.
        flow: FlowId,
        /// To be opened once, in the browser of the human who ran the command.
        start_url: OneTime,
        /// The provider's page, for a human whose browser cannot reach this machine.
        authorize_url: OneTime,
        /// The exact redirect URI, to tell what to paste.
        redirect_uri: String,
        /// When the flow is void.
        expires_at: Timestamp,
    }

    /// What was read from the redirected address that a human pasted.
    PastedAnswer {
        /// `state` as it stood there.
        state: String,
        /// The context that the path ended in.
        context: String,
        /// `iss` as it stood there.
        iss: Option<String>,
        /// The code, sealed to the intake key.
        code: Option<Sealed>,
        /// Or the provider's error code.
        error: Option<String>,
    }

    /// Where a flow stands.
    FlowView {
        /// Its id.
        flow: FlowId,
        /// `begun`, `redeeming`, `answered`, `connected`, `failed` or `expired`.
        state: String,
        /// The connection that it made or reconnected.
        connection: Option<ConnectionView>,
        /// Why it failed.
        reason: Option<String>,
        /// When it is void.
        expires_at: Timestamp,
    }
}
