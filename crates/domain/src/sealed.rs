//! What carries a secret across a port or into a table.
//!
//! [`Sealed`] is for one recipient, in transit (HPKE, RFC 9180): what a human typed, on its way to the
//! keeper; a lease, on its way to the gateway. [`Wrapped`] is at rest under the keeper's key (a data
//! key of its own for each generation); it can be opened only together with the very [`SealContext`]
//! that it was wrapped with, so that a row that was moved, swapped or edited opens to nothing.
//! What a durable call asks for and was answered is [`Wrapped`] too, under a key of the gateway's and with a
//! [`CallContext`]. [`Attestation`] is the keeper's MAC over a row that holds no secret but decides.
//! Only `custody` makes or opens any of them.

use crate::{
    call::CallPlace,
    id::{ChainId, ClientId, ConnectionId, FamilyId, KeyId, TenantId},
    tool::{BoundHost, Name},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A message that only one key can open.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The key that it was sealed to.
    pub recipient: KeyId,
    /// The encapsulated key (RFC 9180 §4), base64url.
    pub encapsulated: String,
    /// The ciphertext, base64url.
    pub ciphertext: String,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Sealed(to {})", self.recipient)
    }
}

/// A key that anyone may seal to, with the id by which its holder knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealingKey {
    /// The key's id.
    pub id: KeyId,
    /// The public key as HPKE has it (X25519: 32 bytes), base64url.
    pub public: String,
}

/// A secret at rest under the keeper's key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrapped {
    /// The format's number; 1 today.
    pub format: u8,
    /// The data key under the keeper's key, base64url.
    pub data_key: String,
    /// The secret under the data key, base64url.
    pub ciphertext: String,
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Wrapped(format {})", self.format)
    }
}

/// What a wrapped secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretKind {
    /// A refresh token.
    Refresh,
    /// An access token.
    Access,
    /// An API key, a password, a personal token: it does not change by itself.
    Static,
    /// The secret of our registration at a provider.
    ClientSecret,
    /// A provider's raw answer, kept before it is parsed.
    Answer,
    /// What a flow must remember until its end: the PKCE verifier, `state`, the cookie's secret.
    Flow,
}

/// Everything that a wrapped secret is bound to. It is stored beside the secret in clear and given to
/// the cipher as associated data: whoever edits it can no longer open the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealContext {
    /// Whose secret it is.
    pub tenant: TenantId,
    /// What it is.
    pub kind: SecretKind,
    /// The chain, for tokens.
    pub chain: Option<ChainId>,
    /// The family, for tokens.
    pub family: Option<FamilyId>,
    /// The family's place among those of its chain, for tokens. None, and then not part of what is sealed, where it was
    /// sealed before families were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family_number: Option<u64>,
    /// The connection, for static secrets.
    pub connection: Option<ConnectionId>,
    /// The generation within its family or connection.
    pub generation: u64,
    /// The provider's profile.
    pub provider: Option<Name>,
    /// Our registration there.
    pub client: Option<ClientId>,
    /// The exact token endpoint.
    pub token_endpoint: Option<String>,
    /// The exact endpoint at which refresh tokens are presented, where it is not that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_endpoint: Option<String>,
    /// The exact revocation endpoint.
    pub revocation_endpoint: Option<String>,
    /// How the client authenticates there.
    pub client_auth: Option<ClientAuth>,
    /// Where the credential may go, and where it stands there.
    pub hosts: Vec<BoundHost>,
}

/// What a sealed part of a durable call is bound to: a part that was moved to another call, or put in the place of
/// another part, opens to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallContext {
    /// Whose call it is.
    pub place: CallPlace,
    /// SHA-256 of the request, hexadecimal.
    pub request_sha256: String,
    /// What it is.
    pub part: CallPart,
}

/// The parts of a durable call that are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallPart {
    /// Who asked, and for what.
    Request,
    /// The agent's word that it may go on without it.
    Mandate,
    /// The final answer.
    Result,
}

/// How a client authenticates at the token endpoint (RFC 8414 §2, `token_endpoint_auth_methods`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientAuth {
    /// A public client: the client id alone.
    #[serde(rename = "none")]
    None,
    /// RFC 6749 §2.3.1, the HTTP Basic form.
    #[serde(rename = "client_secret_basic")]
    ClientSecretBasic,
    /// RFC 6749 §2.3.1, in the body.
    #[serde(rename = "client_secret_post")]
    ClientSecretPost,
}

/// The keeper's MAC over a row that control handed over; base64url, empty where there is none yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attestation(pub String);
