//! The stages: this very program, started again with one thread and nothing else to do.
//!
//! - **outer** makes the namespaces, opens the listener inside, starts `inner`, and waits;
//! - **inner** is the first process of the pid namespace: it raises the walls, gives up every capability for good, and
//!   becomes the keeper of the program (`init`). When it ends, the kernel ends everything in the namespace;
//! - **fenced** is the keeper where there are no namespaces, and **plain** where there shall be no walls;
//! - **enter** takes its place in the sandbox (Landlock, where there are no namespaces) and becomes the program.
//!
//! What a keeper gives up before it starts anything, everybody has given up that it starts: capabilities, new
//! privileges (without which root would have every capability of its namespace back with `exec`), and the system calls
//! that the filter refuses.
//!
//! A stage that loses its line ends by itself, and all but the last two keepers are killed by the kernel with their
//! parent.

use super::{
    StageError, calls,
    fence::{self, Holds},
    init::Keeper,
    loopback,
    orders::{Identity, NotStarted, Order, Report, Start},
    refusal::{self, Refusal},
    signals::Heard,
    walls,
    wire::Line,
};
use rustix::{
    fs::Mode,
    io::Errno,
    process::{
        DumpableBehavior, Signal, getegid, geteuid, set_child_subreaper, set_dumpable_behavior,
        set_parent_process_death_signal, umask,
    },
    thread::{
        CapabilitySet, CapabilitySets, UnshareFlags, capabilities, clear_ambient_capability_set,
        configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
        set_no_new_privs,
    },
};
use std::{
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
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
    // These must outlive their parent by a moment: nobody else ends what the program left behind.
    if !["fenced", "plain"].contains(&role) {
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    }
    match role {
        "outer" => outer(),
        "inner" => inner(),
        "fenced" => {
            powerless(true).map_err(io::Error::other).map_err(StageError::Line).and_then(|()| plain())
        }
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
        Err(refused) => Ok(line.send(&Report::Refused(refused), None)?),
    }
}

fn namespaces(line: &Line) -> Result<Child, Refusal> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let all = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC;
    #[expect(deprecated, reason = "it is unsound with CLONE_FILES beside threads; here is neither")]
    rustix::thread::unshare(all).map_err(|error| Refusal {
        why: format!("no namespaces: {}", io::Error::from(error)),
        // With another error the machine has them, and somebody used them up: that is no reason for weaker walls.
        never: refusal::is_never(&error.into()) || (error == Errno::NOSPC && refusal::none_allowed()),
    })?;
    // user_namespaces(7): a process without privilege maps its own ids, and gives up setgroups before.
    map("setgroups", "deny")?;
    map("uid_map", &format!("{user} {user} 1"))?;
    map("gid_map", &format!("{group} {group} 1"))?;
    loopback::up()?;
    let listener = loopback::listener()?;
    line.send(&Report::Listening, Some(listener.as_fd()))?;
    drop(listener);
    keep_over_exec(&[CapabilitySet::SYS_ADMIN, CapabilitySet::SETPCAP])?;
    Ok(start("inner", line.handle()?, Stdio::inherit())?)
}

fn map(file: &str, text: &str) -> Result<(), Refusal> {
    fs::write(format!("/proc/self/{file}"), text).map_err(|error| Refusal {
        why: format!("no namespaces: cannot write {file}: {error}"),
        never: refusal::is_never(&error),
    })
}

/// A user who is not root loses every capability with `exec`, unless it is ambient.
fn keep_over_exec(kept: &[CapabilitySet]) -> io::Result<()> {
    let own = capabilities(None)?;
    let inheritable = kept.iter().copied().collect();
    set_capabilities(None, CapabilitySets { inheritable, ..own })?;
    kept.iter().try_for_each(|one| Ok(configure_capability_in_ambient_set(*one, true)?))
}

fn inner() -> Result<(), StageError> {
    let line = Line::of_stage()?;
    let (Order::Walls(plan), _) = line.receive()? else { return Err(StageError::Unordered) };
    // The folders that are made here are as open as those that they stand for.
    umask(Mode::from_raw_mode(0o022));
    let walled = walls::raise(&plan).map_err(Refusal::from);
    if let Err(refused) = walled.and_then(|()| Ok(powerless(false).map_err(io::Error::other)?)) {
        return Ok(line.send(&Report::Refused(refused), None)?);
    }
    line.send(&Report::Walled, None)?;
    keep(line)
}

/// Gives up what nothing in the sandbox may have. Whoever is started from here on has given it up too.
fn powerless(proxied: bool) -> Result<(), String> {
    let scopes = Holds::here().scopes;
    set_no_new_privs(true).map_err(|error| format!("cannot give up new privileges: {error}"))?;
    give_up_capabilities().map_err(|error| format!("cannot give up capabilities: {error}"))?;
    if scopes {
        fence::keep_signals().map_err(|error| format!("cannot keep signals inside: {error}"))?;
    }
    calls::refuse(proxied, !scopes).map_err(|error| format!("cannot refuse system calls: {error}"))
}

fn give_up_capabilities() -> rustix::io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        // The kernel may not know it, and who has no capability at all may not say so: nothing hangs on this.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let none = CapabilitySet::empty();
    clear_ambient_capability_set()?;
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
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
    // `exec` undoes it. Until then this process is not yet what it will be.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from)?;
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
    let folder = std::env::set_current_dir(&start.folder).and_then(|()| Identity::of(Path::new(".")));
    if folder.map_err(|error| cannot("the working folder", &error))? != start.identity {
        return Err(cannot("the working folder", &"it is another one by now"));
    }
    rustix::stdio::dup2_stdin(stdin).map_err(|error| cannot("standard input", &error))?;
    umask(Mode::from_raw_mode(start.umask));
    if let Some(fence) = &start.fence {
        fence.close().map_err(|error| cannot("Landlock", &error))?;
    }
    let mut program = Command::new(&start.program);
    program.args(&start.arguments).env_clear().envs(start.environment.iter().cloned());
    let error = program.exec();
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Err(NotStarted { code, why: error.to_string() })
}
