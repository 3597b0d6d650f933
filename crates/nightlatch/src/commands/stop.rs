//! `stop`: asks the server to end, and waits until it has let go of the folder.

use super::Seat;
use crate::error::Failure;
use nightlatch_control::{ClientError, api::Stopping};
use std::time::Duration;

/// How long an orderly end may take: running calls are let finish first.
const END_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn run(seat: &Seat) -> Result<(), Failure> {
    let place = seat.place()?;
    let stopping: Stopping = match seat.client()?.post("/v1/stop", &serde_json::json!({})).await {
        Err(ClientError::Silent) if !place.is_held() => {
            return Err(Failure::Finding(
                "nothing serves this data folder; there is nothing to stop".to_owned(),
            ));
        }
        answer => answer?,
    };
    let gone = async {
        while place.is_held() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(END_WITHIN, gone).await.is_err() {
        let text = format!("it was told to stop and still runs (pid {}); look at its log", stopping.pid);
        return Err(Failure::Finding(text));
    }
    seat.output.result(&stopping, |stopping| format!("stopped (pid {})", stopping.pid))
}
