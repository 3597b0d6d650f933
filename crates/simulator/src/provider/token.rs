//! The token endpoint: codes and refresh tokens become tokens, each once.
//!
//! Rotation is without grace. A consumed refresh token that comes again is taken for stolen, whoever sent
//! it: the whole family ends, its access tokens too (RFC 9700 §4.14.2).

use super::{Client, Family, Provider};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use nightlatch_domain::clock::{Boot, NoEntropy};
use serde::Serialize;

/// A token request: the client's `Authorization` and the form.
#[derive(Debug, Clone, Default)]
pub struct TokenRequest {
    /// The header's value (RFC 6749 §2.3.1, `client_secret_basic`).
    pub authorization: String,
    /// `grant_type`.
    pub grant_type: String,
    /// `code`.
    pub code: String,
    /// `redirect_uri`.
    pub redirect_uri: String,
    /// `code_verifier`.
    pub code_verifier: String,
    /// `refresh_token`.
    pub refresh_token: String,
}

/// Tokens (RFC 6749 §5.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenAnswer {
    /// The access token.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Its life in seconds.
    pub expires_in: u64,
    /// The next refresh token.
    pub refresh_token: String,
    /// What was granted.
    pub scope: String,
}

/// No tokens (RFC 6749 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OAuthError {
    /// The client did not prove itself.
    #[error("invalid_client")]
    InvalidClient,
    /// The code or refresh token is not good, or no longer.
    #[error("invalid_grant")]
    InvalidGrant,
    /// Another kind of request.
    #[error("unsupported_grant_type")]
    UnsupportedGrantType,
    /// No random bytes.
    #[error("server_error")]
    ServerError,
}

impl From<NoEntropy> for OAuthError {
    fn from(_: NoEntropy) -> Self {
        Self::ServerError
    }
}

pub(super) struct Access {
    pub(super) family: usize,
    pub(super) until: Boot,
}

pub(super) struct Refresh {
    family: usize,
    since: Boot,
    consumed: bool,
}

impl Provider {
    /// One request at the token endpoint.
    ///
    /// # Errors
    /// [`OAuthError`], as the client is told it.
    pub fn token(&mut self, request: &TokenRequest, now: Boot) -> Result<TokenAnswer, OAuthError> {
        let client_id = self.authenticated(&request.authorization)?;
        self.counted(&client_id)?.counters.token_requests += 1;
        match request.grant_type.as_str() {
            "authorization_code" => self.redeem(&client_id, request, now),
            "refresh_token" => {
                let refreshed = self.refreshed(&client_id, &request.refresh_token, now);
                let counters = &mut self.counted(&client_id)?.counters;
                match refreshed {
                    Ok(_) => counters.refreshes += 1,
                    Err(_) => counters.refreshes_refused += 1,
                }
                refreshed
            }
            _ => Err(OAuthError::UnsupportedGrantType),
        }
    }

    fn authenticated(&self, authorization: &str) -> Result<String, OAuthError> {
        let (id, secret) = basic(authorization).ok_or(OAuthError::InvalidClient)?;
        let known = self.clients.get(&id).is_some_and(|client| client.secret == secret);
        if known { Ok(id) } else { Err(OAuthError::InvalidClient) }
    }

    fn counted(&mut self, client_id: &str) -> Result<&mut Client, OAuthError> {
        self.clients.get_mut(client_id).ok_or(OAuthError::InvalidClient)
    }

    fn redeem(
        &mut self,
        client_id: &str,
        request: &TokenRequest,
        now: Boot,
    ) -> Result<TokenAnswer, OAuthError> {
        let code = self.codes.get(&request.code).ok_or(OAuthError::InvalidGrant)?;
        if let Some(family) = code.family {
            // RFC 6749 §4.1.2: a code that comes twice takes what came of it with it.
            self.end_family(family);
            return Err(OAuthError::InvalidGrant);
        }
        // RFC 7636 §4.6: the verifier's hash is the challenge. RFC 6749 §4.1.3: the same client and address.
        let proved = URL_SAFE_NO_PAD.encode(digest(&SHA256, request.code_verifier.as_bytes()))
            == code.request.code_challenge;
        let fits = code.request.client_id == client_id && code.request.redirect_uri == request.redirect_uri;
        if !proved || !fits || now >= code.until {
            return Err(OAuthError::InvalidGrant);
        }
        let family = Family {
            client: client_id.to_owned(),
            account: code.account.clone(),
            scope: code.request.scope.clone(),
            lives: true,
        };
        let number = self.families.len();
        self.families.push(family);
        if let Some(code) = self.codes.get_mut(&request.code) {
            code.family = Some(number);
        }
        self.counted(client_id)?.counters.code_exchanges += 1;
        self.issue(number, now)
    }

    fn refreshed(&mut self, client_id: &str, token: &str, now: Boot) -> Result<TokenAnswer, OAuthError> {
        let idle = self.counted(client_id)?.policy.refresh_idle;
        let presented = self.refresh.get(token).ok_or(OAuthError::InvalidGrant)?;
        let (number, consumed, dies_at) = (presented.family, presented.consumed, presented.since.plus(idle));
        let family = self.families.get(number).filter(|family| family.client == client_id);
        let lives = family.ok_or(OAuthError::InvalidGrant)?.lives;
        if consumed {
            self.counted(client_id)?.counters.reuse_detected += 1;
            self.end_family(number);
            return Err(OAuthError::InvalidGrant);
        }
        if !lives || now >= dies_at {
            return Err(OAuthError::InvalidGrant);
        }
        if let Some(presented) = self.refresh.get_mut(token) {
            presented.consumed = true;
        }
        self.issue(number, now)
    }

    fn issue(&mut self, number: usize, now: Boot) -> Result<TokenAnswer, OAuthError> {
        let family = self.families.get(number).ok_or(OAuthError::InvalidGrant)?;
        let (client_id, scope) = (family.client.clone(), family.scope.clone());
        let life = self.counted(&client_id)?.policy.access;
        let (access_token, refresh_token) = (self.fresh("at")?, self.fresh("rt")?);
        self.remember(&client_id, &access_token);
        self.remember(&client_id, &refresh_token);
        self.access.insert(access_token.clone(), Access { family: number, until: now.plus(life) });
        let refresh = Refresh { family: number, since: now, consumed: false };
        self.refresh.insert(refresh_token.clone(), refresh);
        Ok(TokenAnswer {
            access_token,
            token_type: "Bearer",
            expires_in: life.as_secs(),
            refresh_token,
            scope,
        })
    }
}

/// RFC 6749 §2.3.1: user and password of HTTP Basic, each form-encoded.
fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let plain = |text: &str| {
        let (name, _) = form_urlencoded::parse(text.as_bytes()).next()?;
        Some(name.into_owned())
    };
    Some((plain(id)?, plain(secret)?))
}
