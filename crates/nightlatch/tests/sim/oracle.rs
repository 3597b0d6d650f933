//! I1 to I5 against what the providers counted, after each step that they saw, and at the end.

use crate::house::{Account, House};
use nightlatch_custody::KeeperKeys;
use nightlatch_domain::{
    chain::ChainState,
    connection::Source,
    id::ConnectionId,
    ports::store::{ChainView, KeeperStore as _},
    tool::Name,
};
use nightlatch_simulator::world::{
    Moment,
    issuer::Issuer,
    net::{Served, Server},
    store::Database,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// What was found to be wrong, first first.
#[derive(Default)]
pub(crate) struct Judge {
    found: Mutex<Vec<String>>,
    removed: Mutex<BTreeMap<ConnectionId, Moment>>,
}

impl Judge {
    pub(crate) fn finds(&self, what: String) {
        self.found.lock().expect("nobody panics with it").push(what);
    }

    /// A removal was confirmed by then.
    pub(crate) fn was_removed(&self, connection: ConnectionId, at: Moment) {
        self.removed.lock().expect("nobody panics with it").insert(connection, at);
    }

    /// I5: what was removed is leased no more, if it was asked for afterwards.
    pub(crate) fn sees_lease(&self, connection: ConnectionId, asked_at: Moment) {
        let removed = self.removed.lock().expect("nobody panics with it").get(&connection).copied();
        if removed.is_some_and(|at| at < asked_at) {
            self.finds(format!("I5: {connection} was removed, and is leased"));
        }
    }

    pub(crate) fn found(&self) -> Vec<String> {
        self.found.lock().expect("nobody panics with it").clone()
    }
}

/// A provider whose books are looked at after each request.
pub(crate) struct Judged {
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) judge: Arc<Judge>,
    pub(crate) database: Database,
    pub(crate) name: Name,
}

impl Server for Judged {
    fn take(&self, request: &[u8], at: Moment) -> Served {
        let before = self.issuer.tally();
        let served = self.issuer.take(request, at);
        let after = self.issuer.tally();
        // I5: nothing that anybody lives on is revoked.
        for account in self.issuer.books().accounts_revoked_at(at) {
            if self.database.lives_on(&self.name, &account) {
                self.judge.finds(format!("I5: {account} is connected at `{}`, and was revoked", self.name));
            }
        }
        // I1 and I2: what was consumed comes again only where that was declared before it left.
        if after.consumed_again > before.consumed_again
            && after.consumed_again > self.database.declared(&self.name).len() as u64
        {
            self.judge.finds(format!("I1: a consumed refresh token came to `{}` again", self.name));
        }
        served
    }
}

/// What became of an account's family by the end of a quiet time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its token is at hand and lives.
    Lives,
    /// Nobody lives on it.
    Removed,
    /// A human is asked, since the answer of a refresh was lost.
    Asked,
    /// The family is lost, or waits for a human, and no answer was lost.
    Lost,
}

/// Looks at an account when nothing has gone wrong for a while.
pub(crate) async fn end_of(house: &House, keys: &KeeperKeys, account: &Account) -> (End, String) {
    let store = house.at_hand();
    let connection = store.connection(house.tenant, account.connection).await.expect("at hand");
    let Some(Source::Chain { chain }) = connection.map(|connection| connection.source) else {
        return (End::Removed, String::new());
    };
    let view =
        store.chain(house.tenant, chain).await.expect("at hand").expect("a chain that somebody lives on");
    let shown =
        format!("{} {:?} {:?} head {}", account.login, view.chain.state, view.chain.reason, view.head.number);
    let books = house.tools[account.tool].issuer.books();
    let standing = refresh_token(keys, &view).and_then(|token| books.standing(&token, house.world.now()));
    let Some((family, number, is_good)) = standing else { return (End::Lost, shown) };
    let grown = &books.families()[family];
    let shown =
        format!("{shown}, token {number} of {} given, good {is_good}, ended {:?}", grown.given, grown.ended);
    let asks = view.chain.ticket.is_some()
        || matches!(view.chain.state, ChainState::Latched | ChainState::Quarantined);
    match (asks, is_good) {
        (false, true) => (End::Lives, shown),
        // The provider gave more than ever came: the answer was lost on its way.
        (true, _) if grown.given > number => (End::Asked, shown),
        // Nothing was consumed, but nobody here can know that: the request was lost after its first byte.
        (true, true) => (End::Asked, shown),
        _ => (End::Lost, shown),
    }
}

fn refresh_token(keys: &KeeperKeys, view: &ChainView) -> Option<String> {
    let (wrapped, context) = view.head.refresh.as_ref()?;
    let secret = keys.open(wrapped, context).ok()?;
    Some(String::from_utf8_lossy(secret.expose()).into_owned())
}
