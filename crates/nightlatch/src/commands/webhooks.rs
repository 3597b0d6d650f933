//! `webhook`: what the receiver of a webhook must know.
//!
//! The secret is read from the key's file, like every key of this user's: it is shown by nothing that answers a program
//! under `run`, whose data folder is hidden.

use super::Seat;
use crate::{
    cli::WebhookCommand,
    config::{Config, FILE},
    error::Failure,
};
use nightlatch_custody::{WebhookKey, entropy::SystemEntropy};
use nightlatch_domain::tool::Name;
use serde::Serialize;

#[derive(Serialize)]
struct Secret<'a> {
    name: &'a Name,
    url: String,
    secret: &'a str,
}

/// Carries one out.
pub(super) fn run(seat: &Seat, command: WebhookCommand) -> Result<(), Failure> {
    let WebhookCommand::Secret { name } = command;
    let place = seat.place()?;
    place.check()?;
    let config = Config::load(place.root())?;
    let Some(webhook) = config.webhooks.iter().find(|one| one.name == name) else {
        let known: Vec<String> = config.webhooks.iter().map(|one| format!("`{}`", one.name)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::Usage(format!(
            "no `[[webhook]]` of {FILE} is named `{name}` (there: {known}); write one with `name` and `url`, then start `nightlatch up` anew"
        )));
    };
    let key = WebhookKey::load_or_create(&place.path("keys"), &name, &SystemEntropy::new())
        .map_err(|error| Failure::Start(error.to_string()))?;
    let secret = key.secret();
    let shown = Secret { name: &name, url: webhook.to.to_string(), secret: &secret };
    seat.output.result(&shown, |shown| shown.secret.to_owned())?;
    seat.output.next(format!("give it to the receiver at {}; with it messages can be forged", webhook.to));
    Ok(())
}
