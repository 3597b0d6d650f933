//! A canonical target → the operation that it is.
//!
//! Of the operations that fit, the narrowest wins; two that are equally narrow are refused when the manifest
//! is read. Where each is narrower somewhere (`/a/{x}` and `/{y}/b` on `/a/b`), the request is `admin`: which
//! of them the server means, nobody said. What none lists is `admin` (or by its method, where the manifest
//! says `safe_methods`). What only looks like a listed path (other letter case, a slash or a format at the
//! end, path parameters), and a listed path with another value in a query name that decides, is `admin`
//! whatever the manifest says, because the server may take it for the listed one. A query name that decides
//! must be there in one reading only.
//!
//! A call that switches protocols is matched only by an operation that lists this, and such an operation by no
//! other call: what one can do over a WebSocket and what a plain GET of its path does have nothing in common. One
//! that is not listed, plainly, is no operation at all; nor is one that would be more where the server ignores it.
//!
//! What is not listed but may be taken for an operation of effect `credential` is `credential`, by any method:
//! a grant of `admin` does not reach it by misspelling, and no grant names what is unlisted.

use super::{Manifest, Operation, PathTemplate, ResourceTemplate, template::careless};
use crate::canonical;
use nightlatch_domain::{
    exchange::{Matched, Target},
    tool::{Effect, OperationId, Sensitivity},
};
use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap};

/// What stands for the template of an unlisted path in the ledger: never the path itself.
const UNLISTED_TEMPLATE: &str = "/{unlisted...}";

/// An operation, and the one of its templates that fits.
type Candidate<'a> = (&'a Operation, &'a PathTemplate);

/// Why a target is refused before anyone asks whether it is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// The tool has no such route.
    #[error("the tool has no host `{0}`: `nightlatch tool show TOOL` lists its routes")]
    Route(String),
    /// A query name that decides what the operation is can be read in two ways.
    #[error(
        "the query name `{0}` decides what this call is and can be read in two ways: send it once, plainly"
    )]
    AmbiguousQuery(String),
    /// A part of the path that names the resource is what no resource's name may be.
    #[error(
        "a part of the path names no resource: write names without `*`, `;`, spaces, and numbers without a sign or a zero in front"
    )]
    Resource,
    /// No operation of this path switches protocols.
    #[error("this path is not listed with `upgrade`: `nightlatch tool show TOOL` lists what is")]
    Upgrade,
}

impl Manifest {
    /// What a target is on the host of a route.
    ///
    /// # Errors
    /// [`MatchError`]: an unknown route, or a target with two readings.
    pub fn matched(&self, route: &str, target: &Target) -> Result<Matched, MatchError> {
        self.host(route).ok_or_else(|| MatchError::Route(route.chars().take(64).collect()))?;
        let path = canonical::segments(&target.path);
        let near = self.near(route, &path);
        let fits =
            |(operation, template): &Candidate<'_>| operation.is_asked_by(target) && template.fits(&path);
        let listed: Vec<Candidate<'_>> = near.iter().copied().filter(fits).collect();
        let query = Query::read(target.query.as_deref());
        let mut fitting: Vec<Candidate<'_>> = Vec::new();
        for candidate in &listed {
            if query.satisfies(candidate.0)? {
                fitting.push(*candidate);
            }
        }
        let narrowest = narrowest(&fitting);
        let is_doubtful = self.has_look_alike(&near, target, &path, narrowest);
        match narrowest {
            Some((operation, template)) if !is_doubtful && self.may_be_ignored(route, target, operation) => {
                self.listed(operation, template, &path)
            }
            _ if target.upgrade.is_some() => Err(MatchError::Upgrade),
            _ if self.may_be_credential(&near, &path) => Ok(unlisted(Effect::Credential)),
            None if !is_doubtful && listed.is_empty() => {
                Ok(unlisted(self.effect_of_unlisted(&target.method)))
            }
            _ => Ok(unlisted(Effect::Admin)),
        }
    }

