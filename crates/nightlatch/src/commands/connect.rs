//! `connect`: an account at a tool, by key or by logging in, for the first time or again.

use super::{Seat, background, secrets, session};
use crate::{
    cli::Connect,
    error::Failure,
    output::{Output, hint},
};
use nightlatch_control::{
    Client,
    api::{AddConnection, Connected, ConnectionView, ToolView},
    client::segment,
};
use nightlatch_domain::ports::control_keeper::Intake;
use std::io::{self, IsTerminal as _, Write as _};

/// How an account is connected.
enum Way {
    Key,
    Variable(String),
    Login,
}

pub(super) async fn run(seat: &Seat, connect: Connect) -> Result<(), Failure> {
    if connect.client_credentials {
        return Err(Failure::NotSupported {
            what: "connect --client-credentials",
            instead: "connect with `--key` or `--oauth`",
        });
    }
    let place = seat.place()?;
    let client = background::client(&place, !connect.no_start).await?;
    let tool: ToolView = client.get(&format!("/v1/tools/{}", segment(connect.tool.as_str()))).await?;
    let connected = match way(&connect, &tool)? {
        Way::Login => session::login(&client, &connect, &tool).await?,
        Way::Key => with_key(&client, connect, &tool, None).await?,
        Way::Variable(name) => with_key(&client, connect, &tool, Some(name)).await?,
    };
    done(seat.output, &connected)
}

/// The way that was asked for; at a terminal the human is asked where there is more than one.
fn way(connect: &Connect, tool: &ToolView) -> Result<Way, Failure> {
    if let Some(name) = &connect.from_env {
        return Ok(Way::Variable(name.clone()));
    }
    if connect.key {
        return Ok(Way::Key);
    }
    if connect.oauth {
        return Ok(Way::Login);
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("say how: `--key`, `--from-env VAR` or `--oauth`".to_owned()));
    }
    let ways: Vec<&str> = tool.tool.connect.iter().map(String::as_str).collect();
    match ways.as_slice() {
        ["key"] => Ok(Way::Key),
        ["oauth"] => Ok(Way::Login),
        _ => choose(&tool.tool.title),
    }
}

fn choose(title: &str) -> Result<Way, Failure> {
    let answer = line(&format!("Connect {title} with a [k]ey or by [l]ogging in? "))?;
    match answer.as_str() {
        "k" | "key" => Ok(Way::Key),
        "l" | "login" => Ok(Way::Login),
        _ => Err(Failure::Usage("say how: `--key`, `--from-env VAR` or `--oauth`".to_owned())),
    }
}

/// Asks for one line at the terminal.
pub(super) fn line(question: &str) -> Result<String, Failure> {
    write!(io::stderr(), "{question}")?;
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

async fn with_key(
    client: &Client,
    connect: Connect,
    tool: &ToolView,
    variable: Option<String>,
) -> Result<ConnectionView, Failure> {
    where_it_goes(tool, &connect);
    let secret = match variable {
        Some(name) => secrets::from_variable(&name)?,
        None => secrets::asked_for(&format!("Key or token for {}", tool.tool.title))?,
    };
    let secret = secrets::sealed(client, Intake::ToolKey(&connect.tool), &secret).await?;
    let request = AddConnection {
        tool: connect.tool,
        name: connect.name,
        reconnect: connect.reconnect,
        host: connect.host,
        placement: connect.placement,
        secret,
    };
    let connected: Connected = client.post("/v1/connections", &request).await?;
    Ok(connected.connection)
}

/// Says where the credential will be sent, before it is given: this is what the human confirms.
pub(super) fn where_it_goes(tool: &ToolView, connect: &Connect) {
    let hosts = connect.host.clone().unwrap_or_else(|| tool.tool.hosts.join(", "));
    hint(format!("{}: the credential will be sent to {hosts}, and to nothing else", tool.tool.title));
}

fn done(output: Output, connection: &ConnectionView) -> Result<(), Failure> {
    let connected = Connected { connection: connection.clone() };
    output.result(&connected, |connected| {
        let view = &connected.connection;
        let account = view.label.as_ref().or(view.account.as_ref());
        let account = account.map(|account| format!(" as {account}")).unwrap_or_default();
        format!("connected {}/{}{account} ({})", view.tool, view.name, view.id)
    })?;
    output.next(format!("next: nightlatch grant add --task TASK {}/{}", connection.tool, connection.name));
    Ok(())
}
