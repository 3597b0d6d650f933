//! The authorization endpoint: who asks, who is logged in, and what the human said to it.
//!
//! RFC 6749 §4.1.2.1: with a client or a redirect address that is not known nobody is sent anywhere; every
//! other fault is told to the client at its redirect address.

use super::Provider;
use nightlatch_domain::clock::{Boot, NoEntropy};
use std::time::Duration;

/// RFC 6749 §4.1.2 recommends ten minutes at most; a client redeems at once.
const CODE_TTL: Duration = Duration::from_secs(60);
/// How many logins may wait for their humans; older ones are forgotten.
const ASKED_LIMIT: usize = 1000;

/// An authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorizeRequest {
    /// `response_type`.
    pub response_type: String,
    /// `client_id`.
    pub client_id: String,
    /// `redirect_uri`.
    pub redirect_uri: String,
    /// `scope`.
    pub scope: String,
    /// `state`.
    pub state: String,
    /// `code_challenge`.
    pub code_challenge: String,
    /// `code_challenge_method`.
    pub code_challenge_method: String,
}

/// Where the human is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landing {
    /// At the login form for this waiting request; `wrong` after a wrong password.
    Login {
        /// The waiting request.
        request: String,
        /// Whether a login just failed.
        wrong: bool,
    },
    /// Just logged in: keeps the cookie and goes to the consent page.
    LoggedIn {
        /// The waiting request.
        request: String,
        /// The login cookie's value.
        session: String,
    },
    /// At the consent page.
    Consent {
        /// The waiting request.
        request: String,
        /// The value that only this page holds.
        once: String,
        /// The account.
        login: String,
        /// Who asks.
        client_id: String,
        /// For what.
        scope: String,
    },
    /// Sent back to the client with this whole address.
    Back(String),
    /// Nowhere: a page that says why.
    Refused(&'static str),
}

/// A request that waits for its human.
pub(super) struct Asked {
    request: AuthorizeRequest,
    /// The form value of the consent page, so that no other page can consent.
    once: String,
    since: Boot,
}

/// A code that was given out.
pub(super) struct Code {
    pub(super) request: AuthorizeRequest,
    pub(super) account: String,
    pub(super) until: Boot,
    /// The family that it became.
    pub(super) family: Option<usize>,
}

impl Provider {
    /// The authorization endpoint, for a browser with or without a login cookie.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub fn authorize(
        &mut self,
        request: AuthorizeRequest,
        session: Option<&str>,
        now: Boot,
    ) -> Result<Landing, NoEntropy> {
        let Some(client) = self.clients.get(&request.client_id) else {
            return Ok(Landing::Refused("this client is not known"));
        };
        if !client.redirect_uris.contains(&request.redirect_uri) {
            return Ok(Landing::Refused("this redirect address is not registered"));
        }
        if let Some(error) = fault_of(&request) {
            return Ok(Landing::Back(self.address_back(&request, "error", error)));
        }
        let (name, once) = (self.fresh("request")?, self.fresh("once")?);
        self.forget_the_oldest_asked();
        self.asked.insert(name.clone(), Asked { request, once, since: now });
        Ok(self.consent_page(&name, session))
    }

    /// The login form.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub fn log_in(&mut self, request: &str, login: &str, password: &str) -> Result<Landing, NoEntropy> {
        if !self.asked.contains_key(request) {
            return Ok(Landing::Refused("this login has ended; begin again"));
        }
        if self.accounts.get(login).is_none_or(|account| account.password != password) {
            return Ok(Landing::Login { request: request.to_owned(), wrong: true });
        }
        let session = self.fresh("session")?;
        self.sessions.insert(session.clone(), login.to_owned());
        Ok(Landing::LoggedIn { request: request.to_owned(), session })
    }

    /// The consent page of a waiting request; the login form where nobody is logged in.
    #[must_use]
    pub fn consent_page(&self, request: &str, session: Option<&str>) -> Landing {
        let Some(asked) = self.asked.get(request) else {
            return Landing::Refused("this login has ended; begin again");
        };
        let Some(login) = session.and_then(|session| self.sessions.get(session)) else {
            return Landing::Login { request: request.to_owned(), wrong: false };
        };
        Landing::Consent {
            request: request.to_owned(),
            once: asked.once.clone(),
            login: login.clone(),
            client_id: asked.request.client_id.clone(),
            scope: asked.request.scope.clone(),
        }
    }

    /// What the human said on the consent page.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub fn consent(
        &mut self,
        request: &str,
        once: &str,
        agreed: bool,
        session: Option<&str>,
        now: Boot,
    ) -> Result<Landing, NoEntropy> {
        let Some(login) = session.and_then(|session| self.sessions.get(session)).cloned() else {
            return Ok(Landing::Refused("nobody is logged in"));
        };
        if self.asked.get(request).is_none_or(|asked| asked.once != once) {
            return Ok(Landing::Refused("this consent was not asked for here"));
        }
        let Some(asked) = self.asked.remove(request).map(|asked| asked.request) else {
            return Ok(Landing::Refused("this login has ended; begin again"));
        };
        if !agreed {
            return Ok(Landing::Back(self.address_back(&asked, "error", "access_denied")));
        }
        let code = self.fresh("code")?;
        self.remember(&asked.client_id.clone(), &code);
        let back = self.address_back(&asked, "code", &code);
        let until = now.plus(CODE_TTL);
        self.codes.insert(code, Code { request: asked, account: login, until, family: None });
        Ok(Landing::Back(back))
    }

    /// RFC 6749 §4.1.2 and RFC 9207 §2: the answer, `state` as it came, and who gives it.
    fn address_back(&self, request: &AuthorizeRequest, name: &str, value: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair(name, value);
        if !request.state.is_empty() {
            query.append_pair("state", &request.state);
        }
        query.append_pair("iss", self.issuer());
        let joint = if request.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{joint}{}", request.redirect_uri, query.finish())
    }

    fn forget_the_oldest_asked(&mut self) {
        if self.asked.len() < ASKED_LIMIT {
            return;
        }
        let oldest = self.asked.iter().min_by_key(|(_, asked)| asked.since).map(|(name, _)| name.clone());
        if let Some(name) = oldest {
            self.asked.remove(&name);
        }
    }
}

/// What is wrong with a request, as RFC 6749 §4.1.2.1 names it.
fn fault_of(request: &AuthorizeRequest) -> Option<&'static str> {
    if request.response_type != "code" {
        return Some("unsupported_response_type");
    }
    // RFC 9700 §2.1.1: PKCE; RFC 7636 §4.2: a challenge of S256 is 43 characters.
    let bound = request.code_challenge_method == "S256" && request.code_challenge.len() == 43;
    (!bound).then_some("invalid_request")
}
