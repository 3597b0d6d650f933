//! Our own paths for an agent's side: what it is given to trust, what it refused, and wakes that its key signs.

use crate::{
    client::{Answer, Identity},
    world::{Actor, World},
};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_domain::{companion::WakeChallenge, task::Assurance};
use nightlatch_ledger::record::Entry;

async fn get(world: &World, actor: &Actor, path: &str) -> Answer {
    world.send(actor, &world.request(&format!("GET {path}"), &[])).await
}

async fn post(world: &World, actor: &Actor, path: &str, body: &str) -> Answer {
    let length = format!("Content-Length: {}", body.len());
    world.send(actor, &(world.request(&format!("POST {path}"), &[&length]) + body)).await
}

#[tokio::test]
async fn trust_is_given_to_admitted_agents_only() {
    let world = World::new().await;
    let answer = get(&world, &world.alice, "/v1/trust").await;
    assert_eq!(
        (answer.status, answer.field("content-type").as_deref(), answer.field("cache-control").as_deref()),
        (200, Some("application/x-pem-file"), Some("no-store"))
    );
    assert!(!answer.text().contains("PRIVATE"));
    let mut wire = world.dial(Some(&Identity::new())).connect().await.unwrap();
    wire.write(world.request("GET /v1/trust", &[])).await;
    assert_eq!(wire.answer().await.problem(), "not-admitted");
    // The same authority for everybody whose task has a grant of that tool, today and after a restart.
    assert_eq!(get(&world, &world.mallory, "/v1/trust").await.text(), answer.text());
}

#[tokio::test]
async fn what_a_companion_refused_is_recorded_under_its_task_with_its_count() {
    let world = World::new().await;
    for (reason, count) in [("proxy-password", 3), ("peer-uid", 1)] {
        let body = format!("{{\"reason\":\"{reason}\",\"count\":{count}}}");
        let answer = post(&world, &world.alice, "/v1/refusals", &body).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        let decisions = world.decisions().await;
        let Entry::Refusal(refusal) = &decisions.last().unwrap().entry else { panic!("{decisions:?}") };
        assert_eq!((refusal.reason.as_deref(), refusal.count), (Some(reason), count));
        assert_eq!((refusal.agent, refusal.task), (Some(world.alice.agent), Some(world.alice.task)));
    }
    for body in [
        "",
        "{}",
        "{\"reason\":\"other\",\"count\":1}",
        "{\"reason\":\"peer-uid\",\"count\":0}",
        "{\"reason\":\"peer-uid\",\"count\":-1}",
        "{\"reason\":\"peer-uid\",\"count\":4294967296}",
        "{\"reason\":\"peer-uid\",\"count\":1,\"text\":\"x\"}",
        "{\"reason\":\"peer-uid\",\"count\":1,\"count\":2}",
    ] {
        assert_eq!(post(&world, &world.alice, "/v1/refusals", body).await.problem(), "bad-request", "{body}");
    }
    let mut wire = world.dial(None).connect().await.unwrap();
    wire.write(world.request("POST /v1/refusals", &["Content-Length: 0"])).await;
    assert_eq!(wire.answer().await.problem(), "not-admitted");
}

