//! The policies: the house's own, and what the data folder adds; cut by tool.
//!
//! Evaluation is linear in policies (about 0.6 µs each), so a statement whose scope names a tool
//! (`resource in Tool::"github"`) is only evaluated for calls to that tool.

use crate::{error::PolicyError, statements::statements};
use cedar_policy::{
    Effect, Policy, PolicyId, PolicySet, ResourceConstraint, Schema, ValidationMode, Validator,
};
use std::{
    collections::{HashMap, HashSet},
    fmt,
};

const SCHEMA: &str = include_str!("../policies/schema.cedarschema");
const BASE: &str = include_str!("../policies/base.cedar");
const BASE_FILE: &str = "base.cedar";

/// A file larger than this was not written by a person.
const FILE_MAX_BYTES: usize = 1024 * 1024;
/// So many statements cost 6 ms a call where none names a tool.
const STATEMENTS_MAX: usize = 10_000;

/// The policies that one tool's calls are evaluated under.
pub(crate) struct Slice {
    pub(crate) policies: PolicySet,
    /// Whether one of them reads the time: then nothing is remembered.
    pub(crate) reads_time: bool,
}

/// A statement of the data folder.
pub(crate) struct Added {
    file: String,
    line: usize,
    id: String,
    text: String,
    tool: Option<String>,
    reads_time: bool,
    policy: Policy,
}

pub(crate) struct Policies {
    pub(crate) schema: Schema,
    by_tool: HashMap<String, Slice>,
    others: Slice,
    added: Vec<Added>,
}

impl Policies {
    pub(crate) fn new(files: &[(String, String)]) -> Result<Self, PolicyError> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| embedded(&error))?;
        let base = statements(BASE)
            .into_iter()
            .map(|one| named(one.text, |id| id.to_owned()).map_err(|reason| embedded(&reason)))
            .collect::<Result<Vec<_>, _>>()?;
        let added = added(files)?;
        let all = set(base.iter().chain(added.iter().map(|one| &one.policy)))?;
        validate(&schema, &all, &added)?;
        let tools: HashSet<&str> = added.iter().filter_map(|one| one.tool.as_deref()).collect();
        let by_tool = tools.into_iter().map(|tool| Ok((tool.to_owned(), slice(&base, &added, Some(tool))?)));
        Ok(Self {
            by_tool: by_tool.collect::<Result<_, _>>()?,
            others: slice(&base, &added, None)?,
            schema,
            added,
        })
    }

    /// The policies for calls to a tool.
    pub(crate) fn of(&self, tool: &str) -> &Slice {
        self.by_tool.get(tool).unwrap_or(&self.others)
    }

    /// Everything that is in force, as text.
    pub(crate) fn show(&self) -> String {
        let mut shown =
            format!("// what policies may read\n\n{SCHEMA}\n// {BASE_FILE}: in the program\n\n{BASE}");
        for one in &self.added {
            let scope = one.tool.as_deref().map_or("every tool".to_owned(), |tool| format!("tool `{tool}`"));
            shown.push_str(&format!(
                "\n// {} ({}:{}), for {scope}\n{}\n",
                one.id, one.file, one.line, one.text
            ));
        }
        shown
    }
}

fn set<'a>(policies: impl Iterator<Item = &'a Policy>) -> Result<PolicySet, PolicyError> {
    PolicySet::from_policies(policies.cloned()).map_err(|error| embedded(&error))
}

fn embedded(error: &dyn fmt::Display) -> PolicyError {
    PolicyError::Embedded(error.to_string())
}

fn slice(base: &[Policy], added: &[Added], tool: Option<&str>) -> Result<Slice, PolicyError> {
    let meant = || added.iter().filter(|one| one.tool.is_none() || one.tool.as_deref() == tool);
    let policies = set(base.iter().chain(meant().map(|one| &one.policy)))?;
    Ok(Slice { policies, reads_time: meant().any(|one| one.reads_time) })
}

/// Reads one statement and gives it the id that `name` makes of its `@id`.
fn named(text: &str, name: impl Fn(&str) -> String) -> Result<Policy, String> {
    let policy = Policy::parse(None, text).map_err(|error| error.to_string())?;
    let id = name(policy.annotation("id").unwrap_or_default());
    Ok(policy.new_id(PolicyId::new(id)))
}

