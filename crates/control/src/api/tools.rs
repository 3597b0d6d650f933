//! Bodies about tools and provider profiles.

use super::schema::dto;
use nightlatch_domain::tool::Name;
use serde_json::Value;

dto! {
    /// A tool, in a line.
    ToolSummary {
        /// Its name.
        name: Name,
        /// Its name for people.
        title: String,
        /// `built-in` or `added`.
        origin: String,
        /// Its hosts or patterns.
        hosts: Vec<String>,
        /// How it can be connected: `key`, `oauth`.
        connect: Vec<String>,
        /// The provider's profile.
        profile: Option<Name>,
        /// How many operations it lists.
        operations: u32,
    }

    /// A tool with all that it can do.
    ToolView {
        /// The line about it.
        tool: ToolSummary,
        /// The page where its API is described.
        docs: String,
        /// The scopes that are asked for unless others are named.
        scopes: Vec<String>,
        /// Whether the hosts must be named at connect.
        needs_host: bool,
        /// Its operations.
        operations: Vec<OperationView>,
        /// What was read from its manifest.
        facts: Value,
        /// The manifest's text, for a tool that was added.
        text: Option<String>,
    }

    /// One thing that a tool can do.
    OperationView {
        /// Its id.
        id: String,
        /// `read`, `write`, `destructive`, `admin` or `credential`.
        effect: String,
        /// `low`, `medium` or `high`.
        sensitivity: String,
        /// The methods.
        methods: Vec<String>,
        /// The path templates.
        paths: Vec<String>,
        /// `websocket` where that is what it is; none for an ordinary call.
        upgrade: Option<String>,
        /// The resource that it names.
        resource: Option<String>,
        /// The page that it was taken from.
        page: String,
    }

    /// A manifest that is to be added.
    AddTool {
        /// The file's name, for messages.
        file: String,
        /// The manifest's text.
        manifest: String,
    }

    /// A provider profile, in a line.
    ProfileSummary {
        /// Its name.
        name: Name,
        /// Its name for people.
        title: String,
        /// `built-in` or `operator`.
        origin: String,
        /// The token endpoint; none in the generic profile, which only says what is assumed of strangers.
        token_endpoint: Option<String>,
        /// Whether a client may do without a secret there.
        public_clients: bool,
    }

    /// A provider profile.
    ProfileView {
        /// The line about it.
        profile: ProfileSummary,
        /// What was read from it.
        facts: Value,
        /// The profile's text, for one of the operator's own.
        text: Option<String>,
    }
}
