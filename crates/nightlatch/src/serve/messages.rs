//! What letters say. Each port's own messages, as they are; beside them only what one process must know of another.

use nightlatch_domain::ports::{
    control_keeper::{ControlRefusal, ControlReply, ControlRequest},
    gateway_keeper::{DrainNotice, GatewayReply, GatewayRequest, KeeperRefusal},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// From a gateway to a keeper.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "to-keeper", content = "says", rename_all = "kebab-case")]
pub(super) enum OfGateway {
    /// Whose keeper it is. → [`InstallationId`](nightlatch_domain::id::InstallationId)
    Installation,
    /// → [`KeeperAnswer`]
    Ask(Box<GatewayRequest>),
}

/// A keeper's answer to a gateway.
pub(super) type KeeperAnswer = Result<GatewayReply, KeeperRefusal>;

/// From control to a keeper. → [`ControlAnswer`]
pub(super) type OfControl = ControlRequest;

/// A keeper's answer to control.
pub(super) type ControlAnswer = Result<ControlReply, ControlRefusal>;

/// From a keeper to a gateway. → `()` when it is done
pub(super) type OfKeeper = DrainNotice;

/// From control to a gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "to-gateway", content = "says", rename_all = "kebab-case")]
pub(super) enum ControlToGateway {
    /// Whether everything that was stored before is in effect here, as soon as it is. → `bool`
    Settle {
        /// `false` after so long.
        within_millis: u64,
    },
}

/// A message as bytes. Messages have no way to fail.
pub(super) fn written(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

/// A message from bytes; none where it is none of that kind.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}
