//! `run`'s side: raises what walls this machine allows, says which those are, and runs a program inside.

use super::{
    Advice, Plan, Program, SandboxError, Strength,
    fence::{Fence, Holds},
    hidden, init, mounts,
    orders::{Ended, Identity, NotStarted, Order, Report, Start},
    refusal::Refusal,
    signals::Heard,
    stage,
    walls::{House, Walls},
    wire::{Line, Live},
};
use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};
use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

/// How long a stage may take to raise the walls, and the keeper to start a program; each takes some ten milliseconds.
/// Signals are not heard meanwhile.
const RAISED_WITHIN: Duration = Duration::from_secs(20);
const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// Walls that stand, and nobody inside yet.
#[derive(Debug)]
pub struct Prepared {
    /// How much they hold.
    pub strength: Strength,
    /// What they do not hold, in words for the user.
    pub advice: Vec<Advice>,
    /// Where the program reaches the companion. In a network namespace of its own nobody else can.
    listener: TcpListener,
    line: Line,
    stage: Child,
    place: Place,
    fence: Option<Fence>,
    heard: Heard,
}

/// Where and as what the program will run.
#[derive(Debug)]
struct Place {
    work: PathBuf,
    identity: Identity,
    home: PathBuf,
    umask: u32,
    /// The children of this process that are none of the program's.
    spared: Vec<Pid>,
}

/// A program inside the walls.
#[derive(Debug)]
pub struct Running {
    line: Live,
    stage: Child,
    heard: Heard,
    spared: Vec<Pid>,
}

/// Raises the walls that `plan` asks for, as strong as this machine allows.
///
/// Must be called inside a runtime, and from the thread that lives as long as the program: the kernel ends the sandbox
/// with the thread that started it. From here on signals end this process no longer: [`Prepared::interrupted`] and
/// [`Running::ended`] hear them.
///
/// # Errors
/// [`SandboxError`] where the working folder cannot be one, or no stage can be started.
pub fn prepare(plan: &Plan) -> Result<Prepared, SandboxError> {
    // What a stage that was killed leaves behind comes to us, and ends with us.
    set_child_subreaper(Some(getpid())).map_err(io::Error::from)?;
    // Who is there already is none of the program's: a server that was started in the background just now.
    let spared = init::children();
    let home = plan.home.canonicalize().unwrap_or_else(|_| plan.home.clone());
    let mounts = mounts::read(&fs::read("/proc/self/mountinfo")?)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let hidden = hidden::existing(&plan.home, &plan.configuration, &plan.hidden, &mounts);
    let work = working_folder(&plan.work, &hidden)?;
    let identity = Identity::of(&work)?;
    let place = Place { work: work.clone(), identity, home: home.clone(), umask: plan.umask, spared };
    let mut advice = Vec::new();
    if home.starts_with(&work) {
        advice.push(Advice::HomeIsWritable);
    } else if work.strip_prefix(&home).is_ok_and(is_configuration) {
        advice.push(Advice::ConfigurationIsWritable);
    } else if hidden.iter().any(|path| path.starts_with(&work)) {
        advice.push(Advice::HiddenBelow);
    }
    let coming = hidden::coming(&home, &plan.configuration, &plan.hidden);
    let own_program = own_program(&work);
    if !plan.confined {
        advice.push(Advice::Unconfined);
        return beside(place, Strength::None, advice, None);
    }
    let (sockets, all_looked_at) = hidden::sockets(&home, &work, &hidden, &mounts);
    let house = House::of(&home, &work, coming.clone());
    let later_ones_show = house.is_none() || coming.iter().any(|path| path.starts_with(&work));
    let walls = Walls {
        home,
        house,
        work,
        identity,
        scratch: plan.scratch.clone(),
        hidden: hidden.clone(),
        kept: own_program.clone(),
        sockets,
    };
    match namespaces(walls) {
        Ok((listener, line, stage)) => {
            advice.push(Advice::LateSockets);
            if !all_looked_at {
                advice.push(Advice::UnseenSockets);
            }
            if later_ones_show {
                advice.push(Advice::LateCredentials);
            }
            if rustix::process::geteuid().is_root() {
                advice.push(Advice::Root);
            }
            let (strength, heard) = (Strength::Strong, Heard::listen()?);
            Ok(Prepared { strength, advice, listener, line, stage, place, fence: None, heard })
        }
        Err(Refusal { why, never: true }) => {
            advice.push(Advice::NoNamespaces(why));
            if own_program.is_some() {
                advice.push(Advice::OwnProgram);
            }
            weak(plan, place, (&hidden, &coming), advice)
        }
        Err(Refusal { why, never: false }) => Err(SandboxError::Walls(why)),
    }
}

