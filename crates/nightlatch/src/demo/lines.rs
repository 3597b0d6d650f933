//! What the demo and its actors say to each other: one JSON object a line, over standard input and output.
//!
//! An actor is told when to act and tells what it was answered. No secret is ever said to an agent: it
//! holds a reference, which its environment gives it as any program's is given a token.

use serde::{Deserialize, Serialize};

/// What an actor is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(crate) enum Ask {
    /// The ordinary client: begin to log in.
    LogIn,
    /// The ordinary client: this is where the browser ended.
    Landed {
        /// The whole address.
        address: String,
    },
    /// Call the API once.
    Call {
        /// The path at the API.
        path: String,
    },
    /// Make ready this many subtasks, and stand at the barrier.
    Gather {
        /// How many.
        subtasks: usize,
        /// What each will call.
        path: String,
    },
    /// The barrier is lifted.
    Go,
}

/// What an actor tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "kebab-case")]
pub(crate) enum Told {
    /// A human is to open this address.
    Open {
        /// The address.
        address: String,
        /// The browser is to stop before an address that begins so, and to hand it over.
        ends_at: String,
    },
    /// It is done.
    Done,
    /// The calls were answered.
    Answers {
        /// How.
        answers: Vec<Answered>,
    },
    /// It could not be done, and not for what the demo is about.
    Broken {
        /// Why.
        why: String,
    },
}

/// How one call was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// The status.
    pub(crate) status: u16,
    /// The error's code, or the last word of the problem's type.
    pub(crate) error: Option<String>,
    /// The ticket of a problem.
    pub(crate) ticket: Option<String>,
    /// Whose account it is, where the answer says so.
    pub(crate) login: Option<String>,
}

impl Answered {
    /// Reads an answer as a program would.
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| body.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        let kind = text("type").and_then(|kind| kind.rsplit('/').next().map(str::to_owned));
        Self { status, error: text("error").or(kind), ticket: text("ticket"), login: text("login") }
    }

    /// Whether it is what was asked for.
    pub(crate) const fn is_good(&self) -> bool {
        self.status == 200
    }
}

impl std::fmt::Display for Answered {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.error {
            Some(error) => write!(out, "{} {error}", self.status),
            None => write!(out, "{}", self.status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Answered;

    #[test]
    fn an_answer_is_read_as_an_oauth_error_or_as_a_problem() {
        let oauth = Answered::read(400, br#"{"error":"invalid_grant"}"#);
        assert_eq!(oauth.to_string(), "400 invalid_grant");
        let problem = br#"{"type":"https://nightlatch.dev/problems/reauth-required","ticket":"tkt_1"}"#;
        let problem = Answered::read(424, problem);
        assert_eq!(
            (problem.error.as_deref(), problem.ticket.as_deref()),
            (Some("reauth-required"), Some("tkt_1"))
        );
        assert!(!problem.is_good() && Answered::read(200, b"").is_good());
    }
}
