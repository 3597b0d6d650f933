//! A server that records every byte and answers whatever looks like the end of a head.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::machine::{Fault, Outcome};

/// How long a connection is read from in silence.
const SILENCE: Duration = Duration::from_secs(5);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What came, by connection.
type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

/// The server. It listens until the program ends.
pub(super) struct Recorder {
    pub(super) address: SocketAddr,
    seen: Seen,
}

impl Recorder {
    pub(super) fn start() -> Outcome<Self> {
        let failed = |error| Fault::one(format!("peers: cannot listen on 127.0.0.1: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let (address, seen) = (listener.local_addr().map_err(failed)?, Seen::default());
        let recorded = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&recorded);
                thread::spawn(move || record(stream, &seen));
            }
        });
        Ok(Self { address, seen })
    }

    /// How many bytes have come.
    pub(super) fn count(&self) -> usize {
        self.seen().iter().map(Vec::len).sum()
    }

    /// What came on a connection from this text on; nothing where it came on none.
    pub(super) fn from(&self, text: &str) -> Option<Vec<u8>> {
        let seen = self.seen();
        seen.iter().find_map(|bytes| Some(bytes.get(place(bytes, text.as_bytes())?..)?.to_vec()))
    }

    /// Whether a request for this path began.
    pub(super) fn began(&self, path: &str) -> bool {
        self.from(&format!("\nGET {path}")).is_some()
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request's body came to its end: written anew, it has a length or a last chunk.
pub(super) fn is_whole(request: &[u8]) -> bool {
    let is_sized = place(&request.to_ascii_lowercase(), b"\ncontent-length:").is_some();
    is_sized || place(request, b"\n0\r\n\r\n").is_some()
}

fn place(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// A line end stands before everything, so that the first request begins a line too.
fn record(mut stream: TcpStream, seen: &Seen) {
    let (mut unanswered, mut buffer) = (Vec::new(), [0; 64 * 1024]);
    if stream.set_read_timeout(Some(SILENCE)).is_err() {
        return;
    }
    let own = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(b"\n".to_vec());
        seen.len() - 1
    };
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let came = buffer.get(..count).unwrap_or_default();
        if let Some(seen) = seen.lock().unwrap_or_else(PoisonError::into_inner).get_mut(own) {
            seen.extend_from_slice(came);
        }
        unanswered.extend_from_slice(came);
        if place(&unanswered, b"\r\n\r\n").is_some() {
            unanswered.clear();
            if stream.write_all(ANSWER).is_err() {
                return;
            }
        }
    }
}
