//! `policy show|explain`.

use super::Seat;
use crate::{cli::PolicyCommand, error::Failure};
use nightlatch_control::api::{Explain, Explanation, PolicyView};

pub(super) async fn run(seat: &Seat, command: PolicyCommand) -> Result<(), Failure> {
    let client = seat.client()?;
    match command {
        PolicyCommand::Show => {
            let view: PolicyView = client.get("/v1/policy").await?;
            seat.output.result(&view, |view| view.text.clone())
        }
        PolicyCommand::Explain { task, target, method, path } => {
            let request = Explain { task, target, method, path };
            let explanation: Explanation = client.post("/v1/policy/explain", &request).await?;
            seat.output.result(&explanation, |explanation| explanation.detail.clone())
        }
    }
}
