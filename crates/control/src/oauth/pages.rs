//! What a browser is shown: a handful of fixed pages, which load nothing and say nothing of the request.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};

/// The pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// The start link leads on.
    LeadsOn,
    /// The connection is made.
    Connected,
    /// It is not.
    NotConnected,
    /// The answer cannot be read.
    Unreadable,
    /// The start link was opened before, or is too old.
    LinkUsed,
    /// The start link was opened by a page.
    ForHumansOnly,
    /// Something of ours failed.
    Failed,
    /// There is nothing at this path.
    Nothing,
    /// The request names another host.
    Misdirected,
    /// Another method.
    GetOnly,
}

impl Page {
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::LeadsOn => (StatusCode::OK, "Nightlatch", "On to your provider."),
            Self::Connected => (
                StatusCode::OK,
                "Connected",
                "It worked. You can close this page and go back to the terminal.",
            ),
            Self::NotConnected => (
                StatusCode::BAD_REQUEST,
                "Not connected",
                "It did not work; the terminal says why. Nothing was changed. Run `nightlatch connect` again.",
            ),
            Self::Unreadable => (
                StatusCode::BAD_REQUEST,
                "Not an answer",
                "This address is not a provider's answer. Run `nightlatch connect` again.",
            ),
            Self::LinkUsed => (
                StatusCode::GONE,
                "Used or too old",
                "This link works once, for ten minutes. Run `nightlatch connect` again and open the new one.",
            ),
            Self::ForHumansOnly => (
                StatusCode::FORBIDDEN,
                "Open it yourself",
                "This link was opened by a web page, or ahead of time. Copy it from the terminal into the address bar; if you did not run `nightlatch connect`, close this page.",
            ),
            Self::Failed => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something failed",
                "Look at the log of `nightlatch up`, then run `nightlatch connect` again.",
            ),
            Self::Nothing => (StatusCode::NOT_FOUND, "Nothing here", "There is no page at this address."),
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                "Not from here",
                "This request does not name this listener.",
            ),
            Self::GetOnly => (StatusCode::METHOD_NOT_ALLOWED, "GET only", "Only GET is answered here."),
        }
    }
}

/// A page as a response.
pub(crate) fn page(page: Page) -> Response {
    let (status, title, text) = page.parts();
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1><p>{text}</p></html>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ];
    (status, headers, Body::from(html)).into_response()
}
