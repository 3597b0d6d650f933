//! The shell: two listeners on loopback around one provider.

use crate::{
    admin,
    error::SimulatorError,
    provider::Provider,
    routes::{self, Answer, problem},
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use nightlatch_domain::clock::{Boot, Clock, Entropy};
use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, task::AbortHandle};

/// No form or registration is longer.
const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// How long after a connection that could not be taken the next one is tried.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// A running simulator; it ends when this is dropped.
pub struct Simulator {
    shared: Arc<Shared>,
    base: String,
    admin: String,
    tasks: [AbortHandle; 2],
}

struct Shared {
    provider: Mutex<Provider>,
    clock: Arc<dyn Clock>,
}

/// Which of the two listeners.
#[derive(Debug, Clone, Copy)]
enum Face {
    Public,
    Admin,
}

impl Simulator {
    /// Listens on two free ports of 127.0.0.1, and answers.
    ///
    /// # Errors
    /// [`SimulatorError::Listen`].
    pub async fn start(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self, SimulatorError> {
        let (public, admin) = (loopback().await?, loopback().await?);
        let (base, admin_base) = (base(public.local_addr()?), base(admin.local_addr()?));
        let provider = Mutex::new(Provider::new(&base, entropy));
        let shared = Arc::new(Shared { provider, clock });
        let tasks = [
            tokio::spawn(serve(public, Arc::clone(&shared), Face::Public)).abort_handle(),
            tokio::spawn(serve(admin, Arc::clone(&shared), Face::Admin)).abort_handle(),
        ];
        Ok(Self { shared, base, admin: admin_base, tasks })
    }

    /// The public address, which is the issuer: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The admin address.
    #[must_use]
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The provider itself, for whoever runs it. Held for a moment only: requests wait for it.
    pub fn provider(&self) -> MutexGuard<'_, Provider> {
        self.shared.provider()
    }

    /// The provider's time.
    #[must_use]
    pub fn now(&self) -> Boot {
        self.shared.clock.boot()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    fn provider(&self) -> MutexGuard<'_, Provider> {
        self.provider.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn loopback() -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

fn base(address: SocketAddr) -> String {
    format!("http://{address}")
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, face: Face) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Descriptors have run out: who waits is served when one is free again.
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(answer(&shared, face, request).await) }
        });
        tokio::spawn(async move {
            // A client that goes away ends its own connection and nothing else.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(shared: &Shared, face: Face, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_LIMIT_BYTES).collect().await else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "too_large");
    };
    let request = Request::from_parts(head, body.to_bytes());
    let now = shared.clock.boot();
    match face {
        Face::Public => routes::answer(&mut shared.provider(), &request, now),
        Face::Admin => admin::answer(&mut shared.provider(), &request),
    }
}
