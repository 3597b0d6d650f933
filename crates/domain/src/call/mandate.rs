//! A mandate: an agent's signed word that one call may go on without it.
//!
//! Everything that it is for stands in the text that is signed: the installation, whose call, under which grant, with
//! which connection, exactly which bytes were asked for, and until when. Each field has an alphabet without a line
//! feed, so none can be mistaken for another, and the text begins with words of its own: it is no signature of a wake
//! or of a TLS handshake.

use crate::{
    clock::Timestamp,
    id::{CallId, ConnectionId, GrantId, InstallationId, TaskId, TenantId},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A mandate is good for so long at most, from the time in its call's id on.
pub const MANDATE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What a mandate is for. The gateway tells an agent all of it but the end, which the agent chooses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mandate {
    /// The installation whose keeper may act on it.
    pub installation: InstallationId,
    /// The tenant.
    pub tenant: TenantId,
    /// The task.
    pub task: TaskId,
    /// The grant that the call's reference names.
    pub grant: GrantId,
    /// The connection of that grant.
    pub connection: ConnectionId,
    /// The call. Its id holds the time at which it was accepted.
    pub call: CallId,
    /// SHA-256 of the request as it was sent to `POST /v1/calls`, hexadecimal.
    pub request_sha256: String,
    /// After this it is good for nothing.
    pub not_after: Timestamp,
}

impl Mandate {
    /// The exact bytes that the enrolled key signs; none where the hash has not its form.
    #[must_use]
    pub fn statement(&self) -> Option<Vec<u8>> {
        let Self { installation, tenant, task, grant, connection, call, request_sha256, not_after } = self;
        let sound = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (request_sha256.len() == 64 && request_sha256.bytes().all(sound)).then(|| {
            let not_after = not_after.millis();
            let ids = format!("{installation}\n{tenant}\n{task}\n{grant}\n{connection}\n{call}");
            format!("nightlatch mandate v1\n{ids}\n{request_sha256}\n{not_after}").into_bytes()
        })
    }

    /// Whether it may be used at `now`: its end is yet to come, no further off than it may be, and its call is not
    /// one of the future.
    #[must_use]
    pub fn is_timely(&self, now: Timestamp) -> bool {
        let accepted = self.call.time();
        accepted <= now && now < self.not_after && self.not_after <= accepted.plus(MANDATE_MAX)
    }
}

/// A mandate as an agent gives it: what it chooses, and its signature over [`Mandate::statement`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedMandate {
    /// The end that was signed, in milliseconds since 1970.
    pub not_after: Timestamp,
    /// Base64url: ECDSA P-256 with SHA-256 as an ASN.1 `Ecdsa-Sig-Value` (RFC 3279 §2.2.3), or Ed25519 (RFC 8032).
    pub signature: String,
}

#[cfg(test)]
mod tests {
    use super::{MANDATE_MAX, Mandate};
    use crate::{
        clock::Timestamp,
        id::{CallId, ConnectionId, GrantId, InstallationId, TaskId, TenantId},
    };
    use std::time::Duration;

    const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn mandate() -> Mandate {
        Mandate {
            installation: InstallationId::new(AT, [1; 10]),
            tenant: TenantId::new(AT, [2; 10]),
            task: TaskId::new(AT, [3; 10]),
            grant: GrantId::new(AT, [4; 10]),
            connection: ConnectionId::new(AT, [5; 10]),
            call: CallId::new(AT, [6; 10]),
            request_sha256: "0a".repeat(32),
            not_after: AT.plus(Duration::from_secs(60)),
        }
    }

    #[test]
    fn what_is_signed_is_this_text() {
        let one = mandate();
        let (installation, tenant, task) = (one.installation, one.tenant, one.task);
        let (grant, connection, call, hash) = (one.grant, one.connection, one.call, "0a".repeat(32));
        let expected = format!(
            "nightlatch mandate v1\n{installation}\n{tenant}\n{task}\n{grant}\n{connection}\n{call}\n{hash}\n1800000060000"
        );
        assert_eq!(one.statement(), Some(expected.into_bytes()));
        for wrong in ["", "0a", &"0A".repeat(32), &format!("{}\n{}", "0".repeat(31), "0".repeat(32))] {
            assert_eq!(
                Mandate { request_sha256: wrong.to_owned(), ..mandate() }.statement(),
                None,
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_mandate_is_good_from_its_calls_time_to_its_end_and_no_longer_than_a_day() {
        let one = mandate();
        assert!(one.is_timely(AT) && one.is_timely(AT.plus(Duration::from_secs(59))));
        assert!(!one.is_timely(AT.plus(Duration::from_secs(60))), "at its end");
        assert!(!one.is_timely(AT.minus(Duration::from_millis(1))), "before its call");
        let longest = Mandate { not_after: AT.plus(MANDATE_MAX), ..mandate() };
        assert!(longest.is_timely(AT));
        let longer = Mandate { not_after: AT.plus(MANDATE_MAX + Duration::from_millis(1)), ..mandate() };
        assert!(!longer.is_timely(AT) && !longer.is_timely(AT.plus(MANDATE_MAX)));
    }
}
