//! The provider as a state machine: what it knows of clients, accounts, families and tokens.
//!
//! Time is an argument ([`Boot`], so that a clock that is set changes no lifetime) and randomness comes by
//! a port. Tokens are kept in clear: this is a stand-in for a provider, and its whole point is that a test
//! may ask what it gave out.

mod login;
mod token;

pub use login::{AuthorizeRequest, Landing};
pub use token::{OAuthError, TokenAnswer, TokenRequest};

use crate::error::SimulatorError;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use login::{Asked, Code};
use nightlatch_domain::clock::{Boot, Entropy, NoEntropy, random};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use token::{Access, Refresh};

/// How the provider treats one client's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How long an access token lives; told to the client in whole seconds.
    pub access: Duration,
    /// An unused refresh token dies after this.
    pub refresh_idle: Duration,
}

/// An account at the provider, and the human's way into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The id that never changes.
    pub id: u64,
    /// The name with which the human logs in.
    pub login: String,
    /// The password, in clear: nobody's real one.
    pub password: String,
}

/// A registration, as the client is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The client id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: String,
}

/// What happened to one client's requests, as the provider counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests at the token endpoint, of whatever kind.
    pub token_requests: u64,
    /// Codes that became tokens.
    pub code_exchanges: u64,
    /// Refreshes that brought new tokens.
    pub refreshes: u64,
    /// Refreshes that were refused.
    pub refreshes_refused: u64,
    /// Consumed refresh tokens that were presented again.
    pub reuse_detected: u64,
    /// Families that were ended before their time, for reuse or by the provider.
    pub families_revoked: u64,
    /// Calls of the API with a living token.
    pub calls_answered: u64,
}

struct Client {
    secret: String,
    redirect_uris: Vec<String>,
    policy: Policy,
    counters: Counters,
}

/// What grew out of one consent.
struct Family {
    client: String,
    account: String,
    scope: String,
    lives: bool,
}

/// The provider's whole state.
pub struct Provider {
    issuer: String,
    entropy: Arc<dyn Entropy>,
    clients: BTreeMap<String, Client>,
    accounts: BTreeMap<String, Account>,
    /// Login cookie → account.
    sessions: BTreeMap<String, String>,
    asked: BTreeMap<String, Asked>,
    codes: BTreeMap<String, Code>,
    families: Vec<Family>,
    access: BTreeMap<String, Access>,
    refresh: BTreeMap<String, Refresh>,
    issued: Vec<(String, String)>,
}

impl Provider {
    /// A provider that calls itself `issuer` and knows nobody yet.
    #[must_use]
    pub fn new(issuer: &str, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            issuer: issuer.to_owned(),
            entropy,
            clients: BTreeMap::new(),
            accounts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            asked: BTreeMap::new(),
            codes: BTreeMap::new(),
            families: Vec::new(),
            access: BTreeMap::new(),
            refresh: BTreeMap::new(),
            issued: Vec::new(),
        }
    }

    /// The issuer (RFC 8414 §2), which is the base of its endpoints as well.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Opens an account for a human.
    ///
    /// # Errors
    /// [`SimulatorError::NoEntropy`].
    pub fn open_account(&mut self, login: &str) -> Result<Account, SimulatorError> {
        let password = self.fresh("pw")?;
        let id = 1000 + self.accounts.len() as u64;
        let account = Account { id, login: login.to_owned(), password };
        self.accounts.insert(login.to_owned(), account.clone());
        Ok(account)
    }

    /// Registers a confidential client for exactly these redirect addresses.
    ///
    /// # Errors
    /// [`SimulatorError::NoEntropy`].
    pub fn register(&mut self, redirect_uris: &[&str], policy: Policy) -> Result<Registered, SimulatorError> {
        let client_id = self.fresh("client")?;
        let secret = self.fresh("secret")?;
        self.remember(&client_id, &secret);
        let client = Client {
            secret: secret.clone(),
            redirect_uris: redirect_uris.iter().map(|uri| (*uri).to_owned()).collect(),
            policy,
            counters: Counters::default(),
        };
        self.clients.insert(client_id.clone(), client);
        Ok(Registered { client_id, client_secret: secret })
    }

    /// What was counted for a client.
    ///
    /// # Errors
    /// [`SimulatorError::UnknownClient`].
    pub fn counters(&self, client_id: &str) -> Result<Counters, SimulatorError> {
        let client = self.clients.get(client_id);
        client
            .map(|client| client.counters)
            .ok_or_else(|| SimulatorError::UnknownClient(client_id.to_owned()))
    }

    /// Every secret that a client was given: its own, codes, access and refresh tokens, oldest first. Of
    /// all clients where none is named.
    #[must_use]
    pub fn issued(&self, client_id: Option<&str>) -> Vec<String> {
        let of = |owner: &str| client_id.is_none_or(|wanted| wanted == owner);
        self.issued.iter().filter(|(owner, _)| of(owner)).map(|(_, secret)| secret.clone()).collect()
    }

    /// The provider ends everything that was granted to a client, as an administrator or its risk engine
    /// would; how many families that ended.
    ///
    /// # Errors
    /// [`SimulatorError::UnknownClient`].
    pub fn revoke(&mut self, client_id: &str) -> Result<u64, SimulatorError> {
        let before = self.counters(client_id)?.families_revoked;
        let of_client = |family: &Family| family.client == client_id;
        let numbers: Vec<usize> = (0..self.families.len())
            .filter(|number| self.families.get(*number).is_some_and(of_client))
            .collect();
        for number in numbers {
            self.end_family(number);
        }
        Ok(self.counters(client_id)?.families_revoked - before)
    }

    /// Whose living access token this is (RFC 6750 §3.1: anything else is `invalid_token`).
    pub fn bearer(&mut self, token: &str, now: Boot) -> Option<Account> {
        let access = self.access.get(token).filter(|access| now < access.until)?;
        let family = self.families.get(access.family).filter(|family| family.lives)?;
        let client = self.clients.get_mut(&family.client)?;
        client.counters.calls_answered += 1;
        self.accounts.get(&family.account).cloned()
    }

    /// Whether any access token of a client would still be taken.
    #[must_use]
    pub fn has_living_access(&self, client_id: &str, now: Boot) -> bool {
        self.access.values().filter(|access| now < access.until).any(|access| {
            self.families.get(access.family).is_some_and(|family| family.lives && family.client == client_id)
        })
    }

    fn end_family(&mut self, number: usize) {
        let Some(family) = self.families.get_mut(number).filter(|family| family.lives) else { return };
        family.lives = false;
        if let Some(client) = self.clients.get_mut(&family.client) {
            client.counters.families_revoked += 1;
        }
    }

    fn remember(&mut self, client_id: &str, secret: &str) {
        self.issued.push((client_id.to_owned(), secret.to_owned()));
    }

    /// A new unguessable name: 256 bits after a word that says what it is.
    fn fresh(&self, kind: &str) -> Result<String, NoEntropy> {
        let bytes: [u8; 32] = random(self.entropy.as_ref())?;
        Ok(format!("sim_{kind}_{}", URL_SAFE_NO_PAD.encode(bytes)))
    }
}

#[cfg(test)]
mod tests;
