//! Whose process stands at the other end of a local connection, by the kernel's socket table.
//!
//! TCP has no `SO_PEERCRED`. But both ends of a loopback connection are sockets of this machine, and
//! `/proc/net/tcp` and `/proc/net/tcp6` (proc(5)) list each with its owner: the other end is the entry whose
//! local address is our remote one, and the other way round. Only an established connection counts: one that
//! was closed is listed under user 0, whoever it belonged to.
//!
//! The kernel writes the table piece by piece, so that an entry can be missed while others come and go; hence
//! more than one look. Who is not found is nobody.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Looks before nobody is found.
const LOOKS: usize = 3;
/// `TCP_ESTABLISHED` of the kernel's `include/net/tcp_states.h`.
const ESTABLISHED: &str = "01";

/// The user at the other end of the connection whose ends are `local`, ours, and `remote`.
pub(crate) fn uid(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    (0..LOOKS).find_map(|_| {
        // A client that speaks IPv6 to an IPv4 listener is in the second table, under a mapped address.
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
            let text = fs::read_to_string(table).ok()?;
            uid_in(&text, local, remote)
        })
    })
}

fn uid_in(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let (local, remote) = (canonical(local), canonical(remote));
    // The first line is a heading.
    table.lines().skip(1).find_map(|line| {
        let entry = Entry::read(line)?;
        (entry.local == remote && entry.remote == local).then_some(entry.uid)
    })
}

/// One end of an established connection, and whose it is.
struct Entry {
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    uid: u32,
}

impl Entry {
    /// `sl local_address rem_address st tx:rx tr:when retrnsmt uid …`
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (end(words.next()?)?, end(words.next()?)?);
        let established = words.next()? == ESTABLISHED;
        let uid = words.nth(3)?.parse().ok()?;
        established.then_some(Self { local, remote, uid })
    }
}

/// `ADDRESS:PORT` in hexadecimal; the address in words of 32 bits as the machine keeps them.
fn end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(address)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (place, to) in bytes.chunks_exact_mut(4).enumerate() {
                to.copy_from_slice(&word(address.get(8 * place..8 * place + 8)?)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some((address.to_canonical(), port))
}

fn word(text: &str) -> Option<[u8; 4]> {
    u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes)
}

fn canonical(end: SocketAddr) -> (IpAddr, u16) {
    (end.ip().to_canonical(), end.port())
}

#[cfg(test)]
mod tests {
    use super::{uid, uid_in};
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    const HEADING: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

    fn ends() -> (SocketAddr, SocketAddr) {
        ("127.0.0.1:8080".parse().unwrap(), "127.0.0.1:40000".parse().unwrap())
    }

    fn word(octets: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(octets))
    }

    fn v4(end: SocketAddr) -> String {
        let IpAddr::V4(address) = end.ip() else { panic!("not IPv4") };
        format!("{}:{:04X}", word(address.octets()), end.port())
    }

    fn mapped(end: SocketAddr) -> String {
        format!("{}{}{}{}", word([0; 4]), word([0; 4]), word([0, 0, 0xff, 0xff]), v4(end))
    }

    fn line(local: &str, remote: &str, state: &str, uid: &str) -> String {
        format!(
            "{HEADING}\n   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000  {uid}        0 1 1 0 20 4 30 10 -1"
        )
    }

    #[test]
    fn the_other_end_is_found_in_both_tables() {
        let (local, remote) = ends();
        assert_eq!(uid_in(&line(&v4(remote), &v4(local), "01", "1000"), local, remote), Some(1000));
        assert_eq!(uid_in(&line(&mapped(remote), &mapped(local), "01", "7"), local, remote), Some(7));
    }

    #[test]
    fn our_own_end_and_other_connections_are_nobodys() {
        let (local, remote) = ends();
        let other: SocketAddr = "127.0.0.1:40001".parse().unwrap();
        for table in [
            line(&v4(local), &v4(remote), "01", "1000"),
            line(&v4(other), &v4(local), "01", "1000"),
            line(&v4(remote), &v4(other), "01", "1000"),
            line(&v4("127.0.0.2:40000".parse().unwrap()), &v4(local), "01", "1000"),
            line("0100007F:9C40", "00000000:0000", "0A", "1000"),
            String::new(),
            HEADING.to_owned(),
        ] {
            assert_eq!(uid_in(&table, local, remote), None, "{table}");
        }
    }

    #[test]
    fn a_connection_that_was_closed_belongs_to_nobody() {
        let (local, remote) = ends();
        for state in ["02", "03", "04", "05", "06", "07", "08", "09", "0B"] {
            assert_eq!(uid_in(&line(&v4(remote), &v4(local), state, "0"), local, remote), None, "{state}");
        }
    }

    #[test]
    fn the_kernel_names_this_very_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (served, remote) = listener.accept().unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(uid(served.local_addr().unwrap(), remote), Some(own));
        drop(client);
        assert_eq!(uid(served.local_addr().unwrap(), remote), None);
    }

    #[test]
    fn a_program_that_speaks_ipv6_to_an_ipv4_listener_is_named_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mapped =
            SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), listener.local_addr().unwrap().port()));
        // A machine without IPv6 has no such program.
        let Ok(_client) = TcpStream::connect(mapped) else { return };
        let (served, remote) = listener.accept().unwrap();
        assert_eq!(uid(served.local_addr().unwrap(), remote), Some(rustix::process::geteuid().as_raw()));
    }

    proptest! {
        #[test]
        fn any_table_is_read_without_a_fault(table in "(?s).{0,400}") {
            let (local, remote) = ends();
            let _ = uid_in(&table, local, remote);
        }

        #[test]
        fn any_pair_of_addresses_is_found_by_its_own_entry(local: [u8; 4], remote: [u8; 4], ports: (u16, u16), uid: u32) {
            let local = SocketAddr::from((Ipv4Addr::from(local), ports.0));
            let remote = SocketAddr::from((Ipv4Addr::from(remote), ports.1));
            let table = line(&v4(remote), &v4(local), "01", &uid.to_string());
            prop_assert_eq!(uid_in(&table, local, remote), Some(uid));
        }
    }
}
