//! An ordinary client: it logs its human in, keeps the tokens in a file, and refreshes them when they have
//! expired, as the libraries of every provider do. Nothing is wrong with it; it holds what it should not
//! have to hold, and nobody looks after it while it does not run.

use super::{Broken, Then};
use crate::{
    adapters::SystemClock,
    cli::DemoNaive,
    demo::{
        http::{Answer, Call, Line, Transcript, loopback},
        lines::{Answered, Ask, Told},
    },
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::Method;
use nightlatch_custody::entropy::SystemEntropy;
use nightlatch_domain::clock::{Clock as _, random};
use serde::{Deserialize, Serialize};
use std::{fs, time::Duration};

/// Where its browser would come back to; nothing listens there, the address is copied.
pub(crate) const REDIRECT_URI: &str = "http://127.0.0.1:9/callback";

/// The token file.
#[derive(Clone, Serialize, Deserialize)]
struct Tokens {
    access_token: String,
    refresh_token: String,
    expires_at_millis: i64,
}

/// A token endpoint's answer.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    refresh_token: String,
    expires_in: u64,
}

/// Its memory.
pub(super) struct Naive {
    asked: DemoNaive,
    client_secret: String,
    transcript: Transcript,
    tokens: Option<Tokens>,
    verifier: String,
    waiting: Option<String>,
}

impl Naive {
    pub(super) fn new(asked: DemoNaive, client_secret: String) -> Result<Self, std::io::Error> {
        let transcript = Transcript::create(&asked.transcript)?;
        Ok(Self { asked, client_secret, transcript, tokens: None, verifier: String::new(), waiting: None })
    }

    pub(super) async fn answer(&mut self, ask: Ask) -> Result<Then, Broken> {
        match ask {
            Ask::LogIn => self.log_in().map(Then::GoOn),
            Ask::Landed { address } => self.landed(&address).await.map(Then::GoOn),
            Ask::Call { path } => self.called(&path).await,
            Ask::Gather { path, .. } => {
                self.tokens = Some(self.read_file()?);
                self.waiting = Some(path);
                Ok(Then::GoOn(Told::Done))
            }
            Ask::Go => {
                let path = self.waiting.take().ok_or("nothing was gathered")?;
                self.called(&path).await
            }
        }
    }

    fn log_in(&mut self) -> Result<Told, Broken> {
        self.verifier = URL_SAFE_NO_PAD.encode(random::<32>(&SystemEntropy::new())?);
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.as_bytes()));
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.asked.client_id)
            .append_pair("redirect_uri", REDIRECT_URI)
            .append_pair("scope", "mail")
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .finish();
        let address = format!("{}/authorize?{query}", self.asked.issuer);
        Ok(Told::Open { address, ends_at: REDIRECT_URI.to_owned() })
    }

    async fn landed(&mut self, address: &str) -> Result<Told, Broken> {
        let (_, query) = address.split_once('?').ok_or("no answer in the address")?;
        let code = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "code");
        let (_, code) = code.ok_or("no code in the address")?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", &code)
            .append_pair("redirect_uri", REDIRECT_URI)
            .append_pair("code_verifier", &self.verifier)
            .finish();
        let answer = self.token_request(form).await?;
        self.keep(&answer)?;
        Ok(Told::Done)
    }

    /// Calls, with a token that is fresh as far as it can tell; after a 401 once more with a new one.
    async fn called(&mut self, path: &str) -> Result<Then, Broken> {
        let tokens = match self.tokens.take() {
            Some(tokens) => tokens,
            None => self.read_file()?,
        };
        let expired = SystemClock.now().millis() >= tokens.expires_at_millis;
        self.tokens = Some(tokens);
        if expired && let Err(refused) = self.refresh().await? {
            return Ok(Then::End(refused));
        }
        let answer = self.call_api(path).await?;
        if answer.status != 401 {
            return Ok(Then::GoOn(Told::Answers { answers: vec![answer] }));
        }
        if let Err(refused) = self.refresh().await? {
            return Ok(Then::End(refused));
        }
        let answer = self.call_api(path).await?;
        Ok(Then::GoOn(Told::Answers { answers: vec![answer] }))
    }

    async fn call_api(&self, path: &str) -> Result<Answered, Broken> {
        let tokens = self.tokens.as_ref().ok_or("it is not logged in")?;
        let (host, _) = loopback(&self.asked.issuer)?;
        let headers = vec![("authorization", format!("Bearer {}", tokens.access_token))];
        let call = Call { path, host, headers, ..Call::default() };
        let answer = Line::to(host, Some(self.transcript.clone())).await?.call(call).await?;
        Ok(Answered::read(answer.status.as_u16(), &answer.body))
    }

    /// New tokens in the file; or what the provider answered in their place.
    async fn refresh(&mut self) -> Result<Result<(), Told>, Broken> {
        let tokens = self.tokens.as_ref().ok_or("it is not logged in")?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", &tokens.refresh_token)
            .finish();
        let answer = self.token_request(form).await?;
        if answer.status.is_success() {
            return self.keep(&answer).map(Ok);
        }
        let refused = Answered::read(answer.status.as_u16(), &answer.body);
        Ok(Err(Told::Answers { answers: vec![refused] }))
    }

    async fn token_request(&self, body: String) -> Result<Answer, Broken> {
        let (host, _) = loopback(&self.asked.issuer)?;
        let basic = STANDARD.encode(format!("{}:{}", self.asked.client_id, self.client_secret));
        let headers = vec![
            ("authorization", format!("Basic {basic}")),
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ];
        let call = Call { method: Method::POST, path: "/token", host, headers, body };
        Ok(Line::to(host, Some(self.transcript.clone())).await?.call(call).await?)
    }

    fn keep(&mut self, answer: &Answer) -> Result<(), Broken> {
        if !answer.status.is_success() {
            return Err(format!("the provider gave no tokens: {}", answer.status).into());
        }
        let granted: Granted = serde_json::from_slice(&answer.body)?;
        let tokens = Tokens {
            access_token: granted.access_token,
            refresh_token: granted.refresh_token,
            expires_at_millis: SystemClock.now().plus(Duration::from_secs(granted.expires_in)).millis(),
        };
        let unfinished = self.asked.file.with_extension(format!("{}", std::process::id()));
        fs::write(&unfinished, serde_json::to_vec(&tokens)?)?;
        fs::rename(&unfinished, &self.asked.file)?;
        self.tokens = Some(tokens);
        Ok(())
    }

    fn read_file(&self) -> Result<Tokens, Broken> {
        Ok(serde_json::from_slice(&fs::read(&self.asked.file)?)?)
    }
}
