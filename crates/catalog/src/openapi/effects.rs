//! What an operation does to the world, by what its document says of it.
//!
//! A document does not say which of its operations mint a secret or hand out rights. Its words do, so they are read:
//! the operation's id, the literals of its path, its tags, the verbs and nouns of its summary, the scopes that it
//! asks for. Words only ever *raise* an effect above what the method says, so a name that misleads costs a human the
//! writing of a manifest by hand, and never a secret: an operation wrongly called `credential` is refused, one wrongly
//! called `read` would be let through.

use super::names::{words, words_as_written};
use nightlatch_domain::tool::Effect;

/// Words in an id, a path or a tag that speak of secrets.
const SECRETS: &[&str] = &[
    "2fa",
    "apikey",
    "authorization",
    "authorize",
    "credential",
    "deauthorize",
    "impersonate",
    "impersonation",
    "jwt",
    "key",
    "keypair",
    "kubeconfig",
    "login",
    "logout",
    "mfa",
    "mint",
    "oauth",
    "oauth2",
    "oidc",
    "openid",
    "otp",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "pwd",
    "regenerate",
    "revocation",
    "revoke",
    "rotate",
    "rotation",
    "secret",
    "session",
    "signin",
    "signout",
    "sso",
    "tfa",
    "token",
    "totp",
];

/// Words that speak of proving oneself: of secrets wherever something is sent, of rights wherever it is looked at.
const PROOFS: &[&str] = &["auth", "authenticate", "authentication", "certificate", "saml"];

/// Names of a path's variables that are secrets themselves. A `{key}` is mostly no more than a name.
const SECRET_VARIABLES: &[&str] = &["password", "secret", "token"];

/// Nouns and verbs that speak of a secret where both stand in a summary.
const SECRET_NOUNS: &[&str] = &["credential", "key", "password", "secret", "token"];
const SECRET_VERBS: &[&str] = &[
    "create",
    "delete",
    "exchange",
    "generate",
    "issue",
    "mint",
    "refresh",
    "regenerate",
    "reset",
    "reveal",
    "revoke",
    "roll",
    "rotate",
    "show",
];

/// Words that speak of who may do what, wherever something is changed.
const RIGHTS: &[&str] = &[
    "access",
    "acl",
    "admin",
    "administration",
    "administrator",
    "billing",
    "collaborator",
    "enterprise",
    "firewall",
    "grant",
    "hook",
    "iam",
    "installation",
    "integration",
    "invitation",
    "invite",
    "member",
    "membership",
    "organization",
    "owner",
    "ownership",
    "permission",
    "policy",
    "privilege",
    "protection",
    "restriction",
    "role",
    "ruleset",
    "runner",
    "scim",
    "setting",
    "team",
    "tenant",
    "transfer",
    "uninstall",
    "user",
    "visibility",
    "webhook",
];

/// Words that speak of it even where it is only looked at.
const RIGHTS_SEEN: &[&str] = &["admin", "administration", "administrator", "audit", "billing", "iam", "scim"];

/// Words that speak of what cannot be taken back.
const ENDINGS: &[&str] = &[
    "cancel",
    "close",
    "delete",
    "destroy",
    "drop",
    "erase",
    "kill",
    "payout",
    "purge",
    "refund",
    "remove",
    "terminate",
    "truncate",
    "wipe",
];

/// Words by which a GET is more than a look, whatever else is said of it.
const RUNNING: &[&str] =
    &["attach", "console", "eval", "exec", "execute", "portforward", "proxy", "shell", "ssh"];

/// Words by which a GET changes something, unless a word of looking stands beside them.
const CHANGES: &[&str] = &[
    "accept",
    "activate",
    "add",
    "approve",
    "archive",
    "assign",
    "block",
    "cancel",
    "clear",
    "close",
    "complete",
    "completed",
    "confirm",
    "connect",
    "create",
    "deactivate",
    "decline",
    "delete",
    "disable",
    "disconnect",
    "edit",
    "enable",
    "end",
    "exchange",
    "fail",
    "failed",
    "generate",
    "import",
    "install",
    "invalidate",
    "invite",
    "join",
    "kick",
    "leave",
    "lock",
    "mark",
    "merge",
    "move",
    "mute",
    "open",
    "pause",
    "pin",
    "post",
    "publish",
    "push",
    "put",
    "register",
    "reject",
    "remove",
    "rename",
    "reply",
    "request",
    "resend",
    "reset",
    "resolve",
    "restart",
    "resume",
    "run",
    "save",
    "send",
    "set",
    "share",
    "sign",
    "start",
    "stop",
    "submit",
    "subscribe",
    "suspend",
    "sync",
    "transfer",
    "trigger",
    "unarchive",
    "uninstall",
    "unlock",
    "unsubscribe",
    "update",
    "upload",
    "vote",
    "write",
];

