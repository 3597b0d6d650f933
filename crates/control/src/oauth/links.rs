//! Start links: shown to one human, good for one opening, in memory only.

use super::COOKIE_PREFIX;
use crate::error::ControlError;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use nightlatch_domain::{
    clock::Timestamp,
    id::{ContextId, FlowId},
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Flows that wait for a human at once.
const LINKS_LIMIT: usize = 256;
/// How long the cookie lives: as long as a flow.
const COOKIE_SECS: u32 = 600;

/// The start links that were handed out and not opened.
#[derive(Default)]
pub(crate) struct StartLinks(Mutex<HashMap<FlowId, Link>>);

/// Where a start link leads.
pub(crate) struct Link {
    key: String,
    expires_at: Timestamp,
    /// The provider's page.
    pub(crate) authorize_url: String,
    /// The value of `Set-Cookie`.
    pub(crate) cookie: String,
}

impl StartLinks {
    /// Keeps a link and answers its path.
    pub(crate) fn add(
        &self,
        key: [u8; 32],
        flow: FlowId,
        context: ContextId,
        authorize_url: &str,
        (name, value): (String, String),
        expires_at: Timestamp,
    ) -> Result<String, ControlError> {
        let key = URL_SAFE_NO_PAD.encode(key);
        // RFC 6265bis §4.1.2: to no other path, no script, and not with a form that another site posts.
        let cookie = format!(
            "{name}={value}; HttpOnly; SameSite=Lax; Path=/oauth/callback/{context}; Max-Age={COOKIE_SECS}"
        );
        let path = format!("/oauth/start/{flow}?key={key}");
        let link = Link { key, expires_at, authorize_url: authorize_url.to_owned(), cookie };
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if links.len() >= LINKS_LIMIT {
            return Err(ControlError::CannotConnect(
                "too many logins wait already; finish one, or wait ten minutes".to_owned(),
            ));
        }
        links.insert(flow, link);
        Ok(path)
    }

    /// Drops what was never opened in its time.
    pub(crate) fn forget(&self, now: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, link| now < link.expires_at);
    }

    /// Takes a link, once, where the key is right and it is not void.
    pub(crate) fn take(&self, flow: FlowId, key: &str, now: Timestamp) -> Option<Link> {
        self.forget(now);
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.get(&flow)?;
        verify_slices_are_equal(link.key.as_bytes(), key.as_bytes()).ok()?;
        links.remove(&flow)
    }
}

/// The cookies of ours that came: name and value.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = pairs.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| name.starts_with(COOKIE_PREFIX))
}

/// `Set-Cookie` values that end the session's cookies.
pub(super) fn forget(headers: &HeaderMap, context: &str) -> Vec<HeaderValue> {
    let Ok(context) = context.parse::<ContextId>() else { return Vec::new() };
    let token = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let names = cookies(headers).map(|(name, _)| name).filter(token);
    let ends = names
        .map(|name| format!("{name}=; HttpOnly; SameSite=Lax; Path=/oauth/callback/{context}; Max-Age=0"));
    ends.filter_map(|end| HeaderValue::from_str(&end).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{LINKS_LIMIT, StartLinks};
    use nightlatch_domain::{
        clock::Timestamp,
        id::{ContextId, FlowId},
    };

    const VOID: Timestamp = Timestamp::from_millis(1000);

    fn add(links: &StartLinks, number: usize) -> bool {
        let flow =
            FlowId::new(Timestamp::from_millis(0), (number as u128).to_be_bytes()[6..].try_into().unwrap());
        let context = ContextId::new(Timestamp::from_millis(0), [0; 10]);
        links.add([0; 32], flow, context, "https://a/", ("n".into(), "v".into()), VOID).is_ok()
    }

    #[test]
    fn links_that_nobody_opened_make_room_when_they_are_void() {
        let links = StartLinks::default();
        assert!((0..LINKS_LIMIT).all(|number| add(&links, number)));
        links.forget(Timestamp::from_millis(999));
        assert!(!add(&links, LINKS_LIMIT), "there was room for more than the limit");
        links.forget(VOID);
        assert!(add(&links, LINKS_LIMIT));
    }
}
