//! Proves that a signed wake is the enrolled key's own: by this key, for this task, wake, nonce, lease key
//! and time, once; and that it is told apart from what a gateway only stated.

use crate::world::{Running, World, binding};
use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nightlatch_custody::{ReplicaKey, entropy::SystemEntropy};
use nightlatch_domain::{
    clock::{Clock as _, Timestamp},
    companion,
    id::{TaskId, WakeId},
    ports::{
        control_keeper,
        gateway_keeper::{Evidence, GatewayReply, GatewayRequest, KeeperRefusal, WakeProof},
        store::ControlStore as _,
    },
    principal::{Binding, EnrolmentCode},
    sealed::{Attestation, SealingKey},
    task::{Assurance, Task, TaskState},
};
use std::{fmt::Write as _, time::Duration};

pub(crate) enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::P256(key) => key.public_key().as_der().unwrap(),
            Self::Ed25519(key) => key.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    pub(crate) fn spki_sha256(&self) -> String {
        sha256(&self.spki())
    }

    fn binding(&self) -> Binding {
        Binding::Key { spki_sha256: self.spki_sha256() }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    fn evidence(&self, message: &[u8]) -> Evidence {
        Evidence::Signed {
            public_key_spki: URL_SAFE_NO_PAD.encode(self.spki()),
            signature: URL_SAFE_NO_PAD.encode(self.sign(message)),
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// What an honest companion would sign.
#[derive(Clone)]
struct Statement {
    task: TaskId,
    wake: WakeId,
    nonce: String,
    replica_key: SealingKey,
    expires_at: Timestamp,
}

impl Statement {
    fn bytes(&self) -> Vec<u8> {
        let key = sha256(self.replica_key.public.as_bytes());
        companion::statement(self.task, self.wake, &self.nonce, &key, self.expires_at).unwrap()
    }
}

fn replica_key() -> SealingKey {
    ReplicaKey::generate(&SystemEntropy::new()).unwrap().sealing_key().clone()
}

/// A challenge, the proof that is missing its signature, and what is to be signed for it.
async fn asked(world: &World, running: &Running) -> (WakeProof, Statement) {
    let proof = world.proof(running, replica_key(), binding()).await;
    let statement = Statement {
        task: proof.task,
        wake: proof.wake,
        nonce: proof.nonce.clone(),
        replica_key: proof.replica_key.clone(),
        expires_at: world.clock.now().plus(Duration::from_secs(60)),
    };
    (proof, statement)
}

/// Enrols a key for the world's task, by a code of its own.
pub(crate) async fn enrol(world: &World, running: &Running, key: &Key) {
    let code_sha256 = sha256(&key.spki());
    let code = EnrolmentCode {
        tenant: world.tenant,
        code_sha256: code_sha256.clone(),
        agent: world.agent,
        task: world.task,
        expires_at: world.clock.now().plus(Duration::from_secs(600)),
        attestation: Attestation::default(),
    };
    let attestation = running.attest(control_keeper::Statement::EnrolmentCode(code.clone())).await;
    running.store.put_enrolment_code(EnrolmentCode { attestation, ..code }).await.unwrap();
    let ask = GatewayRequest::Enrol { code_sha256, binding: key.binding() };
    running.gateway.ask(ask).await.unwrap();
}

async fn enrolled(world: &World) -> (Running, Key) {
    let running = world.start().await;
    world.ready(&running).await;
    let key = Key::p256();
    enrol(world, &running, &key).await;
    (running, key)
}

async fn wake(running: &Running, proof: WakeProof) -> Result<Assurance, KeeperRefusal> {
    match running.gateway.ask(GatewayRequest::Wake(proof)).await? {
        GatewayReply::Awake(granted) => Ok(granted.assurance),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_that_the_enrolled_key_signed_is_shown_as_signed() {
    let world = World::new();
    let running = world.start().await;
    world.ready(&running).await;
    for key in [Key::p256(), Key::ed25519()] {
        enrol(&world, &running, &key).await;
        let (proof, statement) = asked(&world, &running).await;
        let proof = WakeProof { evidence: key.evidence(&statement.bytes()), ..proof };
        assert_eq!(wake(&running, proof).await, Ok(Assurance::Signed));
        let notes = running.store.wakes(world.tenant, world.task, 9).await.unwrap();
        let note = notes.iter().find(|note| note.id == statement.wake).unwrap();
        assert_eq!((note.assurance, &note.binding), (Assurance::Signed, &key.binding()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_over_anything_else_wakes_nobody() {
    let world = World::new();
    let (running, key) = enrolled(&world).await;
    let at = world.clock.now();
    let bends: [fn(&mut Statement, Timestamp); 6] = [
        |signed, at| signed.task = TaskId::new(at, [9; 10]),
        |signed, at| signed.wake = WakeId::new(at, [9; 10]),
        |signed, _| signed.nonce = "0a".repeat(32),
        |signed, _| signed.replica_key = replica_key(),
        |signed, _| signed.expires_at = signed.expires_at.plus(Duration::from_millis(1)),
        |signed, _| signed.expires_at = signed.expires_at.minus(Duration::from_millis(1)),
    ];
    for (place, bend) in bends.into_iter().enumerate() {
        let (proof, mut statement) = asked(&world, &running).await;
        bend(&mut statement, at);
        let proof = WakeProof { evidence: key.evidence(&statement.bytes()), ..proof };
        assert_eq!(wake(&running, proof).await, Err(KeeperRefusal::ProofRejected), "{place}");
    }
    let (proof, statement) = asked(&world, &running).await;
    let bare = statement.bytes()[b"nightlatch wake v1\n".len()..].to_vec();
    let proof = WakeProof { evidence: key.evidence(&bare), ..proof };
    assert_eq!(wake(&running, proof).await, Err(KeeperRefusal::ProofRejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_enrolled_for_one_task_wakes_no_other() {
    let world = World::new();
    let (running, key) = enrolled(&world).await;
    let task = TaskId::new(world.clock.now(), [9; 10]);
    let row = Task { id: task, ..world.task_row(TaskState::Dormant) };
    running.store.put_task(running.attested_task(row).await).await.unwrap();
    let ask = GatewayRequest::Challenge { tenant: world.tenant, task };
    let GatewayReply::Challenge(challenge) = running.gateway.ask(ask).await.unwrap() else {
        panic!("no challenge")
    };
    let (wake, nonce, expires_at) = (challenge.wake, challenge.nonce, challenge.expires_at);
    let replica_key = replica_key();
    let statement =
        Statement { task, wake, nonce: nonce.clone(), replica_key: replica_key.clone(), expires_at };
    let evidence = key.evidence(&statement.bytes());
    let (tenant, agent) = (world.tenant, world.agent);
    let proof = WakeProof { tenant, agent, task, wake: statement.wake, nonce, replica_key, evidence };
    assert_eq!(self::wake(&running, proof).await, Err(KeeperRefusal::ProofRejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_was_changed_after_it_was_signed_wakes_nobody() {
    let world = World::new();
    let (running, key) = enrolled(&world).await;
    let bends: [fn(&mut WakeProof, Timestamp); 4] = [
        |proof, _| proof.replica_key.public = replica_key().public,
        |proof, at| proof.task = TaskId::new(at, [9; 10]),
        |proof, at| proof.agent = nightlatch_domain::id::PrincipalId::new(at, [9; 10]),
        |proof, _| proof.nonce = "00".repeat(32),
    ];
    for (place, bend) in bends.into_iter().enumerate() {
        let (proof, statement) = asked(&world, &running).await;
        let mut proof = WakeProof { evidence: key.evidence(&statement.bytes()), ..proof };
        bend(&mut proof, world.clock.now());
        assert_eq!(wake(&running, proof).await, Err(KeeperRefusal::ProofRejected), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_not_enrolled_signs_for_nobody() {
    let world = World::new();
    let (running, key) = enrolled(&world).await;
    let stranger = Key::p256();
    let (proof, statement) = asked(&world, &running).await;
    let proof = WakeProof { evidence: stranger.evidence(&statement.bytes()), ..proof };
    assert_eq!(wake(&running, proof).await, Err(KeeperRefusal::ProofRejected));
    // The enrolled key's name over a stranger's signature.
    let (proof, statement) = asked(&world, &running).await;
    let evidence = Evidence::Signed {
        public_key_spki: URL_SAFE_NO_PAD.encode(key.spki()),
        signature: URL_SAFE_NO_PAD.encode(stranger.sign(&statement.bytes())),
    };
    assert_eq!(wake(&running, WakeProof { evidence, ..proof }).await, Err(KeeperRefusal::ProofRejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_form_than_it_was_enrolled_in_is_another_key() {
    let world = World::new();
    let (running, key) = enrolled(&world).await;
    let (proof, statement) = asked(&world, &running).await;
    // The last 65 bytes are the bare point, which verifies as well but is not what was enrolled.
    let spki = key.spki();
    let evidence = Evidence::Signed {
        public_key_spki: URL_SAFE_NO_PAD.encode(&spki[spki.len() - 65..]),
        signature: URL_SAFE_NO_PAD.encode(key.sign(&statement.bytes())),
    };
    assert_eq!(wake(&running, WakeProof { evidence, ..proof }).await, Err(KeeperRefusal::ProofRejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_serves_one_wake() {
    let world = World::new();
    let (running, key) = enrolled(&world).await;
    let (proof, statement) = asked(&world, &running).await;
    let proof = WakeProof { evidence: key.evidence(&statement.bytes()), ..proof };
    assert_eq!(wake(&running, proof.clone()).await, Ok(Assurance::Signed));
    let other = WakeProof { replica_key: replica_key(), ..proof.clone() };
    assert_eq!(wake(&running, other).await, Err(KeeperRefusal::ProofRejected));
    let sleep = GatewayRequest::Sleep { tenant: world.tenant, wake: proof.wake };
    running.gateway.ask(sleep).await.unwrap();
    assert_eq!(wake(&running, proof.clone()).await, Err(KeeperRefusal::ProofRejected));
    // Its signature under the next challenge.
    let (next, _) = asked(&world, &running).await;
    let next = WakeProof { evidence: proof.evidence, ..next };
    assert_eq!(wake(&running, next).await, Err(KeeperRefusal::ProofRejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_comes_late_wakes_nobody() {
    let world = World::new();
    let (running, key) = enrolled(&world).await;
    let (proof, statement) = asked(&world, &running).await;
    let proof = WakeProof { evidence: key.evidence(&statement.bytes()), ..proof };
    world.clock.forward(Duration::from_secs(61));
    assert_eq!(wake(&running, proof).await, Err(KeeperRefusal::ProofRejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_and_no_signature_is_refused_as_such() {
    let world = World::new();
    let (running, key) = enrolled(&world).await;
    let (spki, long) = (URL_SAFE_NO_PAD.encode(key.spki()), "A".repeat(100_000));
    for (public_key_spki, signature) in
        [(spki.as_str(), ""), ("", "AAAA"), (&spki, "*"), (&spki, &long), (&long, "AAAA")]
    {
        let (proof, _) = asked(&world, &running).await;
        let evidence =
            Evidence::Signed { public_key_spki: public_key_spki.to_owned(), signature: signature.to_owned() };
        let proof = WakeProof { evidence, ..proof };
        assert_eq!(wake(&running, proof).await, Err(KeeperRefusal::ProofRejected));
    }
}
