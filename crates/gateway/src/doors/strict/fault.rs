//! What is wrong with a request's framing, and how that is told. A fault holds nothing of what was sent.

use nightlatch_domain::problem::{Problem, ProblemKind};

/// Why nothing more passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// RFC 9112 §3: a method, a target and a version, with one space between.
    RequestLine,
    /// RFC 9112 §2.2: a line ends with CR LF, and neither stands anywhere else. A recipient may take a lone LF
    /// for an end; this one does not.
    LineEnd,
    /// RFC 9110 §9.1: a method is a token.
    Method,
    /// RFC 9112 §3.2: none of the forms, or a byte that no form has.
    Target,
    /// RFC 9112 §2.3: 1.0 and 1.1 are spoken here.
    Version,
    /// RFC 9110 §5.1: a name is a token with the colon right behind it; or it is a second spelling of a field
    /// that frames the message.
    FieldName,
    /// RFC 9110 §5.5: no control bytes.
    FieldValue,
    /// RFC 9112 §5.2: a line that goes on from the one before it.
    Folded,
    /// RFC 9112 §3.2: one, not empty.
    Host,
    /// RFC 9112 §6.2: one number, and beside no coding.
    ContentLength,
    /// RFC 9112 §6.1: `chunked` and nothing else, once, in HTTP/1.1.
    TransferEncoding,
    /// RFC 9110 §7.8: another protocol is asked for by a request without content.
    Upgrade,
    /// The head is longer than it may be.
    HeadTooLong,
    /// There are more fields than there may be.
    TooManyFields,
    /// RFC 9112 §7.1: a size in hexadecimal digits, its line's end, so many bytes, a line's end. No extensions.
    Chunk,
    /// RFC 9112 §7.1.2: fields behind the last chunk, which no phase would see.
    Trailers,
}

impl Fault {
    /// Whether it was found in a body, whose head had passed.
    pub(crate) const fn is_of_body(self) -> bool {
        matches!(self, Self::Chunk | Self::Trailers)
    }

    /// As it is told.
    pub(crate) fn problem(self) -> Problem {
        let kind = match self {
            Self::Version | Self::Trailers => ProblemKind::NotSupported,
            Self::HeadTooLong | Self::TooManyFields => ProblemKind::TooLarge,
            _ => ProblemKind::BadRequest,
        };
        Problem::new(kind).at_field(self.field())
    }

    /// Where it lies.
    pub(crate) const fn field(self) -> &'static str {
        match self {
            Self::RequestLine => "request-line",
            Self::LineEnd => "line-end",
            Self::Method => "method",
            Self::Target => "target",
            Self::Version => "version",
            Self::FieldName => "field-name",
            Self::FieldValue => "field-value",
            Self::Folded => "folded-line",
            Self::Host => "host",
            Self::ContentLength => "content-length",
            Self::TransferEncoding => "transfer-encoding",
            Self::Upgrade => "upgrade",
            Self::HeadTooLong => "head",
            Self::TooManyFields => "fields",
            Self::Chunk => "chunk",
            Self::Trailers => "trailers",
        }
    }
}
