//! The agent behind Nightlatch: a plain HTTP client that honours the proxy of its environment and sends the
//! token of its environment. It knows nothing of Nightlatch and nothing of OAuth; under `run` the token is a
//! reference and the proxy is the companion.

use super::{Broken, Then};
use crate::{
    adapters::variable,
    cli::DemoAgent,
    demo::{
        http::{Call, HttpError, Line, Transcript, loopback},
        lines::{Answered, Ask, Told},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::task::JoinSet;

/// Its memory.
pub(super) struct Agent {
    api: String,
    token: String,
    proxy: Proxy,
    transcript: Transcript,
    /// Subtasks at the barrier, each with its line, and what they will call.
    gathered: (Vec<Line>, String),
}

/// The proxy of its environment.
struct Proxy {
    host: String,
    /// User and password, where the address has them.
    authorization: Option<String>,
}

impl Agent {
    pub(super) fn new(asked: DemoAgent, token: String) -> Result<Self, std::io::Error> {
        let proxy = variable("http_proxy").and_then(|proxy| proxy.into_string().ok());
        let proxy = proxy.as_deref().and_then(Proxy::read);
        Ok(Self {
            api: asked.url,
            token,
            proxy: proxy.ok_or_else(|| std::io::Error::other("`http_proxy` names no proxy"))?,
            transcript: Transcript::create(&asked.transcript)?,
            gathered: (Vec::new(), String::new()),
        })
    }

    pub(super) async fn answer(&mut self, ask: Ask) -> Result<Then, Broken> {
        let told = match ask {
            Ask::Call { path } => {
                let answer = self.subtask(self.line().await?, &path).await?;
                Told::Answers { answers: vec![answer] }
            }
            Ask::Gather { subtasks, path } => {
                let mut lines = Vec::new();
                for _ in 0..subtasks {
                    lines.push(self.line().await?);
                }
                self.gathered = (lines, path);
                Told::Done
            }
            Ask::Go => self.go().await?,
            Ask::LogIn | Ask::Landed { .. } => return Err("an agent never logs in".into()),
        };
        Ok(Then::GoOn(told))
    }

    async fn go(&mut self) -> Result<Told, Broken> {
        let (lines, path) = std::mem::take(&mut self.gathered);
        let mut calls = JoinSet::new();
        for line in lines {
            calls.spawn(self.subtask(line, &path));
        }
        let mut answers = Vec::new();
        while let Some(answered) = calls.join_next().await {
            answers.push(answered??);
        }
        Ok(Told::Answers { answers })
    }

    async fn line(&self) -> Result<Line, HttpError> {
        Line::to(&self.proxy.host, Some(self.transcript.clone())).await
    }

    /// One call on a line of its own: in absolute form, as to any proxy (RFC 9112 §3.2.2).
    fn subtask(
        &self,
        mut line: Line,
        path: &str,
    ) -> impl Future<Output = Result<Answered, HttpError>> + Send + 'static {
        let url = format!("{}{path}", self.api);
        let mut headers = vec![("authorization", format!("Bearer {}", self.token))];
        if let Some(password) = &self.proxy.authorization {
            headers.push(("proxy-authorization", password.clone()));
        }
        async move {
            let (host, _) = loopback(&url)?;
            let answer = line.call(Call { path: &url, host, headers, ..Call::default() }).await?;
            Ok(Answered::read(answer.status.as_u16(), &answer.body))
        }
    }
}

impl Proxy {
    /// `http://[USER:PASSWORD@]127.0.0.1:PORT`.
    fn read(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?.trim_end_matches('/');
        let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        let authorization = user.map(|user| format!("Basic {}", STANDARD.encode(user)));
        Some(Self { host: host.to_owned(), authorization })
    }
}

#[cfg(test)]
mod tests {
    use super::Proxy;

    #[test]
    fn a_proxy_is_read_with_and_without_a_password() {
        let proxy = Proxy::read("http://run:pw@127.0.0.1:80/").unwrap();
        assert_eq!(proxy.host, "127.0.0.1:80");
        assert_eq!(proxy.authorization.as_deref(), Some("Basic cnVuOnB3"));
        assert!(Proxy::read("http://127.0.0.1:80").unwrap().authorization.is_none());
        assert!(Proxy::read("socks5://127.0.0.1:80").is_none());
    }
}
