//! A flight looks before it does anything: losers adopt, and what only time or a human can mend is left alone.

use super::{Wanted, nothing_to_do};
use crate::machine::Outcome;
use nightlatch_domain::{
    chain::{Chain, ChainState, Client, Family, Generation},
    clock::Timestamp,
    id::{ChainId, ClientId, FamilyId, FlowId, TenantId},
    ports::store::ChainView,
    sealed::{ClientAuth, SealContext, SecretKind, Wrapped},
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

macro_rules! id {
    ($kind:ident) => {
        $kind::new(Timestamp::from_millis(1), [1; 10])
    };
}

fn view(state: ChainState, due_secs: i64) -> ChainView {
    let (tenant, chain, family, client) = (id!(TenantId), id!(ChainId), id!(FamilyId), id!(ClientId));
    let context = SealContext {
        tenant,
        kind: SecretKind::Access,
        chain: Some(chain),
        family: Some(family),
        family_number: Some(1),
        connection: None,
        generation: 2,
        provider: None,
        client: Some(client),
        token_endpoint: None,
        refresh_endpoint: None,
        revocation_endpoint: None,
        client_auth: None,
        hosts: Vec::new(),
    };
    let wrapped = Wrapped { format: 1, data_key: String::new(), ciphertext: String::new() };
    ChainView {
        chain: Chain {
            tenant,
            id: chain,
            provider: "test".parse().unwrap(),
            issuer: String::new(),
            client,
            account: String::new(),
            family,
            families: 1,
            fence: 1,
            owner: None,
            state,
            access_until: None,
            due_at: Some(Timestamp::from_millis(NOW.millis() + due_secs * 1000)),
            refreshed_at: None,
            failed_at: None,
            failures: 0,
            reason: None,
            ticket: None,
            created_at: NOW,
        },
        family: Family { tenant, id: family, chain, flow: id!(FlowId), number: 1, head: 2, created_at: NOW },
        head: Generation {
            tenant,
            family,
            number: 2,
            refresh: None,
            access: (wrapped, context),
            access_until: None,
            refresh_until: None,
            attempt: None,
            created_at: NOW,
        },
        client: Client {
            tenant,
            id: client,
            provider: "test".parse().unwrap(),
            issuer: String::new(),
            client_id: String::new(),
            auth: ClientAuth::None,
            secret: None,
            created_at: NOW,
        },
        connections: Vec::new(),
    }
}

fn instead_of(generation: u64) -> Wanted {
    Wanted::Instead { family: id!(FamilyId), generation }
}

#[test]
fn who_saw_an_older_generation_adopts_the_new_one() {
    let fresh = view(ChainState::Healthy, 600);
    assert_eq!(nothing_to_do(&fresh, instead_of(1), NOW), Some(Outcome::Refreshed));
    assert_eq!(nothing_to_do(&fresh, instead_of(2), NOW), None);
    let family = FamilyId::new(NOW, [9; 10]);
    let other = Wanted::Instead { family, generation: 2 };
    assert_eq!(nothing_to_do(&fresh, other, NOW), Some(Outcome::Refreshed));
}

#[test]
fn what_only_a_human_can_mend_is_left_alone() {
    for state in [ChainState::Latched, ChainState::Uncertain, ChainState::Quarantined] {
        for wanted in [Wanted::Timer, instead_of(2)] {
            assert_eq!(nothing_to_do(&view(state, -1), wanted, NOW), Some(Outcome::NeedsHuman));
        }
    }
}

#[test]
fn a_chain_that_backs_off_is_not_hurried() {
    let waits = view(ChainState::BackingOff, 60);
    let until = waits.chain.due_at;
    assert_eq!(nothing_to_do(&waits, instead_of(2), NOW), Some(Outcome::Waiting { until }));
    assert_eq!(nothing_to_do(&view(ChainState::BackingOff, 0), instead_of(2), NOW), None);
}

#[test]
fn a_timer_that_came_too_early_and_a_foreign_claim_do_nothing() {
    assert_eq!(nothing_to_do(&view(ChainState::Healthy, 1), Wanted::Timer, NOW), Some(Outcome::Refreshed));
    assert_eq!(nothing_to_do(&view(ChainState::Healthy, 0), Wanted::Timer, NOW), None);
    let held = view(ChainState::Refreshing, 0);
    assert_eq!(nothing_to_do(&held, instead_of(2), NOW), Some(Outcome::Superseded));
}
