//! `serve`: one plane as a process of its own, or all of them, over a PostgreSQL that others share.
//!
//! The planes are the rooms that `up` wires; what differs is what stands between them: letters ([`office`]), also where
//! all are in one process, so that there is one way and it is used. Each plane logs in to the database as itself, and is
//! known to the others by a key that their configuration names.

mod desks;
mod keepers;
mod messages;
mod office;
mod planes;
mod roll;
#[cfg(test)]
mod testing;

use crate::{
    adapters::SystemClock,
    cli::{Serve, ServeRole},
    config::{Database, ServeConfig},
    error::Failure,
    output::{Output, hint},
    place::{Place, PlaceError, ours_alone},
    up::{self, wiring::start},
};
use nightlatch_custody::{CallKey, GatewayKeys, KeeperKeys, LinkKey, RecordKeys, entropy::SystemEntropy};
use nightlatch_domain::{
    clock::{Clock as _, Entropy},
    ports::mailbox::Role,
};
use nightlatch_egress::tls;
use nightlatch_store::{Address, PostgresStore};
use planes::Planes;
use serde::Serialize;
use std::{fs, path::PathBuf, sync::Arc};
use zeroize::Zeroizing;

/// Passwords are shorter.
const PASSWORD_MAX_BYTES: u64 = 4096;

/// Carries `serve` out.
pub(crate) fn run(asked: &Serve, json: bool, output: Output) -> Result<(), Failure> {
    up::log::to_standard_error(json);
    let config = ServeConfig::load(&asked.config)?;
    let place = Place::of(Some(config.data.clone()))?;
    let roles = roles(asked.role);
    if asked.make_keys {
        place.prepare()?;
        let _hold = place.hold()?;
        return make_keys(&place, &roles, output);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if asked.migrate {
        return runtime.block_on(migrate(&place, &config.database));
    }
    up::no_core_dumps();
    up::all_file_descriptors();
    place.prepare()?;
    let hold = place.hold()?;
    let served = runtime.block_on(async {
        let told = up::Told::listen()?;
        Planes::serve(&place, config, &roles, told).await
    });
    // What still runs holds secrets and files: it ends before the folder is let go of.
    drop(runtime);
    drop(hold);
    served
}

fn roles(role: ServeRole) -> Vec<Role> {
    match role {
        ServeRole::Gateway => vec![Role::Gateway],
        ServeRole::Control => vec![Role::Control],
        ServeRole::Keeper => vec![Role::Keeper],
        ServeRole::All => Role::ALL.to_vec(),
    }
}

async fn migrate(place: &Place, database: &Database) -> Result<(), Failure> {
    PostgresStore::migrate(&address(place, database)?, SystemClock.now()).await.map_err(start)?;
    hint("the database is as this version needs it");
    Ok(())
}

/// Makes what is missing, and says what the others must be told. A key that other processes share must be copied before.
fn make_keys(place: &Place, roles: &[Role], output: Output) -> Result<(), Failure> {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    let keys = place.path("keys");
    RecordKeys::load_or_create(&keys, true, &*entropy).map_err(start)?;
    let mut made = Made { peers: Vec::new(), gateway_pin: None };
    for role in roles {
        let link = link_key(place, *role, true)?;
        made.peers.push(Peer { role: *role, key: link.public() });
        match role {
            Role::Keeper => {
                KeeperKeys::load_or_create(&keys, true, Arc::clone(&entropy)).map_err(start)?;
            }
            Role::Gateway => {
                CallKey::load_or_create(&keys, true, Arc::clone(&entropy)).map_err(start)?;
                let gateway = GatewayKeys::load_or_create(&keys, true, &*entropy).map_err(start)?;
                made.gateway_pin = Some(up::wiring::pin(gateway.tls().spki_sha256()));
            }
            Role::Control => {
                place.make_token(&*entropy)?;
            }
        }
    }
    output.result(&made, Made::text)
}

/// What the other planes must be told.
#[derive(Serialize)]
struct Made {
    peers: Vec<Peer>,
    gateway_pin: Option<String>,
}

#[derive(Serialize)]
struct Peer {
    role: Role,
    key: String,
}

impl Made {
    /// As their configuration has it.
    fn text(&self) -> String {
        let peer = |peer: &Peer| format!("[[peer]]\nrole = \"{}\"\nkey = \"{}\"\n", peer.role, peer.key);
        let pin = |pin: &String| format!("# control's [control]: gateway_pin = \"{pin}\"\n");
        self.peers.iter().map(peer).chain(self.gateway_pin.iter().map(pin)).collect()
    }
}

/// The key by which a plane of this process is known.
fn link_key(place: &Place, role: Role, fresh_allowed: bool) -> Result<LinkKey, Failure> {
    let path = place.path(&format!("keys/link/{role}.key"));
    LinkKey::load_or_create(&path, fresh_allowed, &SystemEntropy::new()).map_err(|error| match error {
        nightlatch_custody::CustodyError::KeyMissing { path } => Failure::Start(format!(
            "`{}` is missing: run this command once with `--make-keys`, and tell the other planes what it prints",
            path.display()
        )),
        other => start(other),
    })
}

/// How to get to the database.
pub(crate) fn address(place: &Place, database: &Database) -> Result<Address, Failure> {
    let trust = database.ca_file.as_ref().map(|path| {
        let path = place.root().join(path);
        let read = fs::read(&path).map_err(|source| PlaceError::File { path: path.clone(), source })?;
        tls::vouched_for(&format!("`{}`", path.display()), &read, Arc::new(SystemClock)).map_err(start)
    });
    let address = Address::new(&database.address, trust.transpose()?).map_err(start)?;
    Ok(match password(place, database)? {
        Some(password) => address.with_password(&password),
        None => address,
    })
}

/// The database's password, from a file that only its owner reads.
fn password(place: &Place, database: &Database) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let Some(path) = &database.password_file else { return Ok(None) };
    let path: PathBuf = place.root().join(path);
    ours_alone(&path)?;
    let failed = |source| PlaceError::File { path: path.clone(), source };
    if fs::metadata(&path).map_err(failed)?.len() > PASSWORD_MAX_BYTES {
        return Err(Failure::BadFile(format!("`{}` is too long for a password", path.display())));
    }
    let read = Zeroizing::new(fs::read(&path).map_err(failed)?);
    Ok(Some(Zeroizing::new(read.trim_ascii().to_vec())))
}
