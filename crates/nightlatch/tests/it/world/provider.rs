//! The real providers, alike: each test registers its own client and user, and reads the provider's own
//! counters.

use super::{
    eventually,
    http::{self, Answer},
    human::Browser,
    parts::parts,
};
use ::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// Which provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// npm `oidc-provider`: strict rotation; reuse ends the family.
    Oidc,
    /// PyPI `django-oauth-toolkit`: strict.
    Dot0,
    /// The same with a grace of 30 seconds.
    Dot30,
    /// PyPI `matrix-synapse`: refuses a reuse and ends nothing by it. No human is sent there: what a login of its own
    /// gave is brought in. All its access tokens live for 20 seconds.
    Synapse,
}

impl Kind {
    /// The name of its tool and profile in the tests.
    pub(crate) const fn tool(self) -> &'static str {
        match self {
            Self::Oidc => "oidc-tool",
            Self::Dot0 => "dot0-tool",
            Self::Dot30 => "dot30-tool",
            Self::Synapse => "synapse-tool",
        }
    }

    fn base(self) -> &'static str {
        match self {
            Self::Oidc => &parts().oidc.issuer,
            Self::Dot0 => &parts().dot0.base,
            Self::Dot30 => &parts().dot30.base,
            Self::Synapse => &parts().synapse.base,
        }
    }

    /// Where tests ask what it counted.
    fn control(self) -> String {
        match self {
            Self::Oidc => parts().oidc.admin.clone(),
            Self::Dot0 | Self::Dot30 => format!("{}/test", self.base()),
            Self::Synapse => format!("{}/test", parts().synapse.control),
        }
    }

    /// The address of the resource server behind it.
    pub(crate) fn resource(self) -> &'static str {
        if self == Self::Oidc { &parts().oidc.resource } else { self.base() }
    }

    /// A path there that answers whose token it is.
    pub(crate) const fn me(self) -> &'static str {
        match self {
            Self::Oidc => "/me",
            Self::Dot0 | Self::Dot30 => "/api/me",
            Self::Synapse => "/_matrix/client/v3/account/whoami",
        }
    }

    /// The field of that answer with the account's name.
    pub(crate) const fn login(self) -> &'static str {
        if matches!(self, Self::Synapse) { "user_id" } else { "login" }
    }

    pub(crate) fn issuer(self) -> String {
        if self == Self::Oidc { parts().oidc.issuer.clone() } else { format!("{}/o", self.base()) }
    }

    /// Where it listens, without a scheme.
    pub(crate) fn authority(self) -> String {
        self.base().trim_start_matches("http://").to_owned()
    }

    /// Whether a token that comes twice within a while is answered as before.
    pub(crate) const fn has_grace(self) -> bool {
        matches!(self, Self::Dot30)
    }

    /// (authorization, token, revocation) endpoints.
    pub(crate) fn endpoints(self) -> (String, String, String) {
        match self {
            Self::Oidc => {
                let issuer = &parts().oidc.issuer;
                (format!("{issuer}/auth"), format!("{issuer}/token"), format!("{issuer}/token/revocation"))
            }
            Self::Dot0 | Self::Dot30 => {
                let base = self.base();
                (
                    format!("{base}/o/authorize/"),
                    format!("{base}/o/token/"),
                    format!("{base}/o/revoke_token/"),
                )
            }
            Self::Synapse => unreachable!("no human is sent there"),
        }
    }
}

/// Our registration at a provider, made for one test.
pub(crate) struct Registration {
    pub(crate) kind: Kind,
    pub(crate) redirect_uri: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) username: String,
    pub(crate) password: String,
}

/// What happened at the token endpoint for one client, as the provider counts it.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) code_exchanges: u64,
    pub(crate) refreshes_ok: u64,
    pub(crate) refreshes_failed: u64,
    pub(crate) reuse_detected: u64,
    pub(crate) families_revoked: u64,
    pub(crate) token_requests: u64,
    /// Requests with a refresh token that was presented before, consumed or not.
    pub(crate) presented_twice: u64,
    /// Those of them that were answered as before, inside a grace. They are among `refreshes_ok`.
    pub(crate) replays_in_grace: u64,
}

impl Counters {
    /// The provider refused nothing, saw no reuse, and ended no family.
    pub(crate) fn expect_the_family_lives(&self) {
        assert_eq!(
            (self.reuse_detected, self.families_revoked, self.refreshes_failed),
            (0, 0, 0),
            "{self:?}"
        );
    }
}

/// The calls that the resource server saw below one path.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub(crate) struct SeenCalls {
    pub(crate) calls: u64,
    pub(crate) ok: u64,
    /// Of each different `Authorization` that came, its SHA-256 in hexadecimal.
    pub(crate) authorizations_sha256: Vec<String>,
}

