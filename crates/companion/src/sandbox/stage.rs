//! The stages: this very program, started again with one thread and nothing else to do.
//!
//! - **outer** makes the namespaces, opens the listener inside, starts `inner`, and waits;
//! - **inner** is the first process of the pid namespace: it raises the walls, gives up every capability, and becomes
//!   the keeper of the program (`init`). When it ends, the kernel ends everything in the namespace;
//! - **plain** is the keeper alone, where there are no namespaces;
//! - **enter** takes its place in the sandbox for good (no new privileges, Landlock, the filter of system calls) and
//!   becomes the program.
//!
//! A stage that loses its line ends by itself, and all but `plain` are killed by the kernel with their parent.

use super::{
    StageError, calls,
    init::Keeper,
    loopback,
    orders::{NotStarted, Order, Report, Start},
    signals::Heard,
    walls,
    wire::Line,
};
use rustix::{
    fs::Mode,
    process::{
        DumpableBehavior, Signal, getegid, geteuid, set_child_subreaper, set_dumpable_behavior,
        set_parent_process_death_signal, umask,
    },
    thread::{
        CapabilitySet, CapabilitySets, UnshareFlags, capabilities, clear_ambient_capability_set,
        configure_capability_in_ambient_set, set_capabilities, set_no_new_privs,
    },
};
use std::{
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, Stdio},
};
use tokio::runtime::{Builder, Runtime};

/// The hidden command under which the program starts itself as a stage.
pub const STAGE: &str = "sandbox-stage";

/// Does the work of the stage `role`, which never comes back to an ordinary command.
///
/// # Errors
/// [`StageError`] where `run` could no longer be told.
pub fn stage(role: &str) -> Result<(), StageError> {
    // `plain` must outlive its parent by a moment: nobody else ends what the program left behind.
    if role != "plain" {
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    }
    match role {
        "outer" => outer(),
        "inner" => inner(),
        "plain" => plain(),
        "enter" => enter(),
        _ => Err(StageError::Unknown(role.to_owned())),
    }
}

/// Starts the stage `role` with this as its line.
pub(super) fn start(role: &str, line: OwnedFd, stdout: Stdio) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    // What a list of processes shows.
    command.arg0("nightlatch").env_clear().args([STAGE, role]).stdin(line).stdout(stdout).spawn()
}

fn outer() -> Result<(), StageError> {
    let (line, runtime) = (Line::of_stage()?, runtime()?);
    // The terminal signals us too; only `inner` says when it is over.
    let _heard = runtime.block_on(async { Heard::listen() })?;
    match namespaces(&line) {
        Ok(mut inner) => {
            drop(line);
            inner.wait()?;
            Ok(())
        }
        Err(error) => Ok(line.send(&Report::Refused(error.to_string()), None)?),
    }
}

fn namespaces(line: &Line) -> io::Result<Child> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let all = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC;
    #[expect(deprecated, reason = "it is unsound with CLONE_FILES beside threads; here is neither")]
    rustix::thread::unshare(all).map_err(named("no namespaces"))?;
    // user_namespaces(7): a process without privilege maps its own ids, and gives up setgroups before.
    map("setgroups", "deny")?;
    map("uid_map", &format!("{user} {user} 1"))?;
    map("gid_map", &format!("{group} {group} 1"))?;
    loopback::up()?;
    let listener = loopback::listener()?;
    line.send(&Report::Listening, Some(listener.as_fd()))?;
    drop(listener);
    keep_over_exec(CapabilitySet::SYS_ADMIN)?;
    start("inner", line.handle()?, Stdio::inherit())
}

fn named(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> io::Error {
    move |error| io::Error::other(format!("{what}: {}", io::Error::from(error)))
}

fn map(file: &str, text: &str) -> io::Result<()> {
    fs::write(format!("/proc/self/{file}"), text)
        .map_err(|error| io::Error::other(format!("no namespaces: cannot write {file}: {error}")))
}

/// A user who is not root loses every capability with `exec`, unless it is ambient.
fn keep_over_exec(capability: CapabilitySet) -> io::Result<()> {
    let own = capabilities(None)?;
    set_capabilities(None, CapabilitySets { inheritable: capability, ..own })?;
    Ok(configure_capability_in_ambient_set(capability, true)?)
}

fn inner() -> Result<(), StageError> {
    let line = Line::of_stage()?;
    let (Order::Walls(plan), _) = line.receive()? else { return Err(StageError::Unordered) };
    // The folders that are made here are as open as those that they stand for.
    umask(Mode::from_raw_mode(0o022));
    if let Err(error) = walls::raise(&plan).map_err(|error| error.to_string()).and_then(|()| powerless()) {
        return Ok(line.send(&Report::Refused(error), None)?);
    }
    line.send(&Report::Walled, None)?;
    keep(line)
}

fn powerless() -> Result<(), String> {
    let none = CapabilitySet::empty();
    clear_ambient_capability_set()
        .and_then(|()| {
            set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        })
        .map_err(|error| format!("cannot give up capabilities: {error}"))
}

fn plain() -> Result<(), StageError> {
    // What its children leave behind comes back to it, so that it can be ended.
    set_child_subreaper(Some(rustix::process::getpid())).map_err(io::Error::from)?;
    keep(Line::of_stage()?)
}

/// Nothing in the sandbox reads this process or takes its line away.
fn keep(line: Line) -> Result<(), StageError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from)?;
    Ok(runtime()?.block_on(async { Keeper::new(line)?.serve().await })?)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn enter() -> Result<(), StageError> {
    let line = Line::of_stage()?;
    let (start, stdin) = line.receive::<Start>()?;
    let Some(stdin) = stdin else { return Err(StageError::Unordered) };
    let refused = match become_program(&start, &stdin) {
        Ok(never) => match never {},
        Err(refused) => refused,
    };
    Ok(line.send(&Report::NotStarted(refused), None)?)
}

/// Comes back only where it failed.
fn become_program(start: &Start, stdin: &OwnedFd) -> Result<std::convert::Infallible, NotStarted> {
    let cannot =
        |what: &str, why: &dyn std::fmt::Display| NotStarted { code: 126, why: format!("{what}: {why}") };
    std::env::set_current_dir(&start.folder).map_err(|error| cannot("the working folder", &error))?;
    rustix::stdio::dup2_stdin(stdin).map_err(|error| cannot("standard input", &error))?;
    umask(Mode::from_raw_mode(start.umask));
    if !start.unconfined {
        // Root gets every capability back with each `exec`, but for what `no_new_privs` withholds: what it has not
        // before (capabilities(7), "Capabilities and execution of programs by root").
        powerless().map_err(|error| cannot("capabilities", &error))?;
        set_no_new_privs(true).map_err(|error| cannot("no_new_privs", &error))?;
        if let Some(fence) = &start.fence {
            fence.close().map_err(|error| cannot("Landlock", &error))?;
        }
        calls::refuse(start.fence.is_some()).map_err(|error| cannot("the filter of system calls", &error))?;
    }
    let mut program = Command::new(&start.program);
    program.args(&start.arguments).env_clear().envs(start.environment.iter().cloned());
    let error = program.exec();
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Err(NotStarted { code, why: error.to_string() })
}
