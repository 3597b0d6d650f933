//! Identifiers: a prefix and the Crockford base32 of a UUIDv7 (`con_01K3…`).
//!
//! The prefix makes an id self-describing in logs and command lines; UUIDv7 (RFC 9562 §5.7) sorts by
//! time, so tables grow at one end. Each kind of thing has its own newtype: a task's id cannot be
//! passed where a grant's is meant.

use crate::clock::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, num::NonZeroU128, str::FromStr};

/// Why a text is no id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id of the form `{prefix}…` (26 characters of base32 after the prefix)")]
pub struct IdError {
    /// The prefix that was expected, with its underscore.
    pub prefix: &'static str,
    /// What was given instead, cut to 64 characters.
    pub text: String,
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TEXT_LEN: usize = 26;

/// The longest prefix has five characters.
const SPELLED_MAX: usize = TEXT_LEN + 6;

/// An id as text, nowhere but on the stack: a record of the ledger spells ten of them.
struct Spelled {
    bytes: [u8; SPELLED_MAX],
    len: usize,
}

impl Spelled {
    fn of(prefix: &str, value: u128) -> Self {
        let mut bytes = [0; SPELLED_MAX];
        let len = prefix.len() + TEXT_LEN;
        let (mut rest, (before, letters)) = (value, bytes.split_at_mut(prefix.len().min(SPELLED_MAX)));
        before.copy_from_slice(prefix.as_bytes());
        for letter in letters.iter_mut().take(TEXT_LEN).rev() {
            *letter = ALPHABET.get((rest & 31) as usize).copied().unwrap_or_default();
            rest >>= 5;
        }
        Self { bytes, len }
    }

    fn as_str(&self) -> &str {
        // Prefix and alphabet are ASCII.
        self.bytes.get(..self.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

fn decode(text: &str) -> Option<NonZeroU128> {
    // 26 characters hold 130 bits: the first may only use its low three.
    if text.len() != TEXT_LEN || !text.starts_with(|first: char| ('0'..='7').contains(&first)) {
        return None;
    }
    let value = text.bytes().try_fold(0u128, |value, byte| {
        let digit = ALPHABET.iter().position(|known| *known == byte)?;
        Some((value << 5) | digit as u128)
    })?;
    NonZeroU128::new(value)
}

/// Version 7 and the variant of RFC 9562 §4. No id is without them, so none is zero, and an `Option` of an
/// id is no larger than the id.
const VERSION_AND_VARIANT: NonZeroU128 = match NonZeroU128::new((0x7 << 76) | (0b10 << 62)) {
    Some(bits) => bits,
    None => NonZeroU128::MIN,
};

/// The bits of a UUIDv7: 48 of time, then version, variant and 74 of randomness (RFC 9562 §5.7).
fn uuid_v7(at: Timestamp, random: [u8; 10]) -> NonZeroU128 {
    let millis = (at.millis().max(0) as u128) & 0xFFFF_FFFF_FFFF;
    let noise = random.iter().fold(0u128, |noise, byte| (noise << 8) | u128::from(*byte));
    let rand_a = (noise >> 62) & 0xFFF;
    let rand_b = noise & 0x3FFF_FFFF_FFFF_FFFF;
    VERSION_AND_VARIANT | (millis << 80) | (rand_a << 64) | rand_b
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU128);

        impl $name {
            /// What stands before the base32, with its underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id from the time and ten bytes of the system's generator.
            #[must_use]
            pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
                Self(uuid_v7(at, random))
            }

            /// Its 128 bits, as a UUID has them.
            #[must_use]
            pub const fn value(&self) -> u128 {
                self.0.get()
            }

            /// The time that it was made from.
            #[must_use]
            pub const fn time(&self) -> Timestamp {
                Timestamp::from_millis((self.0.get() >> 80) as i64)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(Spelled::of(Self::PREFIX, self.0.get()).as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(Self::PREFIX)
                    .and_then(decode)
                    .map(Self)
                    .ok_or_else(|| IdError { prefix: Self::PREFIX, text: text.chars().take(64).collect() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(Spelled::of(Self::PREFIX, self.0.get()).as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A tenant: who owns everything below it.
    TenantId = "ten_";
    /// A principal: human, workload, runner or agent.
    PrincipalId = "prn_";
    /// Our registration at a provider.
    ClientId = "cli_";
    /// What a provider sees as one: unique on (issuer, client, account).
    ChainId = "chn_";
    /// The refresh tokens that grew out of one human consent.
    FamilyId = "fam_";
    /// One account at one tool, as a user sees it.
    ConnectionId = "con_";
    /// A bounded piece of work by one agent.
    TaskId = "task_";
    /// What a task may do with a connection.
    GrantId = "grt_";
    /// Something that only a human can settle.
    TicketId = "tkt_";
    /// A token that is to be revoked.
    RevocationId = "rev_";
    /// One call through the corridor.
    CallId = "call_";
    /// The time in which a task may act.
    WakeId = "wake_";
    /// One presentation of a refresh token; random, never reused.
    AttemptId = "att_";
    /// A consent that was begun and is not yet a connection.
    FlowId = "flow_";
    /// The opaque context in a redirect path: one for each tenant, tool and provider.
    ContextId = "ctx_";
    /// One keeper of an installation, by the log that it keeps.
    KeeperId = "kpr_";
    /// A process that holds a claim.
    OwnerId = "own_";
    /// A key that something can be sealed to.
    KeyId = "key_";
    /// One installation of Nightlatch.
    InstallationId = "inst_";
    /// How an agent proves itself: an enrolled key or a UID.
    EnrolmentId = "enr_";
    /// One plane of one process, from its start to its end.
    PeerId = "peer_";
}

#[cfg(test)]
mod tests {
    use super::{ConnectionId, TaskId, uuid_v7};
    use crate::clock::Timestamp;
    use proptest::prelude::{any, proptest};

    #[test]
    fn an_id_carries_version_variant_and_time() {
        let bits = uuid_v7(Timestamp::from_millis(0x0123_4567_89AB), [0xFF; 10]).get();
        assert_eq!(bits >> 80, 0x0123_4567_89AB);
        assert_eq!((bits >> 76) & 0xF, 7);
        assert_eq!((bits >> 62) & 0b11, 0b10);
        let at = Timestamp::from_millis(0x0123_4567_89AB);
        assert_eq!(TaskId::new(at, [0xFF; 10]).time(), at);
    }

    #[test]
    fn one_kind_of_id_is_not_read_as_another() {
        let task = TaskId::new(Timestamp::from_millis(1), [7; 10]).to_string();
        assert!(task.parse::<ConnectionId>().is_err());
        assert!(task.to_lowercase().parse::<TaskId>().is_err());
        assert!("task_".parse::<TaskId>().is_err());
    }

    proptest! {
        #[test]
        fn every_id_reads_back_as_itself(at in 0i64..(1 << 47), random in any::<[u8; 10]>()) {
            let id = ConnectionId::new(Timestamp::from_millis(at), random);
            assert_eq!(id.to_string().parse::<ConnectionId>(), Ok(id));
        }

        #[test]
        fn no_text_makes_the_reader_fail(text in ".{0,40}") {
            let _ = text.parse::<ConnectionId>();
            let _ = format!("con_{text}").parse::<ConnectionId>();
        }
    }
}
