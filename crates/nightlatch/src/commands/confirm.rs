//! The question before what a human should not do unawares.

use super::connect::line;
use crate::{error::Failure, output::hint};
use std::io::{self, IsTerminal as _};

/// Asks at the terminal, or wants `yes`. `nothing` says that nothing happened, where the answer is no or nobody is there to
/// give one.
pub(super) fn confirm(question: &str, yes: bool, nothing: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("{nothing}. {question} Say so with --yes")));
    }
    hint(question);
    match line("[y/N] ")?.as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Usage(nothing.to_owned())),
    }
}
