//! Only the keeper's word makes a row good, the intake opens what was meant for it, a lease opens for
//! its wake alone, and all of it survives a restart.

use super::KeeperKeys;
use crate::{
    CustodyError, ReplicaKey, Secret,
    entropy::SystemEntropy,
    seal,
    testing::{altered, binding, body, context, id, keeper},
};
use nightlatch_domain::{
    clock::Timestamp,
    grant::{Grant, ResourcePattern, Selector},
    id::{ConnectionId, EnrolmentId, FamilyId, GrantId, PrincipalId, TaskId, TenantId, WakeId},
    ports::{
        control_keeper::{Intake, Statement, intake_context},
        gateway_keeper::{Lease, LeaseBinding, LeaseKind},
    },
    principal::{Agent, AgentStatus, Binding, Enrolment, EnrolmentCode, RiskTier},
    reference::Reference,
    sealed::{Attestation, Sealed},
    task::{Egress, Task, TaskState},
    tool::Effect,
};
use std::sync::Arc;

fn secret(text: &str) -> Secret {
    Secret::from_string(text.to_owned())
}

fn refused<T>(result: Result<T, CustodyError>) -> bool {
    matches!(result, Err(CustodyError::Refused))
}

fn agent() -> Agent {
    Agent {
        tenant: id!(TenantId, 1),
        id: id!(PrincipalId, 1),
        name: "laptop".parse().unwrap(),
        owner: id!(PrincipalId, 2),
        purpose: "work".to_owned(),
        risk: RiskTier::Medium,
        status: AgentStatus::Active,
        created_at: Timestamp::from_millis(1),
        attestation: Attestation::default(),
    }
}

fn task() -> Task {
    Task {
        tenant: id!(TenantId, 1),
        id: id!(TaskId, 1),
        name: None,
        agent: id!(PrincipalId, 1),
        subject: id!(PrincipalId, 2),
        purpose: "work".to_owned(),
        egress: Egress::Tools,
        state: TaskState::Dormant,
        created_at: Timestamp::from_millis(1),
        ends_at: Timestamp::from_millis(2),
        attestation: Attestation::default(),
    }
}

fn grant() -> Grant {
    Grant {
        tenant: id!(TenantId, 1),
        id: id!(GrantId, 1),
        task: id!(TaskId, 1),
        connection: id!(ConnectionId, 1),
        tool: "github".parse().unwrap(),
        reference: Reference::draw(|| Ok::<_, ()>([7; 64])).unwrap(),
        operations: vec![Selector::Effect(Effect::Read)],
        resource: ResourcePattern::all(),
        created_at: Timestamp::from_millis(1),
        expires_at: Timestamp::from_millis(2),
        revoked_at: None,
        budget: None,
        attestation: Attestation::default(),
    }
}

fn code() -> EnrolmentCode {
    EnrolmentCode {
        tenant: id!(TenantId, 1),
        code_sha256: "00".repeat(32),
        agent: id!(PrincipalId, 1),
        task: id!(TaskId, 1),
        expires_at: Timestamp::from_millis(2),
        attestation: Attestation::default(),
    }
}

fn enrolment() -> Enrolment {
    Enrolment {
        tenant: id!(TenantId, 1),
        id: id!(EnrolmentId, 1),
        agent: id!(PrincipalId, 1),
        task: id!(TaskId, 1),
        binding: Binding::Key { spki_sha256: "11".repeat(32) },
        created_at: Timestamp::from_millis(1),
        attestation: Attestation::default(),
    }
}

/// A row of each kind, and the same row with one thing changed.
fn rows() -> Vec<(Statement, Statement)> {
    vec![
        (Statement::Agent(agent()), Statement::Agent(Agent { status: AgentStatus::Disabled, ..agent() })),
        (
            Statement::Task(task()),
            Statement::Task(Task { ends_at: Timestamp::from_millis(i64::MAX), ..task() }),
        ),
        (Statement::Grant(grant()), Statement::Grant(Grant { connection: id!(ConnectionId, 2), ..grant() })),
        (
            Statement::EnrolmentCode(code()),
            Statement::EnrolmentCode(EnrolmentCode { agent: id!(PrincipalId, 9), ..code() }),
        ),
        (
            Statement::Enrolment(enrolment()),
            Statement::Enrolment(Enrolment {
                binding: Binding::Key { spki_sha256: "22".repeat(32) },
                ..enrolment()
            }),
        ),
    ]
}

fn attested(row: Statement, word: Attestation) -> Statement {
    match row {
        Statement::Agent(row) => Statement::Agent(Agent { attestation: word, ..row }),
        Statement::Task(row) => Statement::Task(Task { attestation: word, ..row }),
        Statement::Grant(row) => Statement::Grant(Grant { attestation: word, ..row }),
        Statement::EnrolmentCode(row) => Statement::EnrolmentCode(EnrolmentCode { attestation: word, ..row }),
        Statement::Enrolment(row) => Statement::Enrolment(Enrolment { attestation: word, ..row }),
    }
}

