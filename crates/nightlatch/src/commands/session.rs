//! `connect --oauth`: a login at the provider, begun here and ended in the same human's browser.
//!
//! The start link is printed here and nowhere else. Where no browser reaches this machine, the human opens
//! the provider's page elsewhere and pastes the address that it ended at; this session, which holds the
//! token of the data folder and the id of the flow, then stands for the browser's cookie. The code in that
//! address is sealed before it leaves this process.

use super::{connect, secrets};
use crate::{cli::Connect, error::Failure, output::hint};
use nightlatch_control::{
    Client,
    api::{
        AddClientRequest, BeginFlowRequest, ClientView, ConnectionView, FlowStarted, FlowView, IntakeKey,
        PastedAnswer, ProfileView, RedirectView, ToolView,
    },
    client::segment,
};
use nightlatch_custody::{Secret, seal};
use nightlatch_domain::{
    id::ContextId,
    ports::control_keeper::{Intake, code_context},
    sealed::ClientAuth,
    tool::Name,
};
use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _},
};

/// How long one question for the flow's end waits at the server.
const WAIT_SECS: u64 = 20;

/// Logs in, and answers the connection that came of it.
pub(super) async fn login(
    client: &Client,
    asked: &Connect,
    tool: &ToolView,
) -> Result<ConnectionView, Failure> {
    let redirect: RedirectView =
        client.get(&format!("/v1/tools/{}/redirect", segment(asked.tool.as_str()))).await?;
    if !tool.tool.connect.iter().any(|way| way == "oauth") {
        let text = format!(
            "{} has no page here that you could be sent to: connect it with `--key`, or log in there by yourself and bring in the refresh token that came (`nightlatch connection import`)",
            tool.tool.title
        );
        return Err(Failure::Usage(text));
    }
    let registration = registration(client, asked, &redirect).await?;
    connect::where_it_goes(tool, asked);
    let begin = BeginFlowRequest {
        tool: asked.tool.clone(),
        name: asked.name.clone(),
        client: registration.id,
        reconnect: asked.reconnect.clone(),
        scopes: asked.scopes.clone(),
        host: asked.host.clone(),
        placement: asked.placement.clone(),
    };
    let started: FlowStarted = client.post("/v1/flows", &begin).await?;
    let ended =
        if asked.no_browser { pasted(client, &started).await? } else { awaited(client, &started).await? };
    match ended.connection {
        Some(connection) => Ok(connection),
        None => Err(Failure::Finding(failed(&ended, &asked.tool))),
    }
}

/// Our registration at the provider: the one that was named, or the newest there is.
async fn registration(
    client: &Client,
    asked: &Connect,
    redirect: &RedirectView,
) -> Result<ClientView, Failure> {
    if let Some(id) = &asked.client_id {
        hint(what_to_register(redirect));
        return add_client(client, asked, redirect, id.clone()).await;
    }
    if let Some(known) = the_one_registration(redirect)? {
        return Ok(known);
    }
    hint(what_to_register(redirect));
    if !io::stdin().is_terminal() {
        let text = format!(
            "no client is registered for `{}` yet; register one with the redirect URI above, then run this again with `--client-id ID`",
            redirect.provider
        );
        return Err(Failure::Usage(text));
    }
    let id = connect::line("Client id: ")?;
    add_client(client, asked, redirect, id).await
}

/// The newest registration, where all that there are have one client id: a human picks among several.
fn the_one_registration(redirect: &RedirectView) -> Result<Option<ClientView>, Failure> {
    let ids: BTreeSet<&str> = redirect.clients.iter().map(|client| client.client_id.as_str()).collect();
    if ids.len() > 1 {
        let ids: Vec<&str> = ids.into_iter().collect();
        let (provider, ids) = (&redirect.provider, ids.join("`, `"));
        let text = format!(
            "several clients are registered for `{provider}`: name one of `{ids}` with `--client-id`"
        );
        return Err(Failure::Usage(text));
    }
    Ok(redirect.clients.first().cloned())
}

fn what_to_register(redirect: &RedirectView) -> String {
    let page = redirect.register_at.as_ref().map(|page| format!(" at {page}")).unwrap_or_default();
    format!(
        "Register a client{page} with exactly this redirect URI:\n  {}\nScopes that will be asked for: {}",
        redirect.redirect_uri,
        if redirect.scopes.is_empty() { "none".to_owned() } else { redirect.scopes.join(" ") },
    )
}

async fn add_client(
    client: &Client,
    asked: &Connect,
    redirect: &RedirectView,
    client_id: String,
) -> Result<ClientView, Failure> {
    let secret = match client_secret(client, asked, &redirect.provider).await? {
        Some(secret) => {
            Some(secrets::sealed(client, Intake::ClientSecret(&redirect.provider), &secret).await?)
        }
        None => None,
    };
    let auth = asked.public_client.then_some(ClientAuth::None);
    let request = AddClientRequest { provider: redirect.provider.clone(), client_id, auth, secret };
    Ok(client.post("/v1/clients", &request).await?)
}

/// The client secret: from its variable, or asked for where the provider knows confidential clients.
async fn client_secret(client: &Client, asked: &Connect, provider: &Name) -> Result<Option<Secret>, Failure> {
    if let Some(name) = &asked.client_secret_from_env {
        return secrets::from_variable(name).map(Some);
    }
    let profile: ProfileView = client.get(&format!("/v1/profiles/{}", segment(provider.as_str()))).await?;
    let may_be_public = profile.profile.public_clients;
    if asked.public_client || (may_be_public && !io::stdin().is_terminal()) {
        return Ok(None);
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "name the variable that holds the client secret: `--client-secret-from-env VAR`".to_owned(),
        ));
    }
    secrets::asked_for("Client secret").map(Some)
}

