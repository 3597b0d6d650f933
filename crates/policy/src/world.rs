//! Facts as Cedar has them: entities, request, context. Any failure on the way is a refusal.

use crate::facts::Facts;
use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema,
};
use nightlatch_domain::{
    clock::Timestamp,
    principal::RiskTier,
    task::Assurance,
    tool::{Name, Sensitivity},
};
use std::collections::{HashMap, HashSet};

/// What was to be built does not fit the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfit;

impl<E: std::error::Error> From<E> for Unfit {
    fn from(_: E) -> Self {
        Self
    }
}

/// One evaluation's input.
pub(crate) struct World {
    pub(crate) request: Request,
    pub(crate) entities: Entities,
}

impl World {
    pub(crate) fn of(facts: &Facts, now: Timestamp, schema: &Schema) -> Result<Self, Unfit> {
        let asked = &facts.asked;
        let entities = [tools(facts)?, vec![agent(facts)?, task(facts)?, grant(facts)?, connection(facts)?]];
        let entities = entities.into_iter().flatten().chain([operation(facts)?, resource(facts)?]);
        let request = Request::new(
            uid("Agent", &asked.agent)?,
            uid("Action", &asked.matched.effect)?,
            uid("Resource", &resource_id(facts))?,
            context(facts, now)?,
            Some(schema),
        )?;
        Ok(Self { request, entities: Entities::from_entities(entities, Some(schema))? })
    }
}

fn uid(kind: &str, id: &impl ToString) -> Result<EntityUid, Unfit> {
    let kind: EntityTypeName = kind.parse()?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id.to_string())))
}

fn link(kind: &str, id: &impl ToString) -> Result<RestrictedExpression, Unfit> {
    Ok(RestrictedExpression::new_entity_uid(uid(kind, id)?))
}

fn text(value: &impl ToString) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_string())
}

fn entity<const N: usize>(
    uid: EntityUid,
    attributes: [(&str, Option<RestrictedExpression>); N],
    parents: impl IntoIterator<Item = EntityUid>,
) -> Result<Entity, Unfit> {
    let present = attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Ok(Entity::new(uid, present.collect::<HashMap<_, _>>(), parents.into_iter().collect::<HashSet<_>>())?)
}

/// The tools that anything here names; they are one, unless something is wrong.
fn tools(facts: &Facts) -> Result<Vec<Entity>, Unfit> {
    let names: HashSet<&Name> =
        [&facts.asked.tool, &facts.grant.tool, &facts.connection.tool].into_iter().collect();
    names.into_iter().map(|name| entity(uid("Tool", name)?, [], [])).collect()
}

fn agent(facts: &Facts) -> Result<Entity, Unfit> {
    let agent = &facts.agent;
    let risk = match agent.risk {
        RiskTier::Low => "low",
        RiskTier::Medium => "medium",
        RiskTier::High => "high",
    };
    let attributes = [
        ("tenant", Some(text(&agent.tenant))),
        ("name", Some(text(&agent.name))),
        ("owner", Some(link("Human", &agent.owner)?)),
        ("risk", Some(text(&risk))),
        ("active", Some(RestrictedExpression::new_bool(agent.active))),
    ];
    entity(uid("Agent", &agent.id)?, attributes, [])
}

fn task(facts: &Facts) -> Result<Entity, Unfit> {
    let task = &facts.task;
    let attributes = [
        ("tenant", Some(text(&task.tenant))),
        ("agent", Some(link("Agent", &task.agent)?)),
        ("subject", Some(link("Human", &task.subject)?)),
        ("name", task.name.as_ref().map(text)),
        ("open", Some(RestrictedExpression::new_bool(task.open))),
    ];
    entity(uid("Task", &task.id)?, attributes, [])
}

fn grant(facts: &Facts) -> Result<Entity, Unfit> {
    let grant = &facts.grant;
    let attributes = [
        ("tenant", Some(text(&grant.tenant))),
        ("task", Some(link("Task", &grant.task)?)),
        ("connection", Some(link("Connection", &grant.connection)?)),
        ("tool", Some(link("Tool", &grant.tool)?)),
        ("live", Some(RestrictedExpression::new_bool(grant.live))),
        ("resources", Some(text(&grant.resources))),
    ];
    entity(uid("Grant", &grant.id)?, attributes, [])
}

