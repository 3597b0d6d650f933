//! The suite that every store runs, over PostgreSQL, each plane under its own role; and what holds of PostgreSQL besides:
//! what a plane may not touch, who is first where several write at once, what a lost or doubtful answer is, the way there,
//! and how durable it is. On the newest version, and on Debian's where that is found.

mod durable;
mod looked;
mod order;
mod rights;
mod server;
mod trouble;
mod way;

use crate::{
    conformance::{Place, Planes, mailbox::MailPlace, world::World},
    damaged::Editable,
};
use nightlatch_domain::{
    clock::Timestamp,
    id::TenantId,
    ports::{
        mailbox::Mailbox,
        store::{ControlStore as _, ToolRow},
    },
};
use nightlatch_store::{Address, Plane, PostgresStore};
use server::{Server, client};
use std::sync::{Arc, atomic::Ordering};
use tokio::{runtime::Handle, task::block_in_place};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);
const PLANES: [Plane; 4] = [Plane::Control, Plane::Gateway, Plane::Keeper, Plane::Ledger];

/// Makes a test of every case on each version.
macro_rules! on_each {
    ($($case:ident)*) => {
        mod eighteen {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&crate::postgres::server::EIGHTEEN.found().unwrap()).await;
            })*
        }
        /// Debian's version, where it is found: the test run says so where it is not.
        mod fifteen {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(server) = crate::postgres::server::FIFTEEN.found() {
                    super::$case(&server).await;
                }
            })*
        }
    };
}
pub(crate) use on_each;

/// A database of its own on a server of the test run, and as long as that: dropping one makes its server write out all
/// others.
pub(crate) struct Database {
    text: String,
}

impl Database {
    fn address(&self) -> Address {
        Address::new(&self.text, None).unwrap()
    }

    fn store(&self, plane: Plane) -> Arc<PostgresStore> {
        Arc::new(PostgresStore::new(&self.address(), plane))
    }
}

impl Place for Database {
    fn open(&self) -> Planes {
        let gateway = self.store(Plane::Gateway);
        Planes {
            control: self.store(Plane::Control),
            directory: gateway.clone(),
            calls: gateway.clone(),
            budgets: gateway,
            keeper: self.store(Plane::Keeper),
            ledger: Arc::new(self.store(Plane::Ledger).heads_of(&"one".parse().unwrap())),
        }
    }
}

impl MailPlace for Database {
    fn open_mailbox(&self) -> Arc<dyn Mailbox> {
        // Whichever plane it is, its mailbox is the same.
        let plane = match server::DRAWN.fetch_add(1, Ordering::Relaxed) % 3 {
            0 => Plane::Control,
            1 => Plane::Gateway,
            _ => Plane::Keeper,
        };
        self.store(plane)
    }
}

impl Editable for Database {
    fn edit(&self, sql: &str) -> u64 {
        waited(async { client(&self.text).await.execute(sql, &[]).await.unwrap() })
    }
}

/// What a future comes to, in a case that is not one.
fn waited<T>(work: impl Future<Output = T>) -> T {
    block_in_place(|| Handle::current().block_on(work))
}

pub(crate) fn fresh() -> Database {
    waited(async { server::EIGHTEEN.found().unwrap().copied().await })
}

fn fresh_of_fifteen() -> Option<Database> {
    waited(async {
        match server::FIFTEEN.found() {
            Some(server) => Some(server.copied().await),
            None => None,
        }
    })
}

mod eighteen {
    crate::conformance!(crate::postgres::fresh);
    crate::mailbox_conformance!(crate::postgres::fresh);
}

mod fifteen {
    crate::conformance!(where found crate::postgres::fresh_of_fifteen);
    crate::mailbox_conformance!(where found crate::postgres::fresh_of_fifteen);
}

/// A row that only control writes.
fn tool(name: &str) -> ToolRow {
    let tenant = TenantId::new(NOW, [1; 10]);
    ToolRow { tenant, name: name.parse().unwrap(), manifest: String::new(), added_at: NOW }
}

/// How many tools control sees.
async fn tools(database: &Database) -> usize {
    database.store(Plane::Control).tools(tool("a").tenant).await.unwrap().len()
}

/// The world of the suite, over a new database.
async fn world(server: &Server) -> (Database, World) {
    let database = server.copied().await;
    let world = World::new(&database).await;
    (database, world)
}
