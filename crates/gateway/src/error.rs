//! What can go wrong with the gateway itself, as opposed to one call (that is a [`Problem`]).
//!
//! [`Problem`]: nightlatch_domain::problem::Problem

/// Why the gateway cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The listener's key or certificate does not fit.
    #[error("the gateway's TLS identity cannot be used ({0}); see `keys/gateway/` in the data folder")]
    Tls(String),
    /// The listener cannot be asked for its address.
    #[error("the gateway's listener has no address ({0})")]
    Listener(std::io::ErrorKind),
}

/// Why a body on its way through broke off. Holds nothing of what the other side sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// The sender broke off.
    #[error("the body broke off before its end")]
    BrokeOff,
    /// Nothing moved for too long.
    #[error("the body stood still for too long")]
    Idle,
    /// The wake or the grant under which it ran ended.
    #[error("what the body ran under has ended")]
    Ended,
    /// It is in no coding that can be read, or expands too far.
    #[error("the body's coding is broken, or it expands beyond the limit")]
    Coding,
    /// It shows a new secret, or is too long to be looked through, and was to show none.
    #[error("the answer was withheld: it was to show no secret")]
    Revealing,
    /// Trailers came (RFC 9110 §6.5), which no phase has looked at.
    #[error("trailers are refused: send every field in the head")]
    Trailers,
}
