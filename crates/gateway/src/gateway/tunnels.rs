//! The tunnels of one connection. They end with it, whichever way it ends.

use super::{
    attendance::{Attendance, Running},
    connection::{Closing, Ends},
    moving::GivenUp,
};
use nightlatch_domain::ports::Boxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;

/// The tunnels that were opened over one connection.
pub(crate) struct Tunnels {
    /// None once the connection is over: then no further one begins.
    set: Mutex<Option<JoinSet<()>>>,
    attendance: Arc<Attendance>,
    ends: Ends,
}

impl Tunnels {
    /// `is_shared` says that a connection carries many tunnels: then giving one up ends that one alone.
    pub(super) fn new(
        attendance: &Arc<Attendance>,
        closing: Closing,
        given_up: &GivenUp,
        is_shared: bool,
    ) -> Arc<Self> {
        let given_up = if is_shared { None } else { Some(given_up.clone()) };
        let ends = Ends { closing, given_up };
        Arc::new(Self { set: Mutex::new(Some(JoinSet::new())), attendance: Arc::clone(attendance), ends })
    }

    /// Begins a tunnel. It counts as something that the connection is busy with.
    pub(crate) fn begin(&self, tunnel: impl FnOnce(Ends, Running) -> Boxed<'static, ()>) {
        let tunnel = tunnel(self.ends.clone(), self.attendance.begin());
        if let Some(set) = self.set().as_mut() {
            while set.try_join_next().is_some() {}
            set.spawn(tunnel);
        }
    }

    /// Waits until all of them have ended by themselves.
    pub(super) async fn ended(&self) {
        let Some(mut set) = self.set().take() else { return };
        while set.join_next().await.is_some() {}
    }

    fn set(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts the tunnels when it is dropped.
pub(super) struct CutWith(pub(super) Arc<Tunnels>);

impl Drop for CutWith {
    fn drop(&mut self) {
        drop(self.0.set().take());
    }
}
