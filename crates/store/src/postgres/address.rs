//! Where a database is, and how the way there is kept from others.
//!
//! What goes over it is not only sealed: who may do what stands in those rows. So nothing is sent in clear but to this very
//! machine, whatever the address asks for, and a server is believed only by a certificate that the given trust vouches
//! for, under the name that the address has. There is no mode that encrypts and does not check.

use super::PostgresError;
use rustls::ClientConfig;
use std::{net::IpAddr, str::FromStr as _, time::Duration};
use tokio_postgres::{
    Client, Config, Connection, NoTls, Socket,
    config::{Host, SslMode},
    tls::TlsStream,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long what was sent may stay without the other machine's word that it arrived.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);
/// How long a silent connection is believed in before the other machine is asked whether it is there.
const SILENCE_MAX: Duration = Duration::from_secs(8);
/// How long it has for each answer.
const ASKED_EVERY: Duration = Duration::from_secs(2);
/// How often it is asked before the connection is given up.
const ASKED_TIMES: u32 = 3;

/// Where a database is, who asks it, and by whom it is vouched for.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Address {
    /// `postgres://USER@HOST:PORT/NAME`, or the other form that libpq reads; it bears no password. With `trust` everything
    /// goes over TLS, but to a socket in the file system. Without it the database must be on this machine.
    ///
    /// # Errors
    /// [`PostgresError::Address`], [`PostgresError::PasswordInAddress`], [`PostgresError::Clear`].
    pub fn new(text: &str, trust: Option<ClientConfig>) -> Result<Self, PostgresError> {
        let mut config = Config::from_str(text).map_err(|_| PostgresError::Address)?;
        if config.get_password().is_some() {
            return Err(PostgresError::PasswordInAddress);
        }
        let tls = trust.filter(|_| !is_file(&config)).map(MakeRustlsConnect::new);
        match tls {
            Some(_) => config.ssl_mode(SslMode::Require),
            None if is_here(&config) && config.get_ssl_mode() != SslMode::Require => {
                config.ssl_mode(SslMode::Disable)
            }
            None => return Err(PostgresError::Clear),
        };
        config.tcp_user_timeout(UNACKNOWLEDGED_MAX).keepalives_idle(SILENCE_MAX);
        config.keepalives_interval(ASKED_EVERY).keepalives_retries(ASKED_TIMES);
        Ok(Self { config, tls })
    }

    /// The same, with a password: it comes from a file.
    #[must_use]
    pub fn with_password(mut self, password: &[u8]) -> Self {
        self.config.password(password);
        self
    }

    /// The same, with more options for its sessions.
    pub(super) fn with(&self, options: &str) -> Self {
        let mut address = self.clone();
        let before = self.config.get_options().unwrap_or_default();
        address.config.options(format!("{before} {options}"));
        address
    }

    /// Connects, and gives the connection to `drive`, which keeps it going.
    pub(super) async fn connect<D: Drive>(&self, drive: D) -> Result<Client, tokio_postgres::Error> {
        match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                drive.drive(connection);
                Ok(client)
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                drive.drive(connection);
                Ok(client)
            }
        }
    }
}

/// What keeps a connection going, whatever it is made of.
pub(super) trait Drive {
    fn drive<T: TlsStream + Unpin + Send + 'static>(self, connection: Connection<Socket, T>);
}

fn is_file(config: &Config) -> bool {
    let hosts = config.get_hosts();
    config.get_hostaddrs().is_empty()
        && !hosts.is_empty()
        && hosts.iter().all(|host| matches!(host, Host::Unix(_)))
}

/// Where addresses are given, they are where it goes; a name alone must be this machine's own.
fn is_here(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|at: IpAddr| at.is_loopback()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the system's own patience is: over most it is two hours, and then nine times a minute and a quarter.
    #[test]
    fn a_silent_connection_is_given_up_within_a_quarter_of_a_minute() {
        let config = Address::new("postgres://somebody@127.0.0.1/something", None).unwrap().config;
        let asked = config.get_keepalives_interval().unwrap() * config.get_keepalives_retries().unwrap();
        let given_up = config.get_keepalives_idle() + asked;
        assert!(config.get_keepalives() && given_up <= Duration::from_secs(15));
        assert!(config.get_tcp_user_timeout().is_some_and(|limit| *limit <= given_up));
    }
}
