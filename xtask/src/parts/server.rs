//! One server as a child process: started, awaited, and certainly ended.
//!
//! It says where it answers as one line of JSON on standard output, so nobody guesses a free port that another
//! process takes first. It ends when its standard input does; if it does not within a grace, it is killed by its id.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::{Map, Value};

use crate::machine::{self, Fault, Outcome};

/// How long a server may take until it answers: a busy machine, a cold disk.
const START: Duration = Duration::from_secs(90);

/// How long it may take to end by itself.
const END: Duration = Duration::from_secs(3);

/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// How much of its log is shown when it fails.
const LOG_LINES: usize = 20;

/// A child process that announces its addresses and ends with us.
#[derive(Debug)]
pub(super) struct Server {
    name: String,
    child: Child,
    announced: Receiver<String>,
    log: PathBuf,
}

impl Server {
    /// Starts it; what it writes to standard error goes to `NAME.log` in the run's folder.
    pub(super) fn start(name: &str, command: &mut Command, run: &Path) -> Outcome<Self> {
        let log = run.join(format!("{name}.log"));
        let file = File::create(&log)
            .map_err(|error| Fault::one(format!("parts: cannot write `{}`: {error}", log.display())))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut child =
            command.spawn().map_err(|error| Fault::one(format!("parts: cannot start `{name}`: {error}")))?;
        let stdout = child.stdout.take();
        let (tell, announced) = channel();
        thread::spawn(move || {
            if let Some(line) = stdout.and_then(first_line) {
                // Nobody listens any more if the start was given up.
                let _ = tell.send(line);
            }
        });
        Ok(Self { name: name.to_owned(), child, announced, log })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The addresses that it announces once it answers.
    pub(super) fn addresses(&mut self) -> Outcome<Map<String, Value>> {
        let line = self.announced.recv_timeout(START).map_err(|_| self.fault("did not come up"))?;
        match serde_json::from_str(&line) {
            Ok(Value::Object(addresses)) => Ok(addresses),
            _ => Err(self.fault("announced no addresses")),
        }
    }

    /// A fault if it has ended.
    pub(super) fn still_runs(&mut self) -> Outcome {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(self.fault("ended by itself")),
        }
    }

    fn fault(&self, what: &str) -> Fault {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n");
        Fault::one(format!("parts: `{}` {what}; its log ends:\n{last}", self.name))
    }

    fn ended(&mut self) -> bool {
        let begun = machine::moment();
        while begun.elapsed() < END {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(LOOK);
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if !self.ended() {
            // It may have ended in between: then there is nothing left to kill.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The first line that a server prints; the rest is read away, so that it never waits for a reader.
fn first_line(stdout: ChildStdout) -> Option<String> {
    let mut reader = BufReader::new(stdout);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    thread::spawn(move || reader.read_to_end(&mut Vec::new()));
    Some(line)
}

#[cfg(test)]
mod tests {
    //! Proves that a server is awaited, that its failure is told with its log, and that none is left behind.

    use std::{path::PathBuf, process::Command};

    use super::Server;

    fn run(test: &str) -> PathBuf {
        let run = std::env::temp_dir().join(format!("nightlatch-xtask-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&run).unwrap();
        run
    }

    fn shell(script: &str, test: &str) -> Server {
        Server::start("shell", Command::new("sh").args(["-c", script]), &run(test)).unwrap()
    }

    #[test]
    fn a_server_says_where_it_answers() {
        let mut server = shell("echo '{\"base\": \"here\"}'; cat", "says");
        assert_eq!(server.addresses().unwrap()["base"], "here");
        server.still_runs().unwrap();
    }

    #[test]
    fn a_server_that_fails_is_told_with_its_log() {
        let told = shell("echo 'no such module' >&2", "fails").addresses().unwrap_err().to_string();
        assert!(told.contains("did not come up") && told.contains("no such module"), "{told}");
    }

    #[test]
    fn a_server_ends_when_it_is_dropped() {
        let server = shell("cat", "ends");
        let process = PathBuf::from("/proc").join(server.child.id().to_string());
        assert!(process.exists());
        drop(server);
        assert!(!process.exists());
    }

    #[test]
    fn a_server_that_will_not_end_is_killed() {
        let server = shell("exec tail -f /dev/null", "kept");
        let process = PathBuf::from("/proc").join(server.child.id().to_string());
        drop(server);
        assert!(!process.exists());
    }
}