async fn challenge(world: &World, actor: &Actor) -> WakeChallenge {
    let answer = get(world, actor, "/v1/wake").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

fn signed(actor: &Actor, challenge: &WakeChallenge) -> String {
    let signature = actor.identity.sign(&challenge.statement().unwrap());
    format!("{{\"wake\":\"{}\",\"signature\":\"{}\"}}", challenge.wake, URL_SAFE_NO_PAD.encode(signature))
}

/// Wakes an actor by its key's signature.
pub(crate) async fn wake_by_signature(world: &World, actor: &Actor) {
    let challenge = challenge(world, actor).await;
    assert_eq!(post(world, actor, "/v1/wake", &signed(actor, &challenge)).await.status, 204);
}

#[tokio::test]
async fn a_signature_is_carried_to_the_keeper_with_the_key_of_its_connection_and_the_wake_serves() {
    let world = World::new().await;
    world.still_serves(&world.alice).await;
    assert_eq!(world.keeper.count("wake"), 1, "stated, since nobody had signed");
    let challenge = challenge(&world, &world.alice).await;
    assert_eq!(challenge.task, world.alice.task);
    assert_eq!(post(&world, &world.alice, "/v1/wake", &signed(&world.alice, &challenge)).await.status, 204);
    let proof = world.keeper.last_proof();
    assert_eq!((proof.wake, proof.nonce.as_str()), (challenge.wake, challenge.nonce.as_str()));
    let nightlatch_domain::ports::gateway_keeper::Evidence::Signed { public_key_spki, signature } =
        proof.evidence
    else {
        panic!("it was not shown as signed")
    };
    let spki = URL_SAFE_NO_PAD.decode(public_key_spki).unwrap();
    assert_eq!(spki, world.alice.identity.spki);
    // The last 65 bytes of the SPKI of a P-256 key are its point (RFC 5480 §2.2).
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &spki[spki.len() - 65..]);
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert!(key.verify(&challenge.statement().unwrap(), &signature).is_ok());
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, proof.replica_key.public.as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(challenge.replica_key_sha256, hash);
    // Further calls run in it, and say so.
    world.still_serves(&world.alice).await;
    assert_eq!(world.keeper.count("wake"), 2);
    let decisions = world.decisions().await;
    let Entry::Intent(intent) = &decisions.last().unwrap().entry else { panic!("{decisions:?}") };
    assert_eq!((intent.wake, intent.assurance), (Some(challenge.wake), Some(Assurance::Signed)));
}

#[tokio::test]
async fn a_challenge_is_good_once_and_for_its_own_key() {
    let world = World::new().await;
    let first = challenge(&world, &world.alice).await;
    let body = signed(&world.alice, &first);
    // Another agent cannot bring it.
    assert_eq!(post(&world, &world.mallory, "/v1/wake", &body).await.problem(), "lease-refused");
    assert_eq!(post(&world, &world.alice, "/v1/wake", &body).await.status, 204);
    assert_eq!(post(&world, &world.alice, "/v1/wake", &body).await.problem(), "lease-refused");
    // A later challenge takes the place of an earlier one.
    let (earlier, later) = (challenge(&world, &world.alice).await, challenge(&world, &world.alice).await);
    assert_eq!(
        post(&world, &world.alice, "/v1/wake", &signed(&world.alice, &earlier)).await.problem(),
        "lease-refused"
    );
    assert_eq!(
        post(&world, &world.alice, "/v1/wake", &signed(&world.alice, &later)).await.problem(),
        "lease-refused",
        "what was asked for once is gone"
    );
    assert_eq!(world.keeper.count("wake"), 1);
}

#[tokio::test]
async fn many_signed_wakes_leave_two_at_most() {
    let world = World::new().await;
    for _ in 0..4 {
        let challenge = challenge(&world, &world.alice).await;
        assert_eq!(
            post(&world, &world.alice, "/v1/wake", &signed(&world.alice, &challenge)).await.status,
            204
        );
    }
    world.eventually("earlier wakes end", || async { world.keeper.count("sleep") == 2 }).await;
    world.still_serves(&world.alice).await;
}

#[tokio::test]
async fn whoever_is_nobody_is_given_no_challenge() {
    let world = World::new().await;
    for line in ["GET /v1/wake", "POST /v1/wake"] {
        let mut wire = world.dial(Some(&Identity::new())).connect().await.unwrap();
        wire.write(world.request(line, &["Content-Length: 0"])).await;
        assert_eq!(wire.answer().await.problem(), "not-admitted", "{line}");
    }
    assert_eq!(world.keeper.count("challenge"), 0);
    world
        .keeper
        .knobs
        .lock()
        .unwrap()
        .refuse
        .insert("wake", nightlatch_domain::ports::gateway_keeper::KeeperRefusal::ProofRejected);
    let challenge = challenge(&world, &world.alice).await;
    let refused = post(&world, &world.alice, "/v1/wake", &signed(&world.alice, &challenge)).await;
    assert_eq!(refused.problem(), "lease-refused");
}
