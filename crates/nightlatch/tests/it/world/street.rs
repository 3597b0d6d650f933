//! Keepers in network namespaces of their own (`tests/parts/street/street.py`), so that what a test cuts is a network: what
//! was sent waits in a kernel, nobody is told, and it goes on when the cable is plugged in again.
//!
//! A keeper reaches its provider, its database and the resource server through one door each. The doors are sockets in the
//! namespace at the other end of its cables; this process holds them, and lives elsewhere.

use super::{parts::Network, relay::Silencing};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Deserialize;
use std::{
    io::{IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

/// More than a street's doors are.
const DOORS_MAX: usize = 64;

#[derive(Debug, Deserialize)]
struct Home {
    pid: u32,
    /// Of the provider, of the database, of the resource server.
    doors: [SocketAddr; 3],
}

/// The namespaces. They go with it.
pub(crate) struct Street {
    homes: Vec<Home>,
    /// What is behind the doors that are always open.
    _open: Vec<Silencing>,
    line: Mutex<UnixStream>,
    made: Child,
    enter: Vec<String>,
}

impl Street {
    /// A street for so many keepers, and the doors to their provider, which somebody must answer. The other doors lead to
    /// `database` and `resource`, each an address and a port.
    pub(crate) fn new(
        network: &Network,
        count: usize,
        database: &str,
        resource: &str,
    ) -> (Self, Vec<TcpListener>) {
        let (line, theirs) = UnixStream::pair().expect("a pair of sockets");
        let (program, words) = network.street.split_first().expect("a command");
        let mut made = Command::new(program);
        made.args(words).arg(count.to_string()).stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        let made = made.spawn().expect("a street is made");
        let (told, doors) = first_message(&line);
        let homes: Vec<Home> = serde_json::from_slice(&told).expect("who lives there");
        assert_eq!((homes.len(), doors.len()), (count, 3 * count));
        let (mut to_provider, mut open) = (Vec::new(), Vec::new());
        for (at, door) in doors.into_iter().map(TcpListener::from).enumerate() {
            match at % 3 {
                0 => to_provider.push(door),
                1 => open.push(Silencing::behind(door, database)),
                _ => open.push(Silencing::behind(door, resource)),
            }
        }
        let (line, enter) = (Mutex::new(line), network.enter.clone());
        (Self { homes, _open: open, line, made, enter }, to_provider)
    }

    /// Where keeper `number`, counted from 1, finds its provider.
    pub(crate) fn provider(&self, number: usize) -> SocketAddr {
        self.homes[number - 1].doors[0]
    }

    /// Where it finds its database.
    pub(crate) fn database(&self, number: usize) -> SocketAddr {
        self.homes[number - 1].doors[1]
    }

    /// Where it finds the resource server.
    pub(crate) fn resource(&self, number: usize) -> SocketAddr {
        self.homes[number - 1].doors[2]
    }

    /// Pulls the cable between a keeper and its provider.
    pub(crate) fn cut(&self, number: usize) {
        self.say(&format!("cut {number} 0\n"));
    }

    /// Plugs it in again.
    pub(crate) fn heal(&self, number: usize) {
        self.say(&format!("heal {number} 0\n"));
    }

    fn say(&self, what: &str) {
        let mut line = self.line.lock().expect("no test failed before");
        line.write_all(what.as_bytes()).expect("the street is there");
        line.read_exact(&mut [0]).expect("it is done");
    }

    /// A command as it runs in a keeper's namespace. Its process is the command's own.
    pub(crate) fn inside(&self, number: usize, command: &Command) -> Command {
        let (program, words) = self.enter.split_first().expect("a command");
        let mut inside = Command::new(program);
        inside.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inside.args(words).args(["--target", &self.homes[number - 1].pid.to_string(), "--"]);
        inside.arg(command.get_program()).args(command.get_args());
        inside
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        // It ends with its line.
        let _ = self.line.get_mut().map(|line| line.shutdown(std::net::Shutdown::Both));
        let _ = self.made.wait();
    }
}

/// What the street says, and the doors that come with it.
fn first_message(line: &UnixStream) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut text = vec![0; 1 << 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DOORS_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(line, &mut [IoSliceMut::new(&mut text)], &mut beside, RecvFlags::CMSG_CLOEXEC);
    text.truncate(received.expect("a street is made").bytes);
    let doors = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(doors) => Some(doors),
        _ => None,
    });
    (text, doors.flatten().collect())
}