/// Prints both ways, and takes whichever comes first: the browser's return, or a pasted address.
async fn awaited(client: &Client, started: &FlowStarted) -> Result<FlowView, Failure> {
    hint("Open this address in your browser, on this machine (it works once, for ten minutes):");
    hint(format!("  {}", started.start_url.0));
    hint("No browser here? Open this one anywhere, and paste the address at which it ends:");
    hint(format!("  {}", started.authorize_url.0));
    let typed = secrets::line_in_background();
    tokio::select! {
        ended = ended(client, started) => ended,
        // Standard input may have ended: then only the browser is waited for.
        Ok(address) = typed => hand_in(client, started, &address).await,
    }
}

async fn ended(client: &Client, started: &FlowStarted) -> Result<FlowView, Failure> {
    loop {
        let flow: FlowView = client.get(&format!("/v1/flows/{}?wait_secs={WAIT_SECS}", started.flow)).await?;
        if matches!(flow.state.as_str(), "connected" | "failed" | "expired") {
            return Ok(flow);
        }
    }
}

/// Prints the provider's page alone, and takes the address back at which the browser ended.
async fn pasted(client: &Client, started: &FlowStarted) -> Result<FlowView, Failure> {
    hint("Open this address in any browser and log in:");
    hint(format!("  {}", started.authorize_url.0));
    hint(format!(
        "The browser will end at an address that it cannot open; it begins with\n  {}\nPaste that whole address here.",
        started.redirect_uri
    ));
    let address = secrets::one_line("Address")?;
    hand_in(client, started, &address).await
}

async fn hand_in(client: &Client, started: &FlowStarted, address: &Secret) -> Result<FlowView, Failure> {
    let answer = read_answer(client, address).await?;
    Ok(client.post(&format!("/v1/flows/{}/answer", started.flow), &answer).await?)
}

async fn read_answer(client: &Client, address: &Secret) -> Result<PastedAnswer, Failure> {
    let parts = Redirected::read(address).ok_or_else(|| {
        Failure::Usage(
            "that is not the redirected address: copy the whole line from the browser's address bar"
                .to_owned(),
        )
    })?;
    let code = match &parts.code {
        Some(code) => {
            let intake: IntakeKey = client.get("/v1/intake").await?;
            let sealed = seal::to(&intake.key, code_context(parts.context).as_bytes(), code);
            Some(sealed.map_err(|error| Failure::Usage(error.to_string()))?)
        }
        None => None,
    };
    Ok(PastedAnswer {
        state: parts.state,
        context: parts.context.to_string(),
        iss: parts.iss,
        code,
        error: parts.error,
    })
}

/// What stands in a redirected address.
struct Redirected {
    context: ContextId,
    state: String,
    iss: Option<String>,
    code: Option<Secret>,
    error: Option<String>,
}

impl Redirected {
    fn read(address: &Secret) -> Option<Self> {
        let text = std::str::from_utf8(address.expose()).ok()?.trim();
        let (path, query) = text.split_once('?')?;
        let query = query.split('#').next()?;
        let context = path.rsplit_once("/oauth/callback/")?.1.parse().ok()?;
        let mut found = Self { context, state: String::new(), iss: None, code: None, error: None };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            // RFC 6749 §3.1: a parameter must not be included more than once.
            let twice = match &*name {
                "state" => !std::mem::replace(&mut found.state, value).is_empty(),
                "iss" => found.iss.replace(value).is_some(),
                "code" => found.code.replace(Secret::from_string(value)).is_some(),
                "error" => found.error.replace(value).is_some(),
                _ => false,
            };
            if twice {
                return None;
            }
        }
        let whole = !found.state.is_empty() && (found.code.is_some() != found.error.is_some());
        whole.then_some(found)
    }
}

fn failed(flow: &FlowView, tool: &Name) -> String {
    let why = match (flow.state.as_str(), flow.reason.as_deref()) {
        ("expired", _) => "nobody logged in within ten minutes".to_owned(),
        (_, Some("wrong-account")) => {
            "you logged in with another account than the connection belongs to; the old one stays as it is"
                .to_owned()
        }
        (_, Some(reason)) => format!("the login failed (`{reason}`)"),
        (state, None) => format!("the login ended as `{state}`"),
    };
    format!("{why}; run `nightlatch connect {tool} --oauth` again")
}

#[cfg(test)]
mod tests {
    use super::Redirected;
    use nightlatch_custody::Secret;

    fn read(text: &str) -> Option<Redirected> {
        Redirected::read(&Secret::from_string(text.to_owned()))
    }

    const BASE: &str = "http://127.0.0.1:8444/oauth/callback/ctx_01ARZ3NDEKTSV4RRFFQ69G5FAV";

    #[test]
    fn a_redirected_address_is_read_as_the_provider_wrote_it() {
        let found = read(&format!(" {BASE}?code=a%2Fb&state=s&iss=https%3A%2F%2Fas.example#x\n")).unwrap();
        assert_eq!(found.code.unwrap().expose(), b"a/b");
        assert_eq!((found.state.as_str(), found.iss.as_deref()), ("s", Some("https://as.example")));
        assert_eq!(
            read(&format!("{BASE}?error=access_denied&state=s")).unwrap().error.as_deref(),
            Some("access_denied")
        );
    }

    #[test]
    fn what_is_not_one_answer_is_refused() {
        let wrong = [
            "?state=s",
            "?code=c",
            "?code=c&error=e&state=s",
            "?code=c&code=d&state=s",
            "?code=c&state=s&state=t",
            "",
        ];
        for query in wrong {
            assert!(read(&format!("{BASE}{query}")).is_none(), "{query}");
        }
        assert!(read("http://127.0.0.1:8444/oauth/callback/x?code=c&state=s").is_none());
    }
}