impl Registration {
    /// A new client for this redirect URI with access tokens of `access_secs`, and a user of its own.
    pub(crate) async fn new(kind: Kind, redirect_uri: &str, username: &str, access_secs: u32) -> Self {
        let (url, body) = match kind {
            Kind::Oidc => (
                format!("{}/reg", parts().oidc.issuer),
                json!({
                    "redirect_uris": [redirect_uri], "application_type": "native",
                    "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
                    "token_endpoint_auth_method": "client_secret_basic", "access_token_ttl": access_secs,
                }),
            ),
            Kind::Dot0 | Kind::Dot30 => (
                format!("{}/client", kind.control()),
                json!({ "redirect_uri": redirect_uri, "username": username, "access_token_ttl": access_secs }),
            ),
            Kind::Synapse => (format!("{}/client", kind.control()), json!({ "username": username })),
        };
        let answer = http::post_json(&url, &body).await;
        assert!(answer.status.is_success(), "registration: {} {}", answer.status, answer.text());
        let made: serde_json::Value = answer.json();
        let text = |key: &str| made[key].as_str().unwrap_or_default().to_owned();
        let username = if kind == Kind::Oidc { username.to_owned() } else { text("username") };
        Self {
            kind,
            redirect_uri: redirect_uri.to_owned(),
            client_id: text("client_id"),
            client_secret: text("client_secret"),
            username,
            password: text("password"),
        }
    }

    /// The human whose account it is.
    pub(crate) fn browser(&self) -> Browser {
        Browser::of(&self.username, &self.password)
    }

    pub(crate) async fn counters(&self) -> Counters {
        let answer = http::get(&self.control("counters")).await;
        assert!(answer.status.is_success(), "counters: {}", answer.text());
        answer.json()
    }

    /// The provider ends every grant of this client.
    pub(crate) async fn revoke(&self) {
        let verb = if self.kind == Kind::Oidc { "revoke-grants" } else { "revoke" };
        let answer = http::send(Method::POST, &self.control(verb), &[], "").await;
        assert!(answer.status.is_success(), "revoke: {}", answer.text());
    }

    /// How the token endpoint treats this client from now on.
    pub(crate) async fn behave(&self, how: serde_json::Value) {
        let answer = http::post_json(&self.control("behaviour"), &how).await;
        assert!(answer.status.is_success(), "behaviour: {}", answer.text());
    }

    /// Every token and code that the provider gave this client: what an agent must never see.
    pub(crate) async fn issued(&self) -> Vec<String> {
        let answer = http::get(&self.issued_url()).await;
        assert!(answer.status.is_success(), "issued: {}", answer.text());
        answer.json::<Vec<String>>()
    }

    /// What came to the resource server below a path, whoever called.
    pub(crate) async fn seen(&self, path: &str) -> SeenCalls {
        let base = match self.kind {
            Kind::Oidc => parts().oidc.resource_admin.clone(),
            kind => kind.control(),
        };
        let answer = http::get(&format!("{base}/seen?path={path}")).await;
        assert!(answer.status.is_success(), "seen: {}", answer.text());
        answer.json()
    }

    /// Where the provider lists them.
    pub(crate) fn issued_url(&self) -> String {
        self.control("issued")
    }

    fn control(&self, verb: &str) -> String {
        format!("{}/{verb}?client_id={}", self.kind.control(), self.client_id)
    }

    /// What a login of Synapse's own gives who asks for a refresh token, without us.
    pub(crate) async fn matrix_login(&self) -> serde_json::Value {
        let user = json!({ "type": "m.id.user", "user": self.username });
        let asked = json!({
            "type": "m.login.password", "identifier": user, "password": self.password, "refresh_token": true,
        });
        let url = format!("{}/_matrix/client/v3/login", self.kind.base());
        let answer = http::post_json(&url, &asked).await;
        assert!(answer.status.is_success(), "login: {}", answer.status);
        answer.json()
    }

    /// Asks the resource server directly, as an ordinary client would.
    pub(crate) async fn ask_resource(&self, bearer: &str) -> Answer {
        let url = format!("{}{}", self.kind.resource(), self.kind.me());
        http::send(Method::GET, &url, &[("authorization", &format!("Bearer {bearer}"))], "").await
    }

    /// Whether the provider gives new tokens for this one, to whoever is this client.
    pub(crate) async fn refreshes(&self, token: &str) -> bool {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("grant_type", "refresh_token"), ("refresh_token", token)])
            .finish();
        let basic = STANDARD.encode(format!("{}:{}", self.client_id, self.client_secret));
        let (_, url, _) = self.kind.endpoints();
        let headers = [
            ("authorization", format!("Basic {basic}")),
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        http::send(Method::POST, &url, &headers, form).await.status.is_success()
    }

    /// Waits until the provider itself refuses every access token that it gave out.
    pub(crate) async fn until_the_token_died(&self) {
        let issued = self.issued().await;
        eventually("every token that was given out is dead", Duration::from_secs(90), async || {
            for token in &issued {
                if self.ask_resource(token).await.status.is_success() {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }
}