#[test]
fn an_attested_row_of_each_kind_verifies_and_an_edited_one_does_not() {
    let (_folder, keys) = keeper();
    for (row, edited) in rows() {
        let word = keys.attest(&row).unwrap();
        assert!(keys.verify(&attested(row.clone(), word.clone())), "{row:?}");
        assert!(!keys.verify(&attested(edited, word.clone())), "{row:?}");
        assert!(!keys.verify(&attested(row.clone(), Attestation(altered(&word.0)))), "{row:?}");
        assert!(!keys.verify(&attested(row.clone(), Attestation(word.0[..20].to_owned()))), "{row:?}");
        assert!(!keys.verify(&row), "without a word: {row:?}");
    }
}

#[test]
fn the_word_for_one_kind_of_row_is_not_taken_for_another() {
    let (_folder, keys) = keeper();
    let words: Vec<_> = rows().into_iter().map(|(row, _)| (keys.attest(&row).unwrap(), row)).collect();
    for (at, (word, _)) in words.iter().enumerate() {
        for (other, (_, row)) in words.iter().enumerate() {
            assert_eq!(keys.verify(&attested(row.clone(), word.clone())), at == other);
        }
    }
}

#[test]
fn another_keepers_word_is_none() {
    let (_one, keys) = keeper();
    let (_two, others) = keeper();
    for (row, _) in rows() {
        let word = others.attest(&row).unwrap();
        assert!(!keys.verify(&attested(row, word)));
    }
}

#[test]
fn a_task_is_not_opened_to_the_world_behind_the_keepers_back() {
    let (_folder, keys) = keeper();
    let word = keys.attest(&Statement::Task(task())).unwrap();
    let opened = Statement::Task(Task { egress: Egress::Open, attestation: word, ..task() });
    assert!(!keys.verify(&opened));
}

#[test]
fn the_word_for_a_task_that_is_older_than_its_egress_still_holds() {
    let written = serde_json::to_value(task()).unwrap();
    assert!(written.get("egress").is_none());
    assert_eq!(serde_json::from_value::<Task>(written).unwrap(), task());
}

#[test]
fn the_intake_opens_what_was_sealed_for_this_tool_and_nothing_else() {
    let (_folder, keys) = keeper();
    let (github, gitlab) = ("github".parse().unwrap(), "gitlab".parse().unwrap());
    let aad = intake_context(id!(TenantId, 1), Intake::ToolKey(&github));
    let sealed = seal::to(&keys.intake_key(), aad.as_bytes(), &secret("typed-canary")).unwrap();
    assert_eq!(keys.open_intake(&sealed, aad.as_bytes()).unwrap().expose(), b"typed-canary");
    for other in [Intake::ToolKey(&gitlab), Intake::ClientSecret(&github)] {
        let other = intake_context(id!(TenantId, 1), other);
        assert!(refused(keys.open_intake(&sealed, other.as_bytes())));
    }
    let altered = Sealed { ciphertext: altered(&sealed.ciphertext), ..sealed.clone() };
    assert!(refused(keys.open_intake(&altered, aad.as_bytes())));
    let (_other_folder, others) = keeper();
    assert!(refused(others.open_intake(&sealed, aad.as_bytes())));
    let renamed = Sealed { recipient: others.intake_key().id, ..sealed.clone() };
    assert!(refused(keys.open_intake(&renamed, aad.as_bytes())));
    let redirected = Sealed { recipient: others.intake_key().id, ..sealed };
    assert!(refused(others.open_intake(&redirected, aad.as_bytes())));
}

#[test]
fn a_key_under_another_keys_id_is_not_sealed_to() {
    let (_one, keys) = keeper();
    let (_two, others) = keeper();
    let mut forged = keys.intake_key();
    forged.public = others.intake_key().public;
    assert!(matches!(seal::to(&forged, b"", &secret("x")), Err(CustodyError::BadRecipient)));
    forged.public = "AAAA".to_owned();
    assert!(matches!(seal::to(&forged, b"", &secret("x")), Err(CustodyError::BadRecipient)));
}

fn lease(keys: &KeeperKeys, replica: &ReplicaKey) -> Lease {
    let sealed =
        keys.seal_lease(replica.sealing_key(), &binding(), &body(), &secret("access-canary")).unwrap();
    let windows = keys.seal_windows(replica.sealing_key(), &binding(), b"hashes").unwrap();
    Lease {
        sealed,
        windows,
        binding: binding(),
        kind: LeaseKind::Bearer,
        fresh_until: Timestamp::from_millis(9),
    }
}

