//! How a secret comes in: a prompt that shows nothing, standard input, a variable that was named. Never an
//! argument. It is sealed to the keeper's intake key right here, before it leaves this process.

use crate::{adapters::variable, error::Failure, output::hint};
use nightlatch_control::{Client, api::IntakeKey};
use nightlatch_custody::{Secret, seal};
use nightlatch_domain::{
    ports::control_keeper::{Intake, intake_context},
    sealed::Sealed,
};
use std::{
    io::{self, IsTerminal as _, Read as _},
    os::unix::ffi::OsStringExt as _,
};
use tokio::sync::oneshot;

/// The longest secret: a key in PEM fits many times.
const SECRET_LIMIT_BYTES: u64 = 64 * 1024;

/// A secret that a variable of the environment holds.
pub(super) fn from_variable(name: &str) -> Result<Secret, Failure> {
    let value = variable(name);
    let value = value.ok_or_else(|| {
        Failure::Usage(format!("the variable `{name}` is not set or empty; export it first"))
    })?;
    sound(Secret::new(value.into_vec()))
}

/// A secret from the terminal, unseen, or from standard input.
pub(super) fn asked_for(what: &str) -> Result<Secret, Failure> {
    if io::stdin().is_terminal() {
        let typed = rpassword::prompt_password(format!("{what} (it is not shown): "))?;
        return sound(Secret::from_string(typed));
    }
    let mut bytes = with_room();
    io::stdin().lock().take(SECRET_LIMIT_BYTES + 1).read_to_end(&mut bytes)?;
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    sound(Secret::new(bytes))
}

/// One line from standard input, unseen at a terminal: an address that holds a code.
pub(super) fn one_line(what: &str) -> Result<Secret, Failure> {
    if io::stdin().is_terminal() {
        return Ok(Secret::from_string(rpassword::prompt_password(format!("{what} (it is not shown): "))?));
    }
    typed_line()
}

/// The same without a prompt, read beside everything else. A thread of its own, since nothing can call a
/// read of standard input back: it ends with the process. An end of input is no line.
pub(super) fn line_in_background() -> oneshot::Receiver<Secret> {
    let (found, line) = oneshot::channel();
    std::thread::spawn(move || {
        if let Some(line) = typed_line().ok().filter(|line| !line.is_empty()) {
            // Nobody waits for it any more when the browser came first.
            let _ = found.send(line);
        }
    });
    line
}

fn typed_line() -> Result<Secret, Failure> {
    let mut line = with_room();
    for byte in io::stdin().lock().take(SECRET_LIMIT_BYTES).bytes() {
        match byte? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    Ok(Secret::new(line))
}

/// Room for the longest secret at once: a vector that grows leaves copies behind that nobody wipes.
fn with_room() -> Vec<u8> {
    Vec::with_capacity(usize::try_from(SECRET_LIMIT_BYTES).unwrap_or(0) + 1)
}

/// A secret is one line of visible characters: what else there is was copied along by mistake.
fn sound(secret: Secret) -> Result<Secret, Failure> {
    if secret.is_empty() {
        return Err(Failure::Usage(
            "no secret came; type it at the prompt, pipe it in, or name its variable with `--from-env`"
                .to_owned(),
        ));
    }
    if secret.len() as u64 > SECRET_LIMIT_BYTES {
        return Err(Failure::Usage(format!("that is longer than {SECRET_LIMIT_BYTES} bytes, and no key")));
    }
    if !secret.expose().iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return Err(Failure::Usage(
            "the secret holds line breaks or characters beyond ASCII; give the key alone".to_owned(),
        ));
    }
    if secret.expose().first() == Some(&b' ') || secret.expose().last() == Some(&b' ') {
        hint("note: the secret begins or ends with a space, and is stored with it");
    }
    Ok(secret)
}

/// Seals a secret to the keeper, for one purpose and no other.
pub(super) async fn sealed(client: &Client, purpose: Intake<'_>, secret: &Secret) -> Result<Sealed, Failure> {
    let intake: IntakeKey = client.get("/v1/intake").await?;
    let context = intake_context(intake.tenant, purpose);
    seal::to(&intake.key, context.as_bytes(), secret).map_err(|error| Failure::Usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::sound;
    use nightlatch_custody::Secret;

    #[test]
    fn what_is_no_single_line_of_visible_characters_is_refused() {
        for wrong in ["", "a\nb", "a\tb", "é", "\u{7f}"] {
            assert!(sound(Secret::from_string(wrong.to_owned())).is_err(), "{wrong:?}");
        }
        assert!(sound(Secret::from_string("ghp_Abc-123._~".to_owned())).is_ok());
    }
}
