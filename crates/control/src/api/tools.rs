//! Bodies about tools and provider profiles.

use super::schema::dto;
use nightlatch_domain::{
    id::{GrantId, TaskId},
    tool::Name,
};
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
        /// The document that its manifest was made from.
        source: Option<SourceView>,
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
        /// Whether the tool's makers advise against it.
        deprecated: bool,
    }

    /// The document that a manifest was made from.
    SourceView {
        /// The kind of document: `openapi`.
        kind: String,
        /// The file, as it was named.
        file: String,
        /// The title that it gives itself.
        title: Option<String>,
        /// The version that it gives itself.
        version: Option<String>,
        /// SHA-256 of the document, in lower-case hexadecimal.
        sha256: String,
    }

    /// A manifest that is to be added.
    AddTool {
        /// The file's name, for messages.
        file: String,
        /// The manifest's text.
        manifest: String,
        /// What it may take the place of, as the difference named it; whatever is there where it is absent.
        replaces: Option<String>,
    }

    /// What a manifest would change.
    ToolDifference {
        /// The tool.
        tool: Name,
        /// Whether nothing is in its place.
        is_new: bool,
        /// Whether the very same manifest is there.
        is_same: bool,
        /// What it would take the place of, to be given back when it is added.
        replaces: String,
        /// The document that it was made from.
        source: Option<SourceView>,
        /// Where a credential goes, and where it stands there.
        destinations: Vec<String>,
        /// The same by the manifest that is there.
        destinations_before: Vec<String>,
        /// What could not be done before.
        added: Vec<ActView>,
        /// What can be done no more.
        removed: Vec<ActView>,
        /// What is another under the same id.
        changed: Vec<ChangedAct>,
        /// The living grants that would cover something else.
        grants: Vec<GrantChange>,
    }

    /// Something that can be done, in few words.
    ActView {
        /// Its id.
        id: String,
        /// `read`, `write`, `destructive`, `admin` or `credential`.
        effect: String,
        /// How it is asked for: method and path, or root and field.
        request: String,
        /// The resource that it names.
        resource: Option<String>,
    }

    /// Something that would be another under the same id.
    ChangedAct {
        /// As it is.
        before: ActView,
        /// As it would be.
        after: ActView,
    }

    /// A living grant that would cover something else.
    GrantChange {
        /// The grant.
        grant: GrantId,
        /// Its task.
        task: TaskId,
        /// What it covers, in its own words.
        operations: Vec<String>,
        /// The operations that it would come to cover.
        gains: Vec<String>,
        /// The operations that it would cover no more.
        loses: Vec<String>,
    }

    /// A provider profile, in a line.
    ProfileSummary {
        /// Its name.
        name: Name,
        /// Its name for people.
        title: String,
        /// `built-in` or `operator`.
        origin: String,
        /// The token endpoint, or the one that refreshes where there is no other; none in the generic profile, which only
        /// says what is assumed of strangers.
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
