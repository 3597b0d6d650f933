//! The system calls that no program in the sandbox has business with, refused by a filter of the kernel.
//!
//! - `ioctl(TIOCSTI)` and `ioctl(TIOCLINUX)` type into the terminal that the program shares with its user: what
//!   it typed would be run by the user's own shell, outside, once the program has ended.
//! - `keyctl`, `add_key`, `request_key` reach the keyrings of the user's session, which namespaces do not divide.
//!
//! Everything else is left to the namespaces and to Landlock: a list of what is allowed would break programs that
//! nobody thought of.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};
use std::collections::BTreeMap;

/// asm-generic/ioctls.h: fakes input on a terminal.
const TIOCSTI: u64 = 0x5412;
/// asm-generic/ioctls.h: among much else, pastes a selection into a console.
const TIOCLINUX: u64 = 0x541c;
/// `EPERM`.
const NOT_PERMITTED: u32 = 1;

/// The numbers of `ioctl`, then of `add_key`, `request_key` and `keyctl`
/// (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
#[cfg(target_arch = "x86_64")]
const NUMBERS: (i64, [i64; 3]) = (16, [248, 249, 250]);
#[cfg(target_arch = "aarch64")]
const NUMBERS: (i64, [i64; 3]) = (29, [217, 218, 219]);

/// x86's second way to name a 64-bit call (x32): the same numbers with this bit; `ioctl` has a number of its own.
const X32_BIT: i64 = 0x4000_0000;
const X32_IOCTL: i64 = X32_BIT | 514;

/// Refuses them to this thread and to all that comes of it. `no_new_privs` must be set.
pub(super) fn refuse() -> Result<(), seccompiler::Error> {
    apply_filter(&program()?)
}

fn program() -> Result<BpfProgram, seccompiler::Error> {
    let (ioctl, keys) = NUMBERS;
    let mut rules = BTreeMap::new();
    for number in [ioctl, X32_IOCTL] {
        rules.insert(number, vec![typing(TIOCSTI)?, typing(TIOCLINUX)?]);
    }
    for number in keys {
        rules.insert(number, Vec::new());
        rules.insert(number | X32_BIT, Vec::new());
    }
    let refused = SeccompAction::Errno(NOT_PERMITTED);
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture)?.try_into()?)
}

/// The kernel reads 32 bits of the request's number, and so does this.
fn typing(request: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request)?;
    SeccompRule::new(vec![condition])
}
