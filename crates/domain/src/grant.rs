//! Grants: what a task may do with a connection.
//!
//! A grant is an entity, never a policy of its own. Its grammar on the command line is
//! `TOOL[/CONNECTION][:OPS][@RESOURCE]`; this module holds the two parts that decide, the operations
//! ([`Selector`]) and the resource ([`ResourcePattern`]), and the reading of the whole.

use crate::{
    budget::Budget,
    clock::Timestamp,
    id::{ConnectionId, GrantId, TaskId, TenantId},
    reference::Reference,
    sealed::Attestation,
    tool::{Effect, Name, NameError, OperationId},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// One entry of OPS: an effect or an operation by its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selector {
    /// Every operation of this effect (`write` includes `read`; the others nothing else).
    Effect(Effect),
    /// This operation and no other.
    Operation(OperationId),
}

impl Selector {
    /// Whether an operation is meant. Effect `credential` is never covered but by its operation's id,
    /// and what no manifest lists is never covered by an id.
    #[must_use]
    pub fn covers(&self, operation: &OperationId, effect: Effect) -> bool {
        match self {
            Self::Operation(id) => id == operation && *id != OperationId::unlisted(),
            Self::Effect(Effect::Credential) => false,
            Self::Effect(Effect::Write) => matches!(effect, Effect::Write | Effect::Read),
            Self::Effect(own) => *own == effect,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Effect(effect) => effect.fmt(out),
            Self::Operation(id) => id.fmt(out),
        }
    }
}

/// The resources that a grant is good for: `*` for all, else segments of which `*` matches any one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourcePattern(String);

impl ResourcePattern {
    /// Every resource, and operations that name none.
    #[must_use]
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// Whether this is [`ResourcePattern::all`].
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0 == "*"
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `resource` is meant. A pattern that is not `*` never covers an operation without a
    /// resource: what names nothing cannot be shown to lie inside.
    #[must_use]
    pub fn covers(&self, resource: Option<&str>) -> bool {
        if self.is_all() {
            return true;
        }
        let Some(resource) = resource else { return false };
        let (mut wanted, mut given) = (self.0.split('/'), resource.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some("*"), Some(segment)) if !segment.is_empty() => {}
                (Some(want), Some(segment)) if want == segment => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for ResourcePattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A grant as a person writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GrantText {
    /// The tool.
    pub tool: Name,
    /// The connection's name; none where the tool has just one.
    pub connection: Option<Name>,
    /// What may be done; `read` where nothing is written.
    pub operations: Vec<Selector>,
    /// With what; all where nothing is written.
    pub resource: ResourcePattern,
}

/// Why a text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantTextError {
    /// The tool or the connection is no name.
    #[error("{0}; a grant is `TOOL[/CONNECTION][:OPS][@RESOURCE]`, for example `github:read@acme/*`")]
    Name(#[from] NameError),
    /// An entry of OPS is empty or holds what no operation's id may.
    #[error("`{0}` is neither an effect (`read`, `write`, `destructive`, `admin`) nor an operation's id")]
    Operation(String),
    /// `credential` was written as an effect.
    #[error(
        "`credential` covers nothing as a whole: name each operation by its id (`nightlatch tool show TOOL` lists them)"
    )]
    Credential,
    /// The resource is empty or has an empty segment.
    #[error(
        "`{0}` is no resource: write the manifest's template with `*` for a segment, for example `@acme/*`"
    )]
    Resource(String),
}

impl FromStr for GrantText {
    type Err = GrantTextError;
    fn from_str(text: &str) -> Result<Self, GrantTextError> {
        let (head, resource) = text.split_once('@').map_or((text, None), |(head, tail)| (head, Some(tail)));
        let (place, ops) = head.split_once(':').map_or((head, None), |(place, ops)| (place, Some(ops)));
        let (tool, connection) =
            place.split_once('/').map_or((place, None), |(tool, name)| (tool, Some(name)));
        Ok(Self {
            tool: tool.parse()?,
            connection: connection.map(str::parse).transpose()?,
            operations: ops.unwrap_or("read").split(',').map(selector).collect::<Result<_, _>>()?,
            resource: resource.map_or(Ok(ResourcePattern::all()), resource_pattern)?,
        })
    }
}

fn selector(text: &str) -> Result<Selector, GrantTextError> {
    match Effect::ALL.into_iter().find(|effect| effect.as_str() == text) {
        Some(Effect::Credential) => Err(GrantTextError::Credential),
        Some(effect) => Ok(Selector::Effect(effect)),
        None if is_operation_id(text) => Ok(Selector::Operation(OperationId(text.to_owned()))),
        None => Err(GrantTextError::Operation(text.to_owned())),
    }
}

/// Whether a text may be an operation's id: 1 to 80 of letters, digits, `.`, `-`, `_`, `/`.
#[must_use]
pub fn is_operation_id(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/".contains(&byte);
    (1..=80).contains(&text.len()) && text != "unlisted" && text.bytes().all(inner)
}

