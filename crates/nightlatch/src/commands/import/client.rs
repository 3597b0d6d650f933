//! The registration that the tokens were given to, where it is not here yet.

use super::super::secrets;
use crate::{cli::ImportTokens, error::Failure, output::hint};
use nightlatch_control::{
    Client,
    api::{AddClientRequest, ClientView, RedirectView},
    client::segment,
};
use nightlatch_domain::{ports::control_keeper::Intake, sealed::ClientAuth};

/// Registers the client that was named, unless it is here: a second registration of it would be another one.
pub(super) async fn register(client: &Client, asked: &ImportTokens) -> Result<(), Failure> {
    let (Some(tool), Some(id)) = (&asked.tool, &asked.client_id) else { return Ok(()) };
    if asked.client_secret_from_env.is_none() && !asked.public_client {
        return Ok(());
    }
    let redirect: RedirectView =
        client.get(&format!("/v1/tools/{}/redirect", segment(tool.as_str()))).await?;
    if redirect.clients.iter().any(|known| known.client_id == *id) {
        hint(format!("the client `{id}` is registered here already, and is used as it is"));
        return Ok(());
    }
    let provider = redirect.provider;
    let secret = match &asked.client_secret_from_env {
        Some(name) => {
            let secret = secrets::from_variable(name)?;
            Some(secrets::sealed(client, Intake::ClientSecret(&provider), &secret).await?)
        }
        None => None,
    };
    let auth = asked.public_client.then_some(ClientAuth::None);
    let request = AddClientRequest { provider, client_id: id.clone(), auth, secret };
    let _: ClientView = client.post("/v1/clients", &request).await?;
    Ok(())
}
