//! `up`: all planes in one process, over SQLite, until a signal or `stop`.
//!
//! What could refuse the start is asked first, and nothing is made before it agreed: the folder, its lock,
//! the configuration, the ports, the keys beside the database. Then the rooms are wired (`wiring`), and the
//! listeners serve until they are told to stop, each letting what runs finish.

pub(crate) mod checkup;
mod first;
pub(crate) mod listen;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod operator;
pub(crate) mod traces;
pub(crate) mod wiring;

pub(crate) use listen::ListenError;

use crate::{config::Config, error::Failure, output::hint, place::Place};
use nightlatch_control::{Control, server};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, set_dumpable_behavior, setrlimit, setsid,
};
use std::sync::Arc;
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use wiring::House;

/// Serves until it is told to stop.
pub(crate) fn run(place: &Place, detached: bool, json_log: bool) -> Result<(), Failure> {
    if detached {
        // It fails for the leader of a session only, which has left the other one already.
        let _ = setsid();
    }
    no_core_dumps();
    all_file_descriptors();
    log::to_standard_error(json_log);
    place.prepare()?;
    let hold = place.hold()?;
    Config::write_first(place.root())?;
    let config = Config::load(place.root())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(place, config));
    // What still runs holds secrets and files: it ends before the folder is let go of.
    drop(runtime);
    drop(hold);
    served
}

/// A core file would hold every secret in memory, and a debugger of the same user would read them there.
pub(crate) fn no_core_dumps() {
    if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        hint("warning: other programs of this user may read this one's memory, which holds secrets");
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if setrlimit(Resource::Core, none).is_err() {
        hint("warning: core dumps could not be turned off; a crash may write secrets to a file");
    }
}

/// Every call is two sockets; the default of 1024 descriptors would be reached before our own bounds are.
pub(crate) fn all_file_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_err() {
        hint("warning: the limit on open files could not be raised; many calls at once may fail");
    }
}

async fn serve(place: &Place, config: Config) -> Result<(), Failure> {
    let told = Told::listen()?;
    let gateway = listen::tcp(config.gateway).await?;
    let redirects = listen::tcp(config.redirect).await?;
    let socket = config.socket.clone();
    let users = socket.as_deref().map(listen::unix).transpose()?;
    let collectors = match config.metrics {
        Some(address) => Some(listen::tcp(address).await?),
        None => None,
    };
    let addresses = (gateway.local_addr()?, redirects.local_addr()?);
    let (stop, stopped) = watch::channel(false);
    let house = House::build(place, config, addresses, stop.clone()).await?;
    if let Some(to) = house.traces_to() {
        hint(format!("traces of calls go to {to}"));
    }
    let api = api_socket(place)?;
    tokio::spawn(told.pass_on(stop));
    hint(format!(
        "nightlatch serves {}: gateway https://{}, redirects http://{}",
        place.root().display(),
        addresses.0,
        addresses.1
    ));
    let (of_api, of_redirects) = (Arc::clone(&house.control), Arc::clone(&house.control));
    let (until_api, until_redirects, until_collected) = (stopped.clone(), stopped.clone(), stopped.clone());
    let faces = async {
        let api = server::serve(api, Control::api(&of_api), until_api);
        let redirects = server::serve(redirects, Control::redirects(&of_redirects), until_redirects);
        tokio::join!(api, redirects, collected(collectors, &house.control, until_collected))
    };
    let (_, served) = tokio::join!(faces, house.serve_gateway(gateway, users, stopped));
    let _ = std::fs::remove_file(place.path("run/api.sock"));
    socket.into_iter().for_each(|path| drop(std::fs::remove_file(path)));
    house.close().await;
    hint("nightlatch has stopped");
    served
}

/// Answers collectors of metrics, where the operator says so.
async fn collected(listener: Option<TcpListener>, control: &Arc<Control>, until: watch::Receiver<bool>) {
    let Some((listener, own)) = listener.and_then(|own| own.local_addr().ok().map(|at| (own, at))) else {
        return;
    };
    hint(format!("metrics are read at http://{own}/metrics"));
    server::serve(listener, control.metrics(own.to_string()), until).await;
}

/// The API's socket. A file that a dead process left is in the way of nobody: the folder is held.
pub(crate) fn api_socket(place: &Place) -> Result<UnixListener, Failure> {
    let path = place.socket()?;
    let _ = std::fs::remove_file(&path);
    UnixListener::bind(&path).map_err(|source| Failure::File { path, source })
}

/// The signals that end the program, and one that must not.
pub(crate) struct Told {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// A file size limit raises SIGXFSZ, which ends a process without a handler: then a write just fails.
    _file_size: tokio::signal::unix::Signal,
}

impl Told {
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _file_size: signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?,
        })
    }

    pub(crate) async fn pass_on(mut self, stop: watch::Sender<bool>) {
        let mut stopped = stop.subscribe();
        tokio::select! {
            _ = self.interrupt.recv() => hint("stopping; a second signal ends it at once"),
            _ = self.terminate.recv() => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        stop.send_replace(true);
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        hint("ended at once, as a second signal asked");
        std::process::exit(1);
    }
}
