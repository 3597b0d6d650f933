//! What each command does. Most ask the API one question and print its answer.

mod agents;
mod background;
mod companion;
mod confirm;
mod connect;
mod connections;
mod demo;
mod doctor;
mod grants;
mod health;
mod import;
mod keepers;
mod ledger;
mod policy;
mod run;
mod secrets;
mod session;
mod stop;
mod store;
mod tasks;
mod tools;
mod top;
mod trust;
mod webhooks;

use crate::{
    adapters::SystemClock,
    cli::{Cli, Command},
    error::Failure,
    output::Output,
    place::Place,
};
use nightlatch_control::Client;
use nightlatch_custody::entropy::SystemEntropy;
use rustix::fs::Mode;
use std::{fs, path::Path, sync::Arc};

/// The first descriptor that is not standard input, output or error.
const FIRST_OF_OTHERS: i32 = 3;

/// Carries a command out.
pub(crate) fn run(cli: Cli, output: Output) -> Result<(), Failure> {
    if let Command::Stage { role } = &cli.command {
        return Ok(nightlatch_companion::sandbox::stage(role)?);
    }
    // What whoever started us has open is neither a program's under `run`, nor a server's in the background, which
    // would keep a pipe open that somebody reads to its end.
    close_fds::set_fds_cloexec(FIRST_OF_OTHERS, &[]);
    let umask = private_files();
    match cli.command {
        Command::Up(up) => return crate::up::run(&Place::of(cli.data)?, up.detached, cli.json),
        Command::Serve(asked) => return crate::serve::run(&asked, cli.json, output),
        Command::Demo(asked) => return demo::run(&asked, output),
        Command::DemoPart(part) => return crate::demo::act(part),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(cli, output, umask))
}

/// What this program makes is readable by its user alone, also where a mode is forgotten.
/// Answers what was there before.
fn private_files() -> Mode {
    rustix::process::umask(Mode::from_raw_mode(0o077))
}

async fn ask(cli: Cli, output: Output, umask: Mode) -> Result<(), Failure> {
    let seat = Seat { data: cli.data, output };
    match cli.command {
        Command::Up(_)
        | Command::Serve(_)
        | Command::Stage { .. }
        | Command::Demo(_)
        | Command::DemoPart(_) => Err(Failure::Usage("this command serves, and asks nobody".to_owned())),
        Command::Stop => stop::run(&seat).await,
        Command::Connect(connect) => connect::run(&seat, connect).await,
        Command::Run(asked) => run::run(&seat, asked, umask).await,
        Command::RunWatch { act, task } => run::watch(&seat, &act, &task).await,
        Command::Companion(asked) => companion::run(&seat, asked).await,
        Command::Connection(command) => connections::run(&seat, command).await,
        Command::Keeper(command) => keepers::run(&seat, command).await,
        Command::Store(command) => store::run(&seat, command).await,
        Command::Tool(command) => tools::run(&seat, command).await,
        Command::Profile(command) => tools::run_profile(&seat, command).await,
        Command::Agent(command) => agents::run(&seat, command).await,
        Command::Task(command) => tasks::run(&seat, command).await,
        Command::Grant(command) => grants::run(&seat, command).await,
        Command::Policy(command) => policy::run(&seat, command).await,
        Command::Ledger(command) => ledger::run(&seat, command).await,
        Command::Doctor => doctor::run(&seat).await,
        Command::Health => health::run(&seat).await,
        Command::Top { once } => top::run(&seat, once).await,
        Command::Metrics => top::metrics(&seat).await,
        Command::Webhook(command) => webhooks::run(&seat, command),
        Command::Why { call } => ledger::why(&seat, &call).await,
    }
}

/// Where a command sits: its data folder, its output.
pub(crate) struct Seat {
    data: Option<std::path::PathBuf>,
    pub(crate) output: Output,
}

impl Seat {
    pub(crate) fn place(&self) -> Result<Place, Failure> {
        Ok(Place::of(self.data.clone())?)
    }

    /// A client of the server of this data folder.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let place = self.place()?;
        place.check()?;
        client_of(&place)
    }
}

pub(crate) fn client_of(place: &Place) -> Result<Client, Failure> {
    if !place.path("api.token").exists() {
        return Err(nightlatch_control::ClientError::Silent.into());
    }
    let key = place.token()?;
    Ok(Client::new(&place.socket()?, key, Arc::new(SystemClock), Arc::new(SystemEntropy::new())))
}

/// The text of a file that a human named.
pub(crate) fn text_of(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|source| Failure::File { path: path.to_owned(), source })
}
