//! The actors that are programs of their own: started by the demo as subprocesses, told line by line when
//! to act. They are hidden commands of this program so that nothing else has to be installed.

mod agent;
mod naive;
mod player;

pub(crate) use naive::REDIRECT_URI as NAIVE_REDIRECT_URI;
pub(crate) use player::Player;

use super::lines::{Ask, Told};
use crate::{adapters::variable, cli::DemoPart, error::Failure, output::hint};
use std::io::{self, BufRead as _, Write as _};

/// The variable in which the agent finds its reference, and the ordinary client its secret.
pub(crate) const TOKEN_VARIABLE: &str = "SIM_TOKEN";

/// Acts until there is nothing more to do, or standard input ends.
pub(crate) fn act(part: DemoPart) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let token = variable(TOKEN_VARIABLE).and_then(|token| token.into_string().ok()).unwrap_or_default();
    match part {
        DemoPart::Naive(asked) => {
            let mut actor = naive::Naive::new(asked, token)?;
            follow(|ask| runtime.block_on(actor.answer(ask)))
        }
        DemoPart::Agent(asked) => {
            let mut actor = agent::Agent::new(asked, token)?;
            follow(|ask| runtime.block_on(actor.answer(ask)))
        }
    }
}

/// Why an actor cannot go on.
type Broken = Box<dyn std::error::Error>;

/// What comes of one line.
enum Then {
    /// Tells this, and waits for the next.
    GoOn(Told),
    /// Tells this and ends, as a program does that its library threw an error at.
    End(Told),
}

fn follow(mut answer: impl FnMut(Ask) -> Result<Then, Broken>) -> Result<(), Failure> {
    for line in io::stdin().lock().lines() {
        let ask: Ask = serde_json::from_str(&line?).map_err(io::Error::from)?;
        match answer(ask) {
            Ok(Then::GoOn(told)) => say(&told)?,
            Ok(Then::End(told)) => {
                say(&told)?;
                return Err(Failure::Finding("the login is lost".to_owned()));
            }
            Err(why) => {
                hint(format!("the actor cannot go on: {why}"));
                say(&Told::Broken { why: why.to_string() })?;
            }
        }
    }
    Ok(())
}

fn say(told: &Told) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(told).map_err(io::Error::from)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()?;
    Ok(())
}