/// This very program, where it lies in the working folder: the user will start it again, outside of the walls.
fn own_program(work: &Path) -> Option<PathBuf> {
    let program = std::env::current_exe().and_then(|path| path.canonicalize()).ok()?;
    program.starts_with(work).then_some(program)
}

/// Whether a folder, named from the home folder on, is one in which programs keep what they do by.
fn is_configuration(from_home: &Path) -> bool {
    from_home.components().next().is_some_and(|first| first.as_os_str().as_encoded_bytes().starts_with(b"."))
}

/// The real name of the working folder, where it can be one.
fn working_folder(asked: &Path, hidden: &[PathBuf]) -> Result<PathBuf, SandboxError> {
    let folder = asked.canonicalize()?;
    let of_the_machine = ["/dev", "/proc", "/sys"].iter().any(|place| folder.starts_with(place));
    if folder == Path::new("/") || of_the_machine || hidden.iter().any(|path| folder.starts_with(path)) {
        return Err(SandboxError::Folder(folder));
    }
    Ok(folder)
}

/// The walls of namespaces; the reason where there are none.
fn namespaces(walls: Walls) -> Result<(TcpListener, Line, Child), Refusal> {
    let (line, theirs) = Line::pair()?;
    let mut stage = stage::start("outer", theirs, Stdio::inherit())?;
    match raised(&line, walls) {
        Ok(listener) => Ok((listener, line, stage)),
        Err(reason) => {
            // It has ended, or must: its line goes here.
            drop(line);
            let _ = stage.kill();
            let _ = stage.wait();
            Err(reason)
        }
    }
}

fn raised(line: &Line, walls: Walls) -> Result<TcpListener, Refusal> {
    let lost = |error: io::Error| Refusal::from(format!("it did not answer: {error}"));
    let confused = || Refusal::from("it answered out of turn".to_owned());
    line.patience(Some(RAISED_WITHIN)).map_err(lost)?;
    let listener = match line.receive().map_err(lost)? {
        (Report::Listening, Some(listener)) => TcpListener::from(listener),
        (Report::Refused(reason), _) => return Err(reason),
        _ => return Err(confused()),
    };
    line.send(&Order::Walls(walls), None).map_err(lost)?;
    match line.receive::<Report>().map_err(lost)? {
        (Report::Walled, _) => {}
        (Report::Refused(reason), _) => return Err(reason),
        _ => return Err(confused()),
    }
    Ok(listener)
}

/// Landlock, as far as the kernel has it.
fn weak(
    plan: &Plan,
    place: Place,
    (hidden, coming): (&[PathBuf], &[PathBuf]),
    mut advice: Vec<Advice>,
) -> Result<Prepared, SandboxError> {
    let holds = Holds::here();
    advice.push(if holds.tcp { Advice::NetworkByPort } else { Advice::Network });
    advice.extend([Advice::Sockets, Advice::Processes]);
    if !holds.files {
        advice.extend([Advice::Files, Advice::Signals, Advice::Memory]);
        return beside(place, Strength::Weak, advice, None);
    }
    advice.extend([Advice::Modes, Advice::Terminals]);
    if !holds.truncation {
        advice.push(Advice::Truncation);
    }
    if !holds.scopes {
        advice.push(Advice::Signals);
    }
    if coming.iter().any(|path| path.starts_with(&place.work)) {
        advice.push(Advice::LateCredentials);
    }
    let unread = [hidden, coming].concat();
    let fence = Fence::around(&place.home, (&unread, hidden), &[&place.work, &plan.scratch], Vec::new());
    beside(place, Strength::Weak, advice, Some(fence))
}

