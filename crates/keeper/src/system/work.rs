//! Tasks and waits by tokio.

use nightlatch_domain::ports::{Boxed, work::Work};
use std::time::Duration;

/// The runtime that its caller runs in.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioWork;

impl Work for TokioWork {
    fn spawn(&self, task: Boxed<'static, ()>) {
        drop(tokio::spawn(task));
    }

    fn sleep(&self, span: Duration) -> Boxed<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> Boxed<'static, ()> {
        let working = tokio::task::spawn_blocking(work);
        Box::pin(async move {
            // A panic in there is the worker's own; whoever waits has its word by other means, or none.
            let _ = working.await;
        })
    }
}

#[cfg(test)]
mod tests {
    //! Work is carried through whoever stops waiting, and waits end.

    use super::TokioWork;
    use nightlatch_domain::ports::work::{Work, within};
    use std::{future::pending, sync::mpsc, time::Duration};
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn what_blocks_is_carried_through_whoever_stops_waiting() {
        let (tell, told) = mpsc::channel();
        drop(TokioWork.blocking(Box::new(move || tell.send(1).unwrap())));
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(1));
    }

    #[tokio::test]
    async fn who_waits_for_what_blocks_is_told_after_it() {
        let (tell, told) = mpsc::channel();
        TokioWork.blocking(Box::new(move || tell.send(1).unwrap())).await;
        assert_eq!(told.try_recv(), Ok(1));
    }

    #[tokio::test]
    async fn a_task_runs_though_nobody_waits_for_it() {
        let (tell, told) = oneshot::channel();
        TokioWork.spawn(Box::pin(async move { tell.send(1).unwrap() }));
        assert_eq!(told.await, Ok(1));
    }

    #[tokio::test]
    async fn what_takes_too_long_is_not_waited_for() {
        assert_eq!(within(&TokioWork, Duration::from_millis(1), pending::<()>()).await, None);
        let soon = TokioWork.sleep(Duration::from_millis(1));
        assert_eq!(within(&TokioWork, Duration::from_secs(60), soon).await, Some(()));
    }
}