    /// Every template that could fit a path or be taken for it, with its operation; others may be among them.
    fn near(&self, route: &str, path: &[Cow<'_, str>]) -> Vec<Candidate<'_>> {
        let places = self.index.places(route, path).into_iter();
        let candidate = |(operation, template): (usize, usize)| {
            let operation = self.operations.get(operation)?;
            Some((operation, operation.paths.get(template)?))
        };
        places.filter_map(candidate).collect()
    }

    /// Whether any server could take the path for one of an operation on secrets.
    fn may_be_credential(&self, near: &[Candidate<'_>], path: &[Cow<'_, str>]) -> bool {
        let folded = careless(path);
        let mut secret = near.iter().filter(|(operation, _)| self.is_about_secrets(operation));
        secret.any(|(_, template)| template.fits(path) || template.resembles(&folded))
    }

    fn listed(
        &self,
        operation: &Operation,
        template: &PathTemplate,
        path: &[Cow<'_, str>],
    ) -> Result<Matched, MatchError> {
        let values = template.matched(path).unwrap_or_default();
        let fill = |resource: &ResourceTemplate| resource.filled(&values, &self.resource);
        let resource = operation.resource.as_ref().map(|resource| fill(resource).ok_or(MatchError::Resource));
        Ok(Matched {
            operation: operation.id.clone(),
            effect: operation.effect,
            sensitivity: operation.sensitivity,
            resource: resource.transpose()?,
            template: template.as_str().to_owned(),
        })
    }

    /// Whether it does no harm if the server takes no notice of the upgrade, which it may (RFC 9110 §7.8): what it
    /// answers then is the plain call, which must not be more than what was asked for.
    fn may_be_ignored(&self, route: &str, target: &Target, operation: &Operation) -> bool {
        if target.upgrade.is_none() {
            return true;
        }
        match self.matched(route, &Target { upgrade: None, ..target.clone() }) {
            Ok(plain) if plain.operation == OperationId::unlisted() => plain.effect != Effect::Credential,
            Ok(plain) => plain.effect == Effect::Read || plain.effect == operation.effect,
            Err(_) => false,
        }
    }

    /// Whether a careless server could take the path for a narrower listed one than the one that fits, or
    /// for one that is at odds with it. Another spelling of the same operation on the same resource is neither,
    /// nor is one of an operation that lists this path too and is told from it by method or upgrade alone.
    fn has_look_alike(
        &self,
        near: &[Candidate<'_>],
        target: &Target,
        path: &[Cow<'_, str>],
        best: Option<Candidate<'_>>,
    ) -> bool {
        let folded = careless(path);
        let fits = |template: &PathTemplate| template.fits(path);
        // A call that switches nothing is taken for none that does; the other way round, the upgrade may be ignored.
        let is_near = |own: &Operation| own.upgrade.is_none() || own.upgrade == target.upgrade;
        let rivals = |held: Candidate<'_>, other: Candidate<'_>| {
            other.1.narrowness(held.1).is_none_or(|step| step == Ordering::Greater)
                && !self.is_same_call(held, other, path, &folded)
                && (other.0.is_asked_by(target) || !other.0.paths.iter().any(fits))
        };
        near.iter().copied().filter(|(own, _)| is_near(own)).any(|other| {
            !fits(other.1) && other.1.resembles(&folded) && best.is_none_or(|held| rivals(held, other))
        })
    }

    /// Whether the path as it is and the path as a careless server reads it are one operation on one resource.
    fn is_same_call(
        &self,
        held: Candidate<'_>,
        other: Candidate<'_>,
        path: &[Cow<'_, str>],
        folded: &[Cow<'_, str>],
    ) -> bool {
        let fill = |values: Option<BTreeMap<&str, String>>| {
            held.0
                .resource
                .as_ref()
                .map(|resource| resource.filled(&values.unwrap_or_default(), &self.resource))
        };
        std::ptr::eq(held.0, other.0) && fill(held.1.matched(path)) == fill(other.1.resembled(folded))
    }

    fn effect_of_unlisted(&self, method: &str) -> Effect {
        match (self.safe_methods, method) {
            (true, "GET" | "HEAD") => Effect::Read,
            (true, _) => Effect::Write,
            (false, _) => Effect::Admin,
        }
    }
}

impl Operation {
    /// Whether the method is this operation's. HEAD is GET without the body (RFC 9110 §9.3.2), for good or ill.
    #[must_use]
    pub fn takes(&self, method: &str) -> bool {
        let has = |wanted: &str| self.methods.iter().any(|own| own == wanted);
        has(method) || (method == "HEAD" && has("GET"))
    }

    /// Whether a target may mean this operation, as far as method and upgrade tell.
    pub(crate) fn is_asked_by(&self, target: &Target) -> bool {
        self.upgrade == target.upgrade && self.takes(&target.method)
    }

    /// What two operations would both take, where they are equally narrow.
    pub(crate) fn clash<'a>(&'a self, other: &'a Self) -> Option<(&'a PathTemplate, &'a PathTemplate)> {
        let method = self.methods.iter().any(|method| other.takes(method))
            || other.methods.iter().any(|method| self.takes(method));
        if self.route != other.route || self.upgrade != other.upgrade || !method || self.excludes(other) {
            return None;
        }
        let mut both =
            self.paths.iter().flat_map(|mine| other.paths.iter().map(move |theirs| (mine, theirs)));
        both.find(|(mine, theirs)| {
            mine.overlaps(theirs) && order((self, mine), (other, theirs)) == Some(Ordering::Equal)
        })
    }

    /// A template that fits the same paths as another one of this operation.
    pub(crate) fn repeats(&self) -> Option<&PathTemplate> {
        let equal = |one: &PathTemplate, other: &PathTemplate| {
            one.overlaps(other) && one.narrowness(other) == Some(Ordering::Equal)
        };
        let mut numbered = self.paths.iter().enumerate();
        numbered
            .find(|(index, template)| self.paths.iter().take(*index).any(|other| equal(template, other)))
            .map(|(_, template)| template)
    }

    /// Whether one query name must have different values for the two.
    fn excludes(&self, other: &Self) -> bool {
        self.query.iter().any(|(name, value)| other.query.get(name).is_some_and(|theirs| theirs != value))
    }
}

/// The candidate that is narrower than every other one.
fn narrowest<'a>(fitting: &[Candidate<'a>]) -> Option<Candidate<'a>> {
    let is_other = |one: &Candidate<'_>, other: &Candidate<'_>| !std::ptr::eq(one.1, other.1);
    let beats_all = |own: &&Candidate<'a>| {
        fitting.iter().filter(|other| is_other(own, other)).all(|other| is_narrower(**own, *other))
    };
    fitting.iter().find(beats_all).copied()
}

fn is_narrower(one: Candidate<'_>, held: Candidate<'_>) -> bool {
    order(one, held) == Some(Ordering::Greater)
}

/// The path decides; between equal paths, the one that names more of the query.
fn order(one: Candidate<'_>, other: Candidate<'_>) -> Option<Ordering> {
    let holds = |wide: &Operation, narrow: &Operation| {
        wide.query.iter().all(|(name, value)| narrow.query.get(name) == Some(value))
    };
    match one.1.narrowness(other.1)? {
        Ordering::Equal => match (holds(other.0, one.0), holds(one.0, other.0)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        },
        step => Some(step),
    }
}

fn unlisted(effect: Effect) -> Matched {
    Matched {
        operation: OperationId::unlisted(),
        effect,
        sensitivity: Sensitivity::High,
        resource: None,
        template: UNLISTED_TEMPLATE.to_owned(),
    }
}

/// The query, for the names that decide.
struct Query<'a> {
    raw: &'a str,
    pairs: Vec<(String, String)>,
}

impl<'a> Query<'a> {
    fn read(raw: Option<&'a str>) -> Self {
        let raw = raw.unwrap_or_default();
        Self { raw, pairs: canonical::query_pairs(raw) }
    }

    /// Whether every named value is there; refuses where a name that decides has a second reading.
    fn satisfies(&self, operation: &Operation) -> Result<bool, MatchError> {
        let mut all = true;
        for (name, value) in &operation.query {
            all &= self.only(name)? == Some(value.as_str());
        }
        Ok(all)
    }

    /// The value of a name. Twice, in another letter case, with brackets (`name[]`), or beside a `;` (which
    /// some servers take for `&`) it could be read otherwise than here.
    fn only(&self, name: &str) -> Result<Option<&str>, MatchError> {
        let alike =
            |given: &str| given.split('[').next().unwrap_or_default().trim().eq_ignore_ascii_case(name);
        let mut given = self.pairs.iter().filter(|(key, _)| alike(key));
        let ambiguous = || Err(MatchError::AmbiguousQuery(name.to_owned()));
        if self.raw.contains(';') {
            return ambiguous();
        }
        match (given.next(), given.next()) {
            (None, _) => Ok(None),
            (Some((key, value)), None) if key == name => Ok(Some(value)),
            _ => ambiguous(),
        }
    }
}

#[cfg(test)]
mod tests;