/// The keeper beside `run`, in the namespaces of its user.
fn beside(
    place: Place,
    strength: Strength,
    advice: Vec<Advice>,
    fence: Option<Fence>,
) -> Result<Prepared, SandboxError> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let fence = fence.map(|fence| Fence { ports: vec![port], ..fence });
    let (line, theirs) = Line::pair()?;
    let role = if strength == Strength::None { "plain" } else { "fenced" };
    let stage = stage::start(role, theirs, Stdio::inherit())?;
    let heard = Heard::listen()?;
    Ok(Prepared { strength, advice, listener, line, stage, place, fence, heard })
}

impl Prepared {
    /// The listener, for the companion.
    ///
    /// # Errors
    /// Where the system has no descriptor left.
    pub fn listener(&self) -> Result<TcpListener, SandboxError> {
        Ok(self.listener.try_clone()?)
    }

    /// Waits for a signal that means: not at all. Its number.
    pub async fn interrupted(&mut self) -> i32 {
        let ends = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT].map(Signal::as_raw);
        loop {
            let (number, _) = self.heard.next().await;
            if ends.contains(&number) {
                return number;
            }
        }
    }

    /// What a program prints that is only asked something, inside the walls and within a few seconds.
    pub fn ask(&self, program: Program) -> Option<String> {
        let nothing = File::open("/dev/null").ok()?;
        self.line.patience(Some(STARTED_WITHIN)).ok()?;
        self.line.send(&Order::Ask(self.start_of(program)), Some(nothing.as_fd())).ok()?;
        match self.line.receive::<Report>().ok()? {
            (Report::Answer(answer), _) => answer,
            _ => None,
        }
    }

    /// Runs the program with the standard input, output and error of this process.
    ///
    /// # Errors
    /// [`SandboxError::NotStarted`] with the code that a shell would exit with; [`SandboxError`] where the sandbox
    /// has ended.
    pub fn start(self, program: Program) -> Result<Running, SandboxError> {
        let name = program.program.to_string_lossy().into_owned();
        self.line.patience(Some(STARTED_WITHIN))?;
        self.line.send(&Order::Start(self.start_of(program)), Some(io::stdin().as_fd()))?;
        match self.line.receive::<Report>()? {
            (Report::Started, _) => {
                let (line, spared) = (self.line.into_live()?, self.place.spared);
                Ok(Running { line, stage: self.stage, heard: self.heard, spared })
            }
            (Report::NotStarted(NotStarted { code, why }), _) => {
                Err(SandboxError::NotStarted { program: name, code, why })
            }
            _ => Err(SandboxError::Lost),
        }
    }

    fn start_of(&self, program: Program) -> Start {
        Start {
            program: program.program,
            arguments: program.arguments,
            environment: program.environment,
            folder: self.place.work.clone(),
            identity: self.place.identity,
            umask: self.place.umask,
            fence: self.fence.clone(),
        }
    }
}

impl Running {
    /// Waits for the program's end and passes on the signals that come meanwhile. May be dropped and asked again.
    ///
    /// # Errors
    /// [`SandboxError::Lost`] where the sandbox ended without a word: everything in it was killed.
    pub async fn ended(&mut self) -> Result<Ended, SandboxError> {
        loop {
            tokio::select! {
                (number, count) = self.heard.next() => {
                    // A sandbox that is gone is noticed below.
                    let _ = self.line.send(&Order::Signal { number, count }).await;
                }
                report = self.line.receive::<Report>() => match report {
                    Ok(Report::Stopped) => {
                        // The shell shall see that its job has stopped; we go on when it does.
                        let _ = kill_process(getpid(), Signal::STOP);
                    }
                    Ok(Report::Ended(ended)) => {
                        let _ = self.stage.wait();
                        return Ok(ended);
                    }
                    Ok(_) | Err(_) => {
                        let _ = self.stage.kill();
                        let _ = self.stage.wait();
                        init::end_children(&self.spared);
                        return Err(SandboxError::Lost);
                    }
                },
            }
        }
    }
}