/// Words of looking, as they are written: `views` are things, and `view` is a look at one.
const LOOKS: &[&str] = &[
    "check", "count", "describe", "download", "export", "fetch", "find", "get", "history", "index", "info",
    "list", "lookup", "query", "read", "retrieve", "search", "show", "status", "view",
];

/// What a document says of an operation.
pub(super) struct Said<'d> {
    pub(super) method: &'d str,
    pub(super) id: &'d str,
    /// The literals of the path, without the variables.
    pub(super) literals: Vec<String>,
    pub(super) variables: Vec<String>,
    pub(super) tags: Vec<&'d str>,
    pub(super) summary: &'d str,
    /// The scopes that it asks for.
    pub(super) scopes: Vec<&'d str>,
    /// What the document itself calls it.
    pub(super) stated: Option<Effect>,
}

/// What a name alone says.
pub(super) fn of_name(method: &str, id: &str) -> Effect {
    let said = Said {
        method,
        id,
        literals: Vec::new(),
        variables: Vec::new(),
        tags: Vec::new(),
        summary: "",
        scopes: Vec::new(),
        stated: None,
    };
    said.effect()
}

impl Said<'_> {
    /// What it does, at the worst.
    pub(super) fn effect(&self) -> Effect {
        let named: Vec<String> =
            words(self.id).chain(self.literals.iter().flat_map(|literal| words(literal))).collect();
        let tagged: Vec<String> = self.tags.iter().flat_map(|tag| words(tag)).collect();
        let raised = [
            Some(self.by_method(&named)),
            self.is_of_secrets(&named, &tagged).then_some(Effect::Credential),
            self.is_of_rights(&named, &tagged).then_some(Effect::Admin),
            self.stated,
        ];
        raised.into_iter().flatten().max().unwrap_or(Effect::Admin)
    }

    fn is_look(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }

    fn by_method(&self, named: &[String]) -> Effect {
        let ends = has(named, ENDINGS);
        match self.method {
            "GET" | "HEAD" | "OPTIONS" if has(named, RUNNING) => Effect::Write,
            // By what the operation is called: the path names things as well (`/posts`, `/sets`).
            "GET" | "HEAD" | "OPTIONS" => match self.changes_by_name() {
                true if ends => Effect::Destructive,
                true => Effect::Write,
                false => Effect::Read,
            },
            "DELETE" => Effect::Destructive,
            _ if ends => Effect::Destructive,
            _ => Effect::Write,
        }
    }

    /// Whether a name says that something changes: the id, and the last part of a path that is a phrase
    /// (`/views.open`) or all that there is.
    fn changes_by_name(&self) -> bool {
        let changes = |word: &String| CHANGES.contains(&word.as_str());
        let id: Vec<String> = words_as_written(self.id).collect();
        let last: Vec<String> =
            self.literals.last().map(|last| words_as_written(last).collect()).unwrap_or_default();
        let is_phrase = last.len() > 1 || id.is_empty();
        (id.iter().any(changes) && !has(&id, LOOKS)) || (is_phrase && last.last().is_some_and(changes))
    }

    fn is_of_secrets(&self, named: &[String], tagged: &[String]) -> bool {
        let summary: Vec<String> = words(self.summary).collect();
        let variables: Vec<String> = self.variables.iter().flat_map(|name| words(name)).collect();
        has(named, SECRETS)
            || has(tagged, SECRETS)
            || (!self.is_look() && (has(named, PROOFS) || has(tagged, PROOFS)))
            || variables.last().is_some_and(|last| SECRET_VARIABLES.contains(&last.as_str()))
            || (has(&summary, SECRET_NOUNS) && has(&summary, SECRET_VERBS))
    }

    fn is_of_rights(&self, named: &[String], tagged: &[String]) -> bool {
        let scopes: Vec<String> = self.scopes.iter().flat_map(|scope| words(scope)).collect();
        let seen = has(named, RIGHTS_SEEN) || has(tagged, RIGHTS_SEEN) || has(&scopes, RIGHTS_SEEN);
        seen || has(named, PROOFS) || (!self.is_look() && has(named, RIGHTS))
    }
}

fn has(words: &[String], list: &[&str]) -> bool {
    words.iter().any(|word| list.contains(&word.as_str()))
}

#[cfg(test)]
mod tests;
