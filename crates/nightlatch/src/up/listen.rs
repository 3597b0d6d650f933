//! Opening a port, and saying who holds it where it is taken.

use crate::place::program;
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};
use tokio::net::{TcpListener, UnixListener};

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// Somebody holds it.
    #[error(
        "{address} is in use by {holder}; end that program, or choose another `listen` in nightlatch.toml"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
        /// Who.
        holder: String,
    },
    /// The system said no.
    #[error("{address} cannot be listened on: {source}; choose another `listen` in nightlatch.toml")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// What it said.
        source: io::Error,
    },
    /// Something is there that is not a socket which a dead process left.
    #[error(
        "`{path}` is in use; end the program that listens there, or choose another `socket` in nightlatch.toml"
    )]
    SocketInUse {
        /// The path.
        path: PathBuf,
    },
    /// The system said no to a socket.
    #[error(
        "`{path}` cannot be listened on: {source}; make its folder, or choose another `socket` in nightlatch.toml"
    )]
    SocketRefused {
        /// The path.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Listens on a Unix socket that any user may connect to: who it is, the kernel says, and whether it may, its
/// enrolment. A socket that nobody answers is removed; anything else that stands there is not ours to remove.
pub(crate) fn unix(path: &Path) -> Result<UnixListener, ListenError> {
    let refused = |source| ListenError::SocketRefused { path: path.to_owned(), source };
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() || UnixStream::connect(path).is_ok() {
            return Err(ListenError::SocketInUse { path: path.to_owned() });
        }
        fs::remove_file(path).map_err(refused)?;
    }
    let listener = UnixListener::bind(path).map_err(refused)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(refused)?;
    Ok(listener)
}

/// Listens on an address.
pub(crate) async fn tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address, holder: holder(address.port()) },
        _ => ListenError::Refused { address, source },
    })
}

/// The process that listens on a port, as far as this user may see it.
fn holder(port: u16) -> String {
    let inodes =
        ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|table| fs::read_to_string(table).ok());
    let inodes: Vec<String> = inodes.flat_map(|table| listening(&table, port)).collect();
    let Some(pid) = inodes.iter().find_map(|inode| owner(inode)) else {
        return "another program (of another user, perhaps)".to_owned();
    };
    format!("{} (pid {pid})", program(pid))
}

/// The inodes of the sockets that listen on `port`, from a table of proc(5) `/proc/net/tcp`.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        (local.ends_with(&suffix) && *state == LISTEN).then(|| (*inode).to_owned())
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn owner(inode: &str) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|link| link.as_os_str() == wanted.as_str())
    };
    pids.into_iter().find(holds)
}

#[cfg(test)]
mod tests {
    use super::{ListenError, tcp, unix};
    use std::fs;

    #[tokio::test]
    async fn a_busy_port_names_who_holds_it() {
        let held = tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = held.local_addr().unwrap();
        let Err(ListenError::InUse { holder, .. }) = tcp(address).await else { panic!("it is in use") };
        assert!(holder.contains(&format!("pid {}", std::process::id())), "{holder}");
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_answers_gives_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        let held = unix(&path).unwrap();
        assert!(matches!(unix(&path), Err(ListenError::SocketInUse { .. })));
        drop(held);
        drop(unix(&path).unwrap());
        let file = folder.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(matches!(unix(&file), Err(ListenError::SocketInUse { .. })));
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        assert!(matches!(
            unix(&folder.path().join("none/gateway.sock")),
            Err(ListenError::SocketRefused { .. })
        ));
    }
}