fn connection(facts: &Facts) -> Result<Entity, Unfit> {
    let connection = &facts.connection;
    let attributes = [
        ("tenant", Some(text(&connection.tenant))),
        ("tool", Some(link("Tool", &connection.tool)?)),
        ("name", Some(text(&connection.name))),
        ("account", connection.account.as_ref().map(text)),
        ("source", Some(text(&connection.source))),
        ("present", Some(RestrictedExpression::new_bool(connection.present))),
    ];
    entity(uid("Connection", &connection.id)?, attributes, [uid("Tool", &connection.tool)?])
}

fn operation_id(facts: &Facts) -> String {
    format!("{}/{}", facts.asked.tool, facts.asked.matched.operation)
}

fn operation(facts: &Facts) -> Result<Entity, Unfit> {
    let matched = &facts.asked.matched;
    let sensitivity = match matched.sensitivity {
        Sensitivity::Low => "low",
        Sensitivity::Medium => "medium",
        Sensitivity::High => "high",
    };
    let attributes = [
        ("id", Some(text(&matched.operation))),
        ("effect", Some(text(&matched.effect))),
        ("sensitivity", Some(text(&sensitivity))),
    ];
    entity(uid("Operation", &operation_id(facts))?, attributes, [uid("Tool", &facts.asked.tool)?])
}

fn resource_id(facts: &Facts) -> String {
    format!("{}/{}", operation_id(facts), facts.asked.matched.resource.as_deref().unwrap_or_default())
}

fn resource(facts: &Facts) -> Result<Entity, Unfit> {
    let asked = &facts.asked;
    let attributes = [
        ("tool", Some(link("Tool", &asked.tool)?)),
        ("connection", Some(link("Connection", &asked.connection)?)),
        ("operation", Some(link("Operation", &operation_id(facts))?)),
        ("name", asked.matched.resource.as_ref().map(text)),
    ];
    let parents = [
        uid("Operation", &operation_id(facts))?,
        uid("Connection", &asked.connection)?,
        uid("Tool", &asked.tool)?,
    ];
    entity(uid("Resource", &resource_id(facts))?, attributes, parents)
}

fn context(facts: &Facts, now: Timestamp) -> Result<Context, Unfit> {
    let asked = &facts.asked;
    let assurance = match facts.assurance {
        Assurance::Stated => "stated",
        Assurance::Signed => "signed",
    };
    let pairs = [
        ("tenant", text(&asked.tenant)),
        ("task", link("Task", &asked.task)?),
        ("grant", link("Grant", &asked.grant)?),
        ("covered", RestrictedExpression::new_bool(facts.covered)),
        ("bound", RestrictedExpression::new_bool(facts.bound)),
        ("host", text(&asked.host)),
        ("method", text(&asked.method)),
        ("template", text(&asked.matched.template)),
        ("sandbox", text(&facts.sandbox.as_str())),
        ("assurance", text(&assurance)),
        ("now", RestrictedExpression::new_datetime(civil(now))),
    ];
    Ok(Context::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value)))?)
}

/// A time as Cedar reads it (`2026-11-21T23:04:05.006Z`); days to a date after Hinnant's
/// `civil_from_days`, where the year begins in March and the leap day stands last.
fn civil(now: Timestamp) -> String {
    let (days, millis) = (now.millis().div_euclid(86_400_000), now.millis().rem_euclid(86_400_000));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
    let (second, milli) = (millis / 1000 % 60, millis % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::civil;
    use nightlatch_domain::clock::Timestamp;

    #[test]
    fn a_time_is_written_as_people_write_it() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_302_245_006, "2026-11-21T23:04:05.006Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (millis, written) in table {
            assert_eq!(civil(Timestamp::from_millis(millis)), written);
        }
    }
}