#[test]
fn a_lease_opens_with_its_wakes_key_and_binding() {
    let (_folder, keys) = keeper();
    let replica = ReplicaKey::generate(&SystemEntropy::new()).unwrap();
    let (opened, credential) = replica.open_lease(&lease(&keys, &replica)).unwrap();
    assert_eq!(opened, body());
    assert_eq!(credential.expose(), b"access-canary");
    assert_eq!(replica.open_windows(&lease(&keys, &replica)).unwrap().expose(), b"hashes");
}

#[test]
fn a_lease_with_any_other_binding_is_refused() {
    let (_folder, keys) = keeper();
    let replica = ReplicaKey::generate(&SystemEntropy::new()).unwrap();
    let LeaseBinding {
        tenant: _,
        wake: _,
        grant: _,
        connection: _,
        family: _,
        generation: _,
        request_sha256: _,
    } = binding();
    for edited in [
        LeaseBinding { tenant: id!(TenantId, 2), ..binding() },
        LeaseBinding { request_sha256: Some("0a".repeat(32)), ..binding() },
        LeaseBinding { wake: id!(WakeId, 2), ..binding() },
        LeaseBinding { grant: id!(GrantId, 2), ..binding() },
        LeaseBinding { connection: id!(ConnectionId, 2), ..binding() },
        LeaseBinding { family: Some(id!(FamilyId, 2)), ..binding() },
        LeaseBinding { family: None, ..binding() },
        LeaseBinding { generation: 6, ..binding() },
    ] {
        let moved = Lease { binding: edited.clone(), ..lease(&keys, &replica) };
        assert!(refused(replica.open_lease(&moved)), "{edited:?}");
        assert!(refused(replica.open_windows(&moved)), "{edited:?}");
    }
}

#[test]
fn a_lease_of_another_wake_is_refused() {
    let (_folder, keys) = keeper();
    let one = ReplicaKey::generate(&SystemEntropy::new()).unwrap();
    let two = ReplicaKey::generate(&SystemEntropy::new()).unwrap();
    let mut stolen = lease(&keys, &one);
    assert!(refused(two.open_lease(&stolen)));
    stolen.sealed.recipient = two.sealing_key().id;
    assert!(refused(two.open_lease(&stolen)));
}

#[test]
fn what_was_sealed_for_the_intake_is_no_lease_and_windows_are_none_either() {
    let replica = ReplicaKey::generate(&SystemEntropy::new()).unwrap();
    let (_folder, keys) = keeper();
    let genuine = lease(&keys, &replica);
    let aad = crate::lease::associated(&binding()).unwrap();
    let plain = crate::lease::encode(&body(), &secret("forged")).unwrap();
    let sealed = seal::to(replica.sealing_key(), &aad, &Secret::new(plain.to_vec())).unwrap();
    assert!(refused(replica.open_lease(&Lease { sealed, ..genuine.clone() })));
    let swapped = Lease { sealed: genuine.windows.clone(), windows: genuine.sealed.clone(), ..genuine };
    assert!(refused(replica.open_lease(&swapped)) && refused(replica.open_windows(&swapped)));
}

#[test]
fn after_a_restart_everything_opens_as_before() {
    let (folder, keys) = keeper();
    let wrapped = keys.wrap(&secret("kept"), &context()).unwrap();
    let sealed = seal::to(&keys.intake_key(), b"x", &secret("typed")).unwrap();
    let (row, _) = rows().remove(0);
    let word = keys.attest(&row).unwrap();
    let recognised = keys.recognise(&secret("kept"));
    drop(keys);
    let again = KeeperKeys::load_or_create(folder.path(), false, Arc::new(SystemEntropy::new())).unwrap();
    assert_eq!(again.open(&wrapped, &context()).unwrap().expose(), b"kept");
    assert_eq!(again.open_intake(&sealed, b"x").unwrap().expose(), b"typed");
    assert!(again.verify(&attested(row, word)));
    assert_eq!(again.recognise(&secret("kept")), recognised);
    assert_ne!(again.recognise(&secret("kept.")), recognised);
}

#[test]
fn each_use_has_a_key_of_its_own() {
    let root = aws_lc_rs::hkdf::Salt::new(aws_lc_rs::hkdf::HKDF_SHA256, super::SALT).extract(&[7; 32]);
    let labels: [&[u8]; 4] = [b"wrap", b"attest", b"recognise", b"intake"];
    let keys: std::collections::BTreeSet<_> =
        labels.iter().map(|label| *super::expand(&root, label).unwrap()).collect();
    assert_eq!(keys.len(), labels.len());
    assert!(!keys.contains(&[7; 32]));
}
