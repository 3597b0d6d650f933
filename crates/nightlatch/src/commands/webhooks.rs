//! `webhook`: what the receiver of a webhook must know.
//!
//! The secret is read from the key's file, like every key of this user's: it is shown by nothing that answers a program
//! under `run`, whose data folder is hidden. Where no `up` has made the key yet, it is made here; while one serves, it is
//! not: that one signs with what it read at its start.

use super::Seat;
use crate::{
    cli::WebhookCommand,
    config::{Config, FILE},
    error::Failure,
    place::Place,
};
use nightlatch_custody::{CustodyError, WebhookKey, entropy::SystemEntropy};
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
    let key = key(&place, &name)?;
    let secret = key.secret();
    let shown = Secret { name: &name, url: webhook.to.to_string(), secret: &secret };
    seat.output.result(&shown, |shown| shown.secret.to_owned())?;
    seat.output.next(format!("give it to the receiver at {}; with it messages can be forged", webhook.to));
    Ok(())
}

/// The key that signs, or will.
fn key(place: &Place, name: &Name) -> Result<WebhookKey, Failure> {
    let (keys, entropy) = (place.path("keys"), SystemEntropy::new());
    let alone = place.share()?;
    let found = match &alone {
        Some(_) => WebhookKey::load_or_create(&keys, name, &entropy),
        None => WebhookKey::load(&keys, name, &entropy),
    };
    found.map_err(|error| match error {
        CustodyError::KeyMissing { path } => Failure::Start(format!(
            "`{}` is not there, and a `nightlatch up` that runs would not sign with a new one; run `nightlatch stop`, then this again, then `nightlatch up`",
            path.display()
        )),
        other => Failure::Start(other.to_string()),
    })
}
