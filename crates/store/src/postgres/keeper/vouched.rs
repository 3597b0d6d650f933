//! What the keeper vouches for: enrolments and wakes.

use super::super::link::Link;
use super::super::{
    feed,
    record::{self, Word, millis, params},
};
use crate::rows;
use nightlatch_domain::{
    clock::Timestamp,
    id::{TaskId, TenantId},
    ports::store::{EntityId, StoreError},
    principal::Enrolment,
    task::WakeNote,
};

/// Uses a code up and stores the enrolment. The code must be unused, in its time, and made for this very
/// tenant, agent and task.
pub(super) async fn enrol(at: &Link, code_sha256: &str, enrolment: &Enrolment) -> Result<bool, StoreError> {
    let sql = "UPDATE enrolment_code SET used_at = $5
         WHERE tenant_id = $1 AND code_sha256 = $2 AND agent_id = $3 AND task_id = $4
           AND used_at IS NULL AND expires_at > $5";
    let values = params![
        Word(&enrolment.tenant),
        code_sha256,
        Word(&enrolment.agent),
        Word(&enrolment.task),
        enrolment.created_at.millis()
    ];
    if record::write(at, "enrolment_code", sql, values).await? == 0 {
        return Ok(false);
    }
    put_enrolment(at, enrolment).await?;
    feed::note(at, enrolment.tenant, EntityId::Enrolment(enrolment.id)).await?;
    Ok(true)
}

async fn put_enrolment(at: &Link, enrolment: &Enrolment) -> Result<(), StoreError> {
    let (kind, value) = rows::binding_columns(&enrolment.binding);
    record::write(
        at,
        "enrolment",
        "INSERT INTO enrolment
             (tenant_id, enrolment_id, agent_id, task_id, binding_kind, binding_value, created_at, attestation)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            Word(&enrolment.tenant),
            Word(&enrolment.id),
            Word(&enrolment.agent),
            Word(&enrolment.task),
            kind,
            value,
            enrolment.created_at.millis(),
            Word(&enrolment.attestation)
        ],
    ).await?;
    Ok(())
}

/// Notes a wake; the same wake twice is one wake.
pub(super) async fn put_wake(at: &Link, wake: &WakeNote) -> Result<(), StoreError> {
    let (kind, value) = rows::binding_columns(&wake.binding);
    record::write(
        at,
        "wake",
        "INSERT INTO wake (tenant_id, wake_id, task_id, assurance, binding_kind, binding_value, began_at,
             ends_at, ended_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (tenant_id, wake_id) DO NOTHING",
        params![
            Word(&wake.tenant),
            Word(&wake.id),
            Word(&wake.task),
            Word(&wake.assurance),
            kind,
            value,
            wake.began_at.millis(),
            wake.ends_at.millis(),
            millis(wake.ended_at)
        ],
    )
    .await?;
    Ok(())
}

/// A wake that nobody ended was over at its time.
pub(super) async fn prune_wakes(
    at: &Link,
    tenant: TenantId,
    task: TaskId,
    keep: u32,
    before: Timestamp,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM wake
         WHERE tenant_id = $1 AND task_id = $2 AND began_at < $4 AND coalesce(ended_at, ends_at) < $4
           AND wake_id NOT IN (SELECT wake_id FROM wake WHERE tenant_id = $1 AND task_id = $2
                               ORDER BY began_at DESC, wake_id DESC LIMIT $3)";
    record::write(at, "wake", sql, params![Word(&tenant), Word(&task), i64::from(keep), before.millis()])
        .await?;
    Ok(())
}