fn added(files: &[(String, String)]) -> Result<Vec<Added>, PolicyError> {
    let mut found = Vec::new();
    let mut ids = HashSet::new();
    for (file, text) in files {
        if text.len() > FILE_MAX_BYTES {
            return Err(PolicyError::TooLarge {
                file: file.clone(),
                limit: format!("{FILE_MAX_BYTES} bytes"),
            });
        }
        for one in statements(text) {
            let added = Added::read(file, one.line, one.text)?;
            if !ids.insert(added.id.clone()) {
                return Err(PolicyError::Duplicate { file: file.clone(), line: one.line, id: added.id });
            }
            found.push(added);
        }
        if found.len() > STATEMENTS_MAX {
            let limit = format!("{STATEMENTS_MAX} statements in all");
            return Err(PolicyError::TooLarge { file: file.clone(), limit });
        }
    }
    Ok(found)
}

impl Added {
    fn read(file: &str, line: usize, text: &str) -> Result<Self, PolicyError> {
        let name = |id: &str| if id.is_empty() { format!("{file}:{line}") } else { format!("{file}:{id}") };
        let policy = named(text, name).map_err(|reason| PolicyError::Syntax {
            file: file.to_owned(),
            line,
            reason,
        })?;
        if policy.effect() == Effect::Permit {
            return Err(PolicyError::Permit { file: file.to_owned(), line });
        }
        let unreadable = |error: &dyn fmt::Display| PolicyError::Syntax {
            file: file.to_owned(),
            line,
            reason: error.to_string(),
        };
        let json = policy.to_json().map_err(|error| unreadable(&error))?;
        Ok(Self {
            file: file.to_owned(),
            line,
            id: policy.id().to_string(),
            text: text.to_owned(),
            tool: tool_of(&policy.resource_constraint()),
            reads_time: reads_time(&json),
            policy,
        })
    }
}

/// The one tool that a scope can ever be about: `resource in Tool::"x"`, or an operation of it.
fn tool_of(scope: &ResourceConstraint) -> Option<String> {
    let (ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid)) = scope else { return None };
    let id: &str = uid.id().as_ref();
    match uid.type_name().to_string().as_str() {
        "Tool" => Some(id.to_owned()),
        // A name holds no `/`, so what stands before the first one is the tool.
        "Operation" => id.split_once('/').map(|(tool, _)| tool.to_owned()),
        _ => None,
    }
}

/// Whether a policy reads `context.now`, or the context as a whole, in Cedar's JSON form.
fn reads_time(json: &serde_json::Value) -> bool {
    use serde_json::Value;
    let is_context = |value: &Value| value.get("Var").and_then(Value::as_str) == Some("context");
    match json {
        Value::Object(fields) => {
            let member = [".", "has"].into_iter().find_map(|operator| fields.get(operator));
            if let Some(member) = member.filter(|member| member.get("left").is_some_and(is_context)) {
                return member.get("attr").and_then(Value::as_str).is_none_or(|attribute| attribute == "now");
            }
            is_context(json) || fields.values().any(reads_time)
        }
        Value::Array(items) => items.iter().any(reads_time),
        _ => false,
    }
}

fn validate(schema: &Schema, policies: &PolicySet, added: &[Added]) -> Result<(), PolicyError> {
    let result = Validator::new(schema.clone()).validate(policies, ValidationMode::Strict);
    let errors = result.validation_errors().map(|error| (error.policy_id(), error.to_string()));
    // A warning is a statement that can never apply, or text that hides what it says.
    let warnings = result.validation_warnings().map(|warning| (warning.policy_id(), warning.to_string()));
    let Some((id, reason)) = errors.chain(warnings).next() else { return Ok(()) };
    let wanted = id.to_string();
    Err(match added.iter().find(|one| one.id == wanted) {
        Some(one) => PolicyError::Invalid { file: one.file.clone(), line: one.line, reason },
        None => PolicyError::Embedded(reason),
    })
}
