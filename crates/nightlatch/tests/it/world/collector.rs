//! A collector of traces: OTLP over plain HTTP on this machine, which keeps every byte that it is sent.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    },
    trace::v1::Span,
};
use prost::Message as _;
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

/// What it does with what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Takes all.
    Takes,
    /// Takes the request and rejects one span.
    RejectsOne,
    /// Says that it cannot.
    Refuses,
    /// Says yes, in words that are none of a collector.
    Chats,
    /// Never answers.
    Hangs,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) struct Collector {
    address: SocketAddr,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Collector {
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let sent: Arc<Mutex<Vec<Sent>>> = Arc::default();
        let noted = Arc::clone(&sent);
        // A thread of its own: the test's waits for commands and would not answer meanwhile.
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(listener, manner, noted));
        });
        Self { address, sent }
    }

    /// The operator's table that sends a part of all calls there.
    pub(crate) fn config(&self, sample: &str) -> String {
        format!("[otel]\nendpoint = \"http://{}\"\nsample = {sample}\n", self.address)
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().expect("no test failed before").clone()
    }

    /// Every span that it was sent.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self
            .sent()
            .into_iter()
            .map(|sent| ExportTraceServiceRequest::decode(sent.body).expect("a request of OTLP"));
        let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|part| part.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }
}

async fn serve(listener: std::net::TcpListener, manner: Manner, sent: Arc<Mutex<Vec<Sent>>>) {
    listener.set_nonblocking(true).expect("a listener");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    while let Ok((stream, _)) = listener.accept().await {
        let sent = Arc::clone(&sent);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, manner, Arc::clone(&sent)));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    manner: Manner,
    sent: Arc<Mutex<Vec<Sent>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let kept = Sent { target: format!("{} {}", head.method, head.uri), headers: head.headers, body };
    sent.lock().expect("no test failed before").push(kept);
    let rejected = match manner {
        Manner::Takes | Manner::Refuses | Manner::Chats => None,
        Manner::RejectsOne => {
            Some(ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".to_owned() })
        }
        Manner::Hangs => std::future::pending().await,
    };
    let told = ExportTraceServiceResponse { partial_success: rejected };
    let told = if manner == Manner::Chats { b"<html>Welcome</html>".to_vec() } else { told.encode_to_vec() };
    let mut answer = Response::new(Full::new(Bytes::from(told)));
    if manner == Manner::Refuses {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(answer)
}
