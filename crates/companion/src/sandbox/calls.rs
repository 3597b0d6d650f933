//! The system calls that no program in the sandbox has business with, refused by filters of the kernel.
//!
//! - `ioctl(TIOCSTI)` and `ioctl(TIOCLINUX)` type into the terminal that the program shares with its user: what
//!   it typed would be run by the user's own shell, outside, once the program has ended.
//! - `keyctl`, `add_key`, `request_key` reach the keyrings of the user's session, which namespaces do not divide.
//! - Sockets of families that network namespaces do not divide either (vsock reaches the host of a virtual machine),
//!   and internet sockets of other protocols than TCP, UDP and ICMP, and of other types than theirs (one of them is
//!   SCTP without naming it): Landlock's rules for TCP see neither MPTCP nor SCTP.
//! - `MSG_FASTOPEN`, which connects without `connect`, where Landlock looks.
//! - `io_uring`, which makes sockets without any of these calls.
//! - `kill` of the own process group, where Landlock does not keep signals inside: the group is shared with `run` and
//!   with the script that called it, and no pid namespace divides it. What a script leaves behind is ended anyway.
//!
//! Where Landlock stands in for a network namespace there are no UDP sockets at all: everything goes through the
//! proxy, also names. What else there is, is left to the namespaces and to Landlock: a list of what is allowed would
//! break programs that nobody thought of. A program of another architecture (32 bits) is ended.

use seccompiler::{
    BackendError, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
use std::collections::BTreeMap;

/// asm-generic/ioctls.h: fakes input on a terminal; among much else, pastes a selection into a console.
const TYPING: [u64; 2] = [0x5412, 0x541c];
/// linux/socket.h: `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`.
const FAMILIES: [u64; 4] = [1, INTERNET[0], INTERNET[1], 16];
const INTERNET: [u64; 2] = [2, 10];
/// linux/in.h: the default, ICMP, TCP, UDP, ICMPv6.
const PROTOCOLS: [u64; 5] = [0, 1, 6, 17, 58];
/// linux/net.h: `SOCK_STREAM`, `SOCK_DGRAM`, `SOCK_RAW` among the bits of a socket's type that are not flags.
const TYPES: [u64; 3] = [1, DATAGRAM, 3];
const DATAGRAM: u64 = 2;
const TYPE_MASK: u64 = 0xf;
/// linux/socket.h.
const FAST_OPEN: u64 = 0x2000_0000;
/// asm-generic/errno.h: `EPERM`, `EPROTONOSUPPORT`.
const NOT_PERMITTED: u32 = 1;
const NO_SUCH_PROTOCOL: u32 = 93;

/// The numbers of the calls (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
struct Numbers {
    ioctl: &'static [i64],
    kill: i64,
    socket: i64,
    /// With the place of the flags among its arguments.
    sending: [(i64, u8); 3],
    /// `add_key`, `request_key`, `keyctl`, `io_uring_setup`.
    never: [i64; 4],
}

/// x86 has a second way to name a 64-bit call (x32), with this bit; some calls have numbers of their own there.
#[cfg(target_arch = "x86_64")]
const SECOND: Option<i64> = Some(0x4000_0000);
#[cfg(target_arch = "x86_64")]
const NUMBERS: Numbers = Numbers {
    ioctl: &[16, 514],
    kill: 62,
    socket: 41,
    sending: [(44, 3), (46, 2), (307, 3)],
    never: [248, 249, 250, 425],
};
/// Of `sendmsg` and `sendmmsg` in x32.
#[cfg(target_arch = "x86_64")]
const SENDING_MORE: &[(i64, u8)] = &[(518, 2), (538, 3)];

#[cfg(target_arch = "aarch64")]
const SECOND: Option<i64> = None;
#[cfg(target_arch = "aarch64")]
const NUMBERS: Numbers = Numbers {
    ioctl: &[29],
    kill: 129,
    socket: 198,
    sending: [(206, 3), (211, 2), (269, 3)],
    never: [217, 218, 219, 425],
};
#[cfg(target_arch = "aarch64")]
const SENDING_MORE: &[(i64, u8)] = &[];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refuses them to this thread and to all that comes of it, datagrams too where they are `proxied`, and signals to the
/// `group`. `no_new_privs` must be set.
pub(super) fn refuse(proxied: bool, group: bool) -> Result<(), seccompiler::Error> {
    let mut rules = not_permitted()?;
    if group {
        refused(&mut rules, NUMBERS.kill, &[rule(vec![is(0, 0)?])?]);
    }
    apply(rules, NOT_PERMITTED)?;
    apply(no_such_protocol(proxied)?, NO_SUCH_PROTOCOL)
}

fn apply(rules: Rules, error: u32) -> Result<(), seccompiler::Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error), architecture)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    apply_filter(&program)
}

fn not_permitted() -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    for number in NUMBERS.ioctl {
        // The kernel reads 32 bits of the request's number, and so does this.
        let typing = TYPING.iter().map(|request| rule(vec![is(1, *request)?]));
        refused(&mut rules, *number, &typing.collect::<Result<Vec<_>, _>>()?);
    }
    for number in NUMBERS.never {
        refused(&mut rules, number, &[]);
    }
    for (number, flags) in NUMBERS.sending.iter().chain(SENDING_MORE) {
        let fast = condition(*flags, SeccompCmpOp::MaskedEq(FAST_OPEN), FAST_OPEN)?;
        refused(&mut rules, *number, &[rule(vec![fast])?]);
    }
    Ok(rules)
}

fn no_such_protocol(proxied: bool) -> Result<Rules, BackendError> {
    let mut sockets = vec![rule(none_of(0, &FAMILIES)?)?];
    for family in INTERNET {
        let mut other = none_of(2, &PROTOCOLS)?;
        other.push(is(0, family)?);
        sockets.push(rule(other)?);
        let other = (0..=TYPE_MASK).filter(|kind| !TYPES.contains(kind));
        for kind in other.chain(proxied.then_some(DATAGRAM)) {
            let kind = condition(1, SeccompCmpOp::MaskedEq(TYPE_MASK), kind)?;
            sockets.push(rule(vec![is(0, family)?, kind])?);
        }
    }
    let mut rules = Rules::new();
    refused(&mut rules, NUMBERS.socket, &sockets);
    Ok(rules)
}

/// Under both names of a call; without a rule, whatever its arguments are.
fn refused(rules: &mut Rules, number: i64, when: &[SeccompRule]) {
    for number in [Some(number), SECOND.map(|bit| number | bit)].into_iter().flatten() {
        rules.insert(number, when.to_vec());
    }
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions)
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn none_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompCondition>, BackendError> {
    values.iter().map(|value| condition(argument, SeccompCmpOp::Ne, *value)).collect()
}

fn condition(argument: u8, operation: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)
}
