//! What happens to a keeper between a request and its answer: a wire that dries its randomness up when something is
//! sent, or says that it left late.

use bytes::Bytes;
use http::Request;
use nightlatch_custody::entropy::SystemEntropy;
use nightlatch_domain::{
    clock::{Boot, Entropy, NoEntropy},
    ports::Boxed,
};
use nightlatch_egress::{Destination, EgressError, Line, RawAnswer, SendError, SendWindow, Wire};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What is to happen.
#[derive(Default)]
pub(crate) struct Meddling {
    /// With the next request the randomness is gone.
    pub(crate) dries_at_send: AtomicBool,
    /// There is none.
    pub(crate) is_dry: AtomicBool,
    /// Requests leave so late.
    pub(crate) late_millis: AtomicU64,
    /// The next request is not written, which is known after so long.
    pub(crate) unwritten_millis: AtomicU64,
}

/// The system's randomness, while there is any.
pub(crate) struct Source(pub(crate) Arc<Meddling>);

impl Entropy for Source {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
        if self.0.is_dry.load(Ordering::SeqCst) {
            return Err(NoEntropy);
        }
        SystemEntropy::new().fill(out)
    }
}

/// A wire with whom somebody meddles.
pub(crate) struct MeddledWire {
    pub(crate) wire: Arc<dyn Wire>,
    pub(crate) meddling: Arc<Meddling>,
}

struct MeddledLine {
    line: Box<dyn Line>,
    meddling: Arc<Meddling>,
}

impl Wire for MeddledWire {
    fn dial<'a>(
        &'a self,
        to: &'a Destination,
        deadline: Boot,
    ) -> Boxed<'a, Result<Box<dyn Line>, EgressError>> {
        Box::pin(async move {
            let line = self.wire.dial(to, deadline).await?;
            let meddling = Arc::clone(&self.meddling);
            Ok(Box::new(MeddledLine { line, meddling }) as Box<dyn Line>)
        })
    }
}

impl Line for MeddledLine {
    fn send(
        self: Box<Self>,
        request: Request<Bytes>,
        answer_max_bytes: usize,
        window: SendWindow,
    ) -> Boxed<'static, Result<RawAnswer, SendError>> {
        if self.meddling.dries_at_send.swap(false, Ordering::SeqCst) {
            self.meddling.is_dry.store(true, Ordering::SeqCst);
        }
        let late_millis = self.meddling.late_millis.load(Ordering::SeqCst);
        let late = (late_millis > 0).then(|| Duration::from_millis(late_millis));
        let unwritten = Duration::from_millis(self.meddling.unwritten_millis.swap(0, Ordering::SeqCst));
        let sent = self.line.send(request, answer_max_bytes, window);
        Box::pin(async move {
            if !unwritten.is_zero() {
                // tidy: sleeps because a slow machine is what the test is about
                tokio::time::sleep(unwritten).await;
                return Err(SendError::NothingWritten(EgressError::NotSent("slow".to_owned())));
            }
            match sent.await {
                Ok(answer) => Ok(RawAnswer { late_by: late.or(answer.late_by), ..answer }),
                Err(SendError::AfterFirstByte { reason, status, late_by }) => {
                    Err(SendError::AfterFirstByte { reason, status, late_by: late.or(late_by) })
                }
                Err(error) => Err(error),
            }
        })
    }
}
