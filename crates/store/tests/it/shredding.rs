//! Proves that what a human removed is gone from the file, not merely unreachable.

use crate::conformance::world::{World, later};
use crate::sqlite::{Folder, fresh};
use nightlatch_domain::{
    chain::{ChainState, FlowOutcome, FlowStep},
    connection::Source,
    ports::store::{Committed, NewConnection},
    sealed::SecretKind,
};
use std::fs;

/// Long enough to spill over several pages, short enough to share one.
const SIZES: [usize; 3] = [40, 1500, 20_000];

/// A ciphertext that can be looked for in any part: `mark` over and over.
fn marked(mark: &str, size: usize) -> String {
    mark.repeat(size / mark.len() + 1)
}

fn raw(folder: &Folder) -> Vec<u8> {
    let mut bytes = Vec::new();
    for file in fs::read_dir(folder.path()).unwrap() {
        bytes.extend(fs::read(file.unwrap().path()).unwrap());
    }
    bytes
}

fn holds(folder: &Folder, mark: &str) -> bool {
    raw(folder).windows(mark.len()).any(|window| window == mark.as_bytes())
}

#[tokio::test]
async fn a_removed_static_secret_leaves_no_trace_in_the_file() {
    let folder = fresh();
    let world = World::new(&folder).await;
    for size in SIZES {
        let connection = world.connection(&format!("key-{size}"), Source::Static);
        let mut secret = world.secret(connection.id, 1);
        secret.secret = world.wrapped(SecretKind::Static, &marked("StAtIc-CaNaRy", size));
        let id = connection.id;
        let makes = NewConnection { connection, tokens: None, secret: Some(secret) };
        world.keeper.put_connection(makes).await.unwrap();
        world.keyed(&format!("neighbour-{size}")).await;
        assert!(holds(&folder, "StAtIc-CaNaRy"), "the control finds it");
        world.keeper.remove_connection(world.tenant, id, later(1)).await.unwrap();
        assert!(!holds(&folder, "StAtIc-CaNaRy"), "{size}");
    }
}

#[tokio::test]
async fn a_removed_chain_leaves_no_trace_in_the_file() {
    let folder = fresh();
    let world = World::new(&folder).await;
    for (size, account) in SIZES.into_iter().zip(["1", "2", "3"]) {
        let client = world.registered().await.id;
        let mut flow = world.flow(client, account);
        flow.step = FlowStep::Answered;
        flow.answer = Some(world.wrapped(SecretKind::Answer, &marked("FlOw-CaNaRy", size)));
        world.keeper.put_flow(flow.clone()).await.unwrap();
        let mut made = world.tokens(&format!("dana-{size}"), client, account);
        let (chain, mut family, mut generation) = made.tokens.unwrap();
        family.flow = flow.id;
        generation.refresh = Some(world.wrapped(SecretKind::Refresh, &marked("ReFrEsH-CaNaRy", size)));
        generation.access = world.wrapped(SecretKind::Access, &marked("AcCeSs-CaNaRy", size));
        let (connection, chain_id, family_id) = (made.connection.id, chain.id, family.id);
        made.tokens = Some((chain, family, generation));
        let outcome = FlowOutcome::Connected { connection, account: account.into(), label: account.into() };
        world.keeper.end_flow(world.tenant, flow.id, outcome, Some(made)).await.unwrap();
        assert!(!holds(&folder, "FlOw-CaNaRy"), "its tokens are a generation now");

        for number in 1..4 {
            let claim = world.claimed(chain_id).await;
            let attempt = world.intended(claim, family_id, number).await;
            world.answered(attempt, &marked("AnSwEr-CaNaRy", size)).await;
            let mut head = world.head(attempt, family_id, number + 1);
            head.generation.refresh =
                Some(world.wrapped(SecretKind::Refresh, &marked("ReFrEsH-CaNaRy", size)));
            assert_eq!(world.keeper.commit(claim, head).await, Ok(Committed::Moved));
        }
        let claim = world.claimed(chain_id).await;
        let unanswered = world.intended(claim, family_id, 4).await;
        world.answered(unanswered, &marked("AnSwEr-CaNaRy", size)).await;
        assert!(world.keeper.settle(claim, world.settlement(ChainState::Uncertain)).await.unwrap());

        let marks = ["ReFrEsH-CaNaRy", "AcCeSs-CaNaRy", "AnSwEr-CaNaRy"];
        for mark in marks {
            assert!(holds(&folder, mark), "the control finds {mark}");
        }
        world.keeper.remove_connection(world.tenant, connection, later(1)).await.unwrap();
        for mark in marks {
            assert!(!holds(&folder, mark), "{mark} {size}");
        }
    }
}

#[tokio::test]
async fn a_token_is_kept_until_it_is_confirmed_to_be_revoked_and_then_leaves_no_trace() {
    let folder = fresh();
    let world = World::new(&folder).await;
    let client = world.registered().await.id;
    let mut made = world.tokens("dana", client, "1");
    let (chain, family, mut generation) = made.tokens.unwrap();
    let mut refresh = world.wrapped(SecretKind::Refresh, &marked("ReFrEsH-CaNaRy", 1500));
    refresh.1.revocation_endpoint = Some("https://github.com/revoke".into());
    generation.refresh = Some(refresh);
    made.tokens = Some((chain, family, generation));
    let connection = made.connection.id;
    world.keeper.put_connection(made).await.unwrap();
    world.keeper.remove_connection(world.tenant, connection, later(1)).await.unwrap();
    assert!(holds(&folder, "ReFrEsH-CaNaRy"));
    let waiting = world.keeper.revocations(later(1), 9).await.unwrap();
    assert_eq!(waiting.len(), 1);
    world.keeper.confirm_revocation(world.tenant, waiting[0].id).await.unwrap();
    assert!(!holds(&folder, "ReFrEsH-CaNaRy"));
}
