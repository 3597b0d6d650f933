//! `GET /v1/calls/{id}/events`: how a call goes on, as server-sent events, until its end.
//!
//! Each event is named `state` and holds the call as `GET /v1/calls/{id}` shows it. The stream ends with the final
//! one. It counts as a call of its agent for as long as it runs, and ends when the gateway closes.

use super::{super::told, shown::Shown};
use crate::{answer::OutBody, error::BodyError, gateway::Shared, peer::Peer, running::Admitted};
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use nightlatch_domain::{
    call::{CallPlace, CallState},
    problem::Problem,
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

/// A comment is sent in the silence, so that nobody takes the stream for dead.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

pub(super) async fn answer(
    shared: &Arc<Shared>,
    peer: &Peer,
    place: CallPlace,
) -> Result<Response<OutBody>, Problem> {
    let share = shared.corridor.share(&shared.corridor.admitted(peer)?)?;
    // Followed before it is looked at: what happens in between is told, at worst twice.
    let states = shared.calls.follow(place);
    let first = Shown::now(shared, place).await?;
    let (events, body) = mpsc::channel(1);
    tokio::spawn(tell(Arc::clone(shared), place, states, first, events, share));
    let mut answer = told("text/event-stream", Vec::new());
    *answer.body_mut() = Events(body).boxed_unsync();
    crate::answer::name_call(answer.headers_mut(), place.call);
    Ok(answer)
}

async fn tell(
    shared: Arc<Shared>,
    place: CallPlace,
    states: Option<watch::Receiver<CallState>>,
    first: Shown,
    events: mpsc::Sender<Bytes>,
    _share: Admitted,
) {
    let (mut shown, mut states) = (first, states);
    loop {
        let is_over = shown.state().is_final();
        if events.send(event(&shown)).await.is_err() || is_over {
            return;
        }
        while let Err(_silence) = timeout(COMMENT_EVERY, next(&mut states)).await {
            if events.send(Bytes::from_static(b": waiting\n\n")).await.is_err() {
                return;
            }
        }
        let Ok(now) = Shown::now(&shared, place).await else { return };
        let is_stuck = states.is_none() && !now.state().is_final();
        shown = now;
        if is_stuck {
            return;
        }
    }
}

/// Answers when something changed. Once the call is over there is nothing left to follow.
async fn next(states: &mut Option<watch::Receiver<CallState>>) {
    let is_over = match states {
        Some(following) => following.changed().await.is_err(),
        None => true,
    };
    if is_over {
        *states = None;
    }
}

fn event(shown: &Shown) -> Bytes {
    // JSON has no line feed outside of its strings, where it is escaped: one line of data.
    let data = serde_json::to_string(shown).unwrap_or_default();
    format!("event: state\ndata: {data}\n\n").into()
}

/// What the teller sends.
struct Events(mpsc::Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