fn resource_pattern(text: &str) -> Result<ResourcePattern, GrantTextError> {
    let sound = |segment: &str| !segment.is_empty() && !segment.contains(char::is_whitespace);
    if text.split('/').all(sound) && text.len() <= 512 {
        return Ok(ResourcePattern(text.to_owned()));
    }
    Err(GrantTextError::Resource(text.chars().take(64).collect()))
}

impl fmt::Display for GrantText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.tool)?;
        if let Some(connection) = &self.connection {
            write!(out, "/{connection}")?;
        }
        let operations: Vec<String> = self.operations.iter().map(ToString::to_string).collect();
        write!(out, ":{}", operations.join(","))?;
        if !self.resource.is_all() {
            write!(out, "@{}", self.resource)?;
        }
        Ok(())
    }
}

impl TryFrom<String> for GrantText {
    type Error = GrantTextError;
    fn try_from(text: String) -> Result<Self, GrantTextError> {
        text.parse()
    }
}

impl From<GrantText> for String {
    fn from(grant: GrantText) -> Self {
        grant.to_string()
    }
}

/// Task × connection × operations × resource × lifetime, and the reference that names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The tenant.
    pub tenant: TenantId,
    /// The grant's id.
    pub id: GrantId,
    /// The task that may act.
    pub task: TaskId,
    /// The connection it may act with.
    pub connection: ConnectionId,
    /// The tool of that connection.
    pub tool: Name,
    /// What it may do.
    pub operations: Vec<Selector>,
    /// With what.
    pub resource: ResourcePattern,
    /// What the agent holds for it.
    pub reference: Reference,
    /// When it was given.
    pub created_at: Timestamp,
    /// When it ends; never after its task.
    pub expires_at: Timestamp,
    /// When it was taken back, if it was.
    pub revoked_at: Option<Timestamp>,
    /// How much it is good for in all; without an end where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// The keeper's word that control handed this row over as it stands.
    pub attestation: Attestation,
}

impl Grant {
    /// Whether the grant is good at `now`, as far as its own row says.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }

    /// Whether it covers an operation on a resource.
    #[must_use]
    pub fn covers(&self, operation: &OperationId, effect: Effect, resource: Option<&str>) -> bool {
        self.operations.iter().any(|selector| selector.covers(operation, effect))
            && self.resource.covers(resource)
    }
}

#[cfg(test)]
mod tests {
    use super::{GrantText, GrantTextError, ResourcePattern, Selector};
    use crate::tool::{Effect, OperationId};
    use proptest::prelude::proptest;

    #[test]
    fn a_grant_is_read_as_it_is_written() {
        let grant: GrantText = "github/dana:write,issues.create@acme/*".parse().unwrap();
        assert_eq!(grant.tool.as_str(), "github");
        assert_eq!(grant.connection.unwrap().as_str(), "dana");
        assert_eq!(grant.operations.len(), 2);
        assert!(grant.resource.covers(Some("acme/x")) && !grant.resource.covers(Some("evil/x")));
        assert_eq!("github".parse::<GrantText>().unwrap().to_string(), "github:read");
    }

    #[test]
    fn write_includes_read_and_the_others_nothing_else() {
        let any = OperationId("x".into());
        for own in Effect::ALL {
            for effect in Effect::ALL {
                let covered = Selector::Effect(own).covers(&any, effect);
                let expected = own != Effect::Credential
                    && (own == effect || (own == Effect::Write && effect == Effect::Read));
                assert_eq!(covered, expected, "{own} over {effect}");
            }
        }
    }

    #[test]
    fn credential_is_covered_by_its_operations_id_only() {
        let mint = OperationId("tokens.create".into());
        assert!(Selector::Operation(mint.clone()).covers(&mint, Effect::Credential));
        assert_eq!("github:credential".parse::<GrantText>(), Err(GrantTextError::Credential));
        let unlisted = OperationId::unlisted();
        assert!(!Selector::Operation(unlisted.clone()).covers(&unlisted, Effect::Admin));
    }

    #[test]
    fn a_pattern_matches_whole_segments_and_nothing_deeper() {
        let pattern = "github@acme/*".parse::<GrantText>().unwrap().resource;
        for outside in [None, Some("acme"), Some("acme/"), Some("acme/x/y"), Some("acmex/x"), Some("")] {
            assert!(!pattern.covers(outside), "{outside:?}");
        }
        assert!(ResourcePattern::all().covers(None));
        assert!("github@acme//x".parse::<GrantText>().is_err());
        assert!("github@".parse::<GrantText>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_fail(text in ".{0,60}") {
            let _ = text.parse::<GrantText>();
        }

        #[test]
        fn what_is_read_prints_and_reads_the_same(text in "[a-z]{1,4}(/[a-z]{1,3})?(:(read|write|a\\.b)(,admin)?)?(@[a-z*]{1,3}(/[a-z*]{1,3})?)?") {
            if let Ok(grant) = text.parse::<GrantText>() {
                assert_eq!(grant.to_string().parse::<GrantText>(), Ok(grant));
            }
        }
    }
}
