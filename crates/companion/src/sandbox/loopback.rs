//! The network namespace: its one interface, loopback, brought up over netlink.
//!
//! A new network namespace has `lo` and nothing else, and it is down. No tool that could raise it is sure to be
//! installed (`ip` is not essential on Debian), and the ioctl would need `unsafe`; a netlink message needs neither.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::{io, net::TcpListener};

/// `RTM_NEWLINK`, `NLM_F_REQUEST`, `NLM_F_ACK`, `NLMSG_ERROR`, `IFF_UP` (linux/netlink.h, linux/rtnetlink.h, linux/if.h).
const NEW_LINK: u16 = 16;
const REQUEST_AND_ACKNOWLEDGE: u16 = 0x1 | 0x4;
const ERROR: u16 = 2;
const UP: u32 = 1;
/// The first interface of a namespace is its loopback.
const LOOPBACK: i32 = 1;

/// Brings loopback up in the network namespace of this process.
pub(super) fn up() -> io::Result<()> {
    // `NETLINK_ROUTE` is protocol 0, the default.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &request(), SendFlags::empty())?;
    let mut answer = [0; 256];
    let (read, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    acknowledged(answer.get(..read).unwrap_or_default())
}

/// A listener that only the programs of this network namespace can reach.
pub(super) fn listener() -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", 0))
}

/// struct nlmsghdr and struct ifinfomsg, in the byte order of the machine.
fn request() -> [u8; 32] {
    let mut message = [0; 32];
    let fields: [(usize, &[u8]); 6] = [
        (0, &32_u32.to_ne_bytes()),
        (4, &NEW_LINK.to_ne_bytes()),
        (6, &REQUEST_AND_ACKNOWLEDGE.to_ne_bytes()),
        (20, &LOOPBACK.to_ne_bytes()),
        (24, &UP.to_ne_bytes()),
        (28, &UP.to_ne_bytes()),
    ];
    for (at, bytes) in fields {
        if let Some(place) = message.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    message
}

/// struct nlmsgerr: zero is the acknowledgement, anything else an error number with its sign turned.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, code) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    //! Proves that only the kernel's acknowledgement counts as one.

    use super::acknowledged;

    fn answer(kind: u16, code: i32) -> Vec<u8> {
        let mut bytes = vec![0; 36];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[16..20].copy_from_slice(&code.to_ne_bytes());
        bytes
    }

    #[test]
    fn only_error_zero_is_an_acknowledgement() {
        assert!(acknowledged(&answer(2, 0)).is_ok());
        assert_eq!(acknowledged(&answer(2, -1)).unwrap_err().raw_os_error(), Some(1));
        assert!(acknowledged(&answer(16, 0)).is_err());
        assert!(acknowledged(&[0; 10]).is_err());
    }
}
