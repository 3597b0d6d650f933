//! An agent's side of HTTP/2, frame by frame: it sends what a library would refuse to send.

use crate::client::{Stream, Wire};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// RFC 9113 §6: the types of frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
/// RFC 9113 §5.5: frames of unknown types are ignored.
const UNKNOWN: u8 = 0x42;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

/// RFC 9113 §6: the flags that are used here.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame that came.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With an answer, whose body this is.
    Answered(Vec<u8>),
    /// Reset by the other side.
    Reset,
    /// With its connection.
    Gone,
}

impl End {
    /// The kebab-case word of the problem; none where there was no answer.
    pub(crate) fn problem(&self) -> Option<String> {
        let Self::Answered(body) = self else { return None };
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        Some(body["type"].as_str()?.rsplit('/').next()?.to_owned())
    }
}

/// A connection.
pub(crate) struct Frames {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

impl Frames {
    /// Says who it is (RFC 9113 §3.4).
    pub(crate) async fn begin(wire: Wire) -> Self {
        let mut frames = Self { stream: wire.into_stream(), unread: Vec::new() };
        frames.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(SETTINGS, 0, 0, b"").await;
        frames
    }

    /// Sends one frame; false once the other side is gone.
    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.write(&[&head, payload].concat()).await
    }

    /// Sends frames of a type that nobody knows, many in one write; false once the other side is gone.
    pub(crate) async fn send_unknown(&mut self, count: usize) -> bool {
        let one = [&[0, 0, 0, UNKNOWN, 0][..], &0u32.to_be_bytes()].concat();
        self.write(&one.repeat(count)).await
    }

    /// Sends a request's fields in one frame.
    pub(crate) async fn ask(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) -> bool {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &block(fields)).await
    }

    /// The next frame; none once the other side is gone.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        while self.unread.len() < 9 {
            self.more().await?;
        }
        let head: Vec<u8> = self.unread.drain(..9).collect();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        while self.unread.len() < length {
            self.more().await?;
        }
        let payload = self.unread.drain(..length).collect();
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads until a stream has ended.
    pub(crate) async fn end_of(&mut self, stream: u32) -> End {
        let mut body = Vec::new();
        while let Some(frame) = self.next().await {
            match frame.kind {
                GOAWAY => return End::Gone,
                RST_STREAM if frame.stream == stream => return End::Reset,
                DATA if frame.stream == stream => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            if frame.stream == stream && matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0
            {
                return End::Answered(body);
            }
        }
        End::Gone
    }

    /// Reads until the connection is over.
    pub(crate) async fn is_over(&mut self) {
        while self.next().await.is_some() {}
    }

    async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    async fn more(&mut self) -> Option<()> {
        let mut buffer = vec![0; 64 * 1024];
        let count = self.stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        self.unread.extend_from_slice(&buffer[..count]);
        Some(())
    }
}

/// RFC 7541 §6.2.2: literals with new names, which nobody keeps. Each character is one byte.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let bytes =
        |text: &str| text.chars().map(|byte| u8::try_from(u32::from(byte)).unwrap()).collect::<Vec<u8>>();
    let text = |text: &str| [length(bytes(text).len()), bytes(text)].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// RFC 7541 §5.1, with a prefix of seven bits.
fn length(length: usize) -> Vec<u8> {
    let Some(mut rest) = length.checked_sub(127) else { return vec![u8::try_from(length).unwrap()] };
    let mut bytes = vec![127];
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}
