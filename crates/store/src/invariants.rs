//! What must hold between rows, whichever engine keeps them: each a question whose answer is how often it does not.

/// Something that a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A stable name, for programs.
    pub name: &'static str,
    /// How often; at least once.
    pub count: u64,
    /// What the engine says of it, where it says something.
    pub detail: Option<String>,
}

impl Fault {
    /// None where it does not occur.
    pub(crate) fn counted(name: &'static str, count: i64, detail: Option<String>) -> Option<Self> {
        let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
        Some(Self { name, count, detail })
    }
}

/// The questions, by the names of what they find.
pub(crate) const INVARIANTS: [(&str, &str); 8] = [
    (
        "chain-without-family",
        "SELECT count(*) AS found FROM chain WHERE NOT EXISTS (SELECT 1 FROM family
             WHERE family.tenant_id = chain.tenant_id AND family.family_id = chain.family_id
               AND family.chain_id = chain.chain_id)",
    ),
    (
        "family-without-head",
        "SELECT count(*) AS found FROM chain
             JOIN family ON family.tenant_id = chain.tenant_id AND family.family_id = chain.family_id
             WHERE EXISTS (SELECT 1 FROM living_connection AS living
                 WHERE living.tenant_id = chain.tenant_id AND living.chain_id = chain.chain_id)
               AND NOT EXISTS (SELECT 1 FROM generation WHERE generation.tenant_id = family.tenant_id
                   AND generation.family_id = family.family_id AND generation.number = family.head)",
    ),
    (
        "generation-above-head",
        "SELECT count(*) AS found FROM generation
             JOIN family ON family.tenant_id = generation.tenant_id AND family.family_id = generation.family_id
             WHERE generation.number > family.head",
    ),
    (
        "two-intents-at-once",
        "SELECT count(*) AS found FROM (SELECT 1 FROM attempt WHERE state = 'intended'
             GROUP BY tenant_id, family_id, generation HAVING count(*) > 1) AS twice",
    ),
    (
        "claim-without-owner",
        "SELECT count(*) AS found FROM chain WHERE state = 'refreshing' AND owner_id IS NULL",
    ),
    (
        "feed-with-a-gap",
        "SELECT coalesce(max(number) - min(number) + 1 - count(*), 0) AS found FROM feed",
    ),
    (
        "feed-above-its-counter",
        "SELECT count(*) AS found FROM feed WHERE number > (SELECT number FROM feed_counter WHERE one = 1)",
    ),
    (
        "keeper-of-a-later-era",
        "SELECT count(*) AS found FROM keeper WHERE compared > (SELECT era FROM installation WHERE one = 1)",
    ),
];
