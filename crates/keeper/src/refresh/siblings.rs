//! Answers that brought tokens and never became a head: siblings of the one that did.
//!
//! Where a retry and the answer that was thought lost both brought tokens, one became the head and the other lies
//! sealed. It is worth something until that head has refreshed once: then it is known which of the two the provider
//! holds for good. Until then a final no to the head is none to the sibling.

use super::material::{Material, belongs_at};
use crate::{
    core::Core,
    token::{self, Parsed, Tokens},
};
use nightlatch_catalog::profile::{Profile, SecondPresentation};
use nightlatch_custody::Secret;
use nightlatch_domain::{
    chain::{Attempt, AttemptState},
    id::AttemptId,
    ports::store::ChainView,
    sealed::SecretKind,
};

/// So many generations back unused answers are looked for: each that was adopted and refused is one.
const BACK: u64 = 8;

/// From which generation on attempts matter for a head that is refused.
pub(super) const fn since(head: u64) -> u64 {
    head.saturating_sub(BACK)
}

/// The first that brought tokens which are not the head's own.
pub(super) fn first(
    core: &Core,
    view: &ChainView,
    material: &Material,
    attempts: &[Attempt],
) -> Option<(AttemptId, Tokens)> {
    let unused = unused(attempts, view.head.number);
    unused.into_iter().find_map(|one| Some((one.id, tokens(core, view, material, one)?)))
}

/// The refresh token of the newest answer beside the head, to a later presentation than the head is the answer to: at a
/// provider where the last one wins, the head's own died of that.
pub(super) fn displacing(
    core: &Core,
    view: &ChainView,
    material: &Material,
    attempts: &[Attempt],
) -> Option<Secret> {
    let own = attempts.iter().find(|one| Some(one.id) == view.head.attempt)?;
    let later = |one: &&Attempt| one.generation == own.generation && one.fence > own.fence;
    let newest = unused(attempts, view.head.number).into_iter().filter(later).max_by_key(|one| one.fence)?;
    tokens(core, view, material, newest)?.refresh
}

/// Whether the last presentation wins at a provider: an earlier one's tokens die of it.
pub(super) fn last_wins(profile: &Profile) -> bool {
    profile.second_presentation == SecondPresentation::LastWins && profile.may_decide("second_presentation")
}

fn tokens(core: &Core, view: &ChainView, material: &Material, one: &Attempt) -> Option<Tokens> {
    let answer = one.answer.as_ref()?;
    if !belongs_at(&answer.1, view, SecretKind::Answer, one.generation) {
        return None;
    }
    let Parsed::Tokens(tokens) = token::parse(&core.open(answer).ok()?, &material.profile) else {
        return None;
    };
    let refresh = tokens.refresh.as_ref()?;
    (refresh.expose() != material.token.expose()).then_some(tokens)
}

/// The answers that may be tried in place of the head, the oldest first: those that were brought beside it, and since it
/// was last reached by a refresh. A generation that was refused is no such refresh.
pub(super) fn unused(attempts: &[Attempt], head: u64) -> Vec<&Attempt> {
    let before = |one: &&Attempt| one.generation < head;
    let refreshed = attempts.iter().filter(before).filter(|one| one.state == AttemptState::Committed);
    let Some(since) = refreshed.map(|one| one.generation).max() else { return Vec::new() };
    let is_unused = |one: &&Attempt| {
        let has_answer = matches!(one.state, AttemptState::Answered | AttemptState::Uncertain);
        one.generation >= since && has_answer && one.answer.is_some()
    };
    attempts.iter().filter(before).filter(is_unused).collect()
}

#[cfg(test)]
mod tests {
    //! A sibling is tried while its head was not refreshed, and only once.

    use super::unused;
    use nightlatch_domain::{
        chain::{Attempt, AttemptState},
        clock::Timestamp,
        id::{AttemptId, ChainId, FamilyId, OwnerId, TenantId},
        sealed::{SealContext, SecretKind, Wrapped},
    };

    fn attempt(number: u8, generation: u64, state: AttemptState) -> Attempt {
        let at = Timestamp::from_millis(1);
        let tenant = TenantId::new(at, [1; 10]);
        let context = SealContext {
            tenant,
            kind: SecretKind::Answer,
            chain: None,
            family: None,
            family_number: None,
            connection: None,
            generation,
            provider: None,
            client: None,
            token_endpoint: None,
            refresh_endpoint: None,
            revocation_endpoint: None,
            client_auth: None,
            hosts: Vec::new(),
        };
        let wrapped = Wrapped { format: 1, data_key: String::new(), ciphertext: String::new() };
        Attempt {
            tenant,
            id: AttemptId::new(at, [number; 10]),
            chain: ChainId::new(at, [1; 10]),
            family: FamilyId::new(at, [1; 10]),
            generation,
            fence: 1,
            owner: OwnerId::new(at, [1; 10]),
            era: 1,
            state,
            intended_at: at,
            intended_by: at,
            answer: Some((wrapped, context)),
        }
    }

    fn found(attempts: &[Attempt], head: u64) -> Vec<AttemptId> {
        unused(attempts, head).into_iter().map(|one| one.id).collect()
    }

    #[test]
    fn an_answer_beside_the_heads_own_is_tried_until_the_head_has_refreshed() {
        let (late, own) = (attempt(1, 4, AttemptState::Answered), attempt(2, 4, AttemptState::Committed));
        let at_head = [late.clone(), own.clone(), attempt(3, 5, AttemptState::Answered)];
        assert_eq!(found(&at_head, 5), [late.id]);
        let refreshed = [late, own, attempt(3, 5, AttemptState::Committed)];
        assert_eq!(found(&refreshed, 6), []);
    }

    #[test]
    fn one_that_was_adopted_is_not_tried_again_and_the_next_one_is() {
        let (adopted, own) = (attempt(1, 4, AttemptState::Committed), attempt(2, 4, AttemptState::Committed));
        let other = attempt(4, 4, AttemptState::Uncertain);
        let refused = attempt(3, 5, AttemptState::Refused);
        let none = [adopted.clone(), own.clone(), refused.clone()];
        assert_eq!(found(&none, 6), []);
        assert_eq!(found(&[adopted, own, other.clone(), refused], 6), [other.id]);
    }

    #[test]
    fn what_brought_nothing_is_no_sibling() {
        let lost = Attempt { answer: None, ..attempt(1, 4, AttemptState::Uncertain) };
        let own = attempt(2, 4, AttemptState::Committed);
        assert_eq!(found(&[lost, own], 5), []);
        assert_eq!(found(&[attempt(1, 4, AttemptState::Answered)], 5), []);
    }
}
