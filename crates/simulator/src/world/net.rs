//! The network between machines and the outside: delays, cuts, resets, and bytes that outlive their sender.
//!
//! What was written is on its way whatever becomes of who wrote it. A path that is cut delays: the sender's
//! system tries again until its own time is over. A process that ends takes with it what has not left its
//! machine, and the seed says whether it had. An answer finds whoever still listens, or nobody.

use super::{
    dice::Dice,
    engine::{Moment, World},
    process::Process,
};
use nightlatch_domain::ports::{Boxed, work::Work as _};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// One way over the network, in microseconds.
const WAY_MICROS: Range<u64> = 200..60_000;
/// What a cut path is tried again after.
const AGAIN: Duration = Duration::from_millis(400);
/// How long a server's system tries to bring an answer over a cut path.
const ANSWER_TRIED: Duration = Duration::from_secs(900);
/// How late an answer is that is late, in seconds.
const LATE_SECS: Range<u64> = 20..1200;

/// How often something happens to a request, in a million.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetOdds {
    /// Nothing is reached; nothing was sent.
    pub unreachable: u32,
    /// The connection breaks before the request arrives.
    pub lost: u32,
    /// The request arrives twice, as behind a proxy that tries again.
    pub twice: u32,
    /// The request arrives, and the connection breaks before the answer.
    pub reset: u32,
    /// The answer comes minutes late.
    pub late: u32,
    /// The answer is cut off in its middle, and then the connection ends.
    pub torn: u32,
}

/// Which way of a path is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the machine to the address.
    There,
    /// Back.
    Back,
}

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Nobody was reached: nothing was sent.
    #[error("nobody was reached")]
    Unreachable,
    /// The connection broke after something may have been sent.
    #[error("the connection broke")]
    Broken,
}

/// What a server makes of bytes that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// What it answers; none where it closes the connection.
    pub answer: Option<Vec<u8>>,
    /// How long that takes it.
    pub after: Duration,
}

/// What a sender hears.
type Answer = Result<Vec<u8>, NetError>;

/// What answers at an address.
pub trait Server: Send + Sync {
    /// Takes a request. Its state changes now, however long the answer takes.
    fn take(&self, request: &[u8], at: Moment) -> Served;
}

/// The network. Cheap to clone: every clone is the same one.
#[derive(Clone)]
pub struct Net {
    world: World,
    paths: Arc<Mutex<Paths>>,
}

struct Paths {
    dice: Dice,
    odds: NetOdds,
    servers: BTreeMap<String, Arc<dyn Server>>,
    cuts: BTreeSet<(String, String, Way)>,
    answers_lost: u64,
}

impl Net {
    /// A network with nobody on it.
    #[must_use]
    pub fn new(world: &World) -> Self {
        let paths = Paths {
            dice: world.dice(),
            odds: NetOdds::default(),
            servers: BTreeMap::new(),
            cuts: BTreeSet::new(),
            answers_lost: 0,
        };
        Self { world: world.clone(), paths: Arc::new(Mutex::new(paths)) }
    }

    /// Somebody answers at an address.
    pub fn serve(&self, address: &str, server: Arc<dyn Server>) {
        self.paths().servers.insert(address.to_owned(), server);
    }

    /// How often something happens to a request from now on.
    pub fn set_odds(&self, odds: NetOdds) {
        self.paths().odds = odds;
    }

    /// Cuts one way of a path.
    pub fn cut(&self, machine: &str, address: &str, way: Way) {
        self.paths().cuts.insert((machine.to_owned(), address.to_owned(), way));
        self.world.note(format_args!("{machine} and {address}: cut {way:?}"));
    }

    /// Heals every path of a machine.
    pub fn heal(&self, machine: &str) {
        self.paths().cuts.retain(|(own, ..)| own != machine);
        self.world.note(format_args!("{machine}: healed"));
    }

    /// How many requests arrived whose answer nobody heard whole.
    #[must_use]
    pub fn answers_lost(&self) -> u64 {
        self.paths().answers_lost
    }

    /// A connection to an address, as ready as TLS can make it: nothing was said yet.
    #[must_use]
    pub fn dial(&self, process: &Process, address: &str) -> Boxed<'static, Result<Link, NetError>> {
        let (net, process, address) = (self.clone(), process.clone(), address.to_owned());
        Box::pin(async move {
            let (way, fails) = {
                let mut paths = net.paths();
                let odds = paths.odds.unreachable;
                (paths.way().saturating_mul(4), paths.dice.strikes(odds))
            };
            process.sleep(way).await;
            let link = Link { net, process, address };
            let is_there = link.net.paths().servers.contains_key(&link.address);
            if fails || !is_there || link.is_cut(Way::There) || link.is_cut(Way::Back) {
                return Err(NetError::Unreachable);
            }
            Ok(link)
        })
    }

    fn paths(&self) -> MutexGuard<'_, Paths> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Paths {
    fn way(&mut self) -> Duration {
        Duration::from_micros(self.dice.within(WAY_MICROS))
    }
}

/// A connection on which nothing was said yet.
pub struct Link {
    net: Net,
    process: Process,
    address: String,
}

/// A request on its way, and who waits for its answer.
struct Exchange {
    link: Link,
    request: Vec<u8>,
    /// Until when the sender's system tries.
    until: Moment,
    /// Whether the sender still holds its end.
    is_open: Arc<AtomicBool>,
    waiting: Mutex<Option<oneshot::Sender<Answer>>>,
}

/// The sender's end: its drop is the connection's.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Link {
    /// Writes a request, now and in one piece, and waits for the answer. The sender's system tries for
    /// `tried` to bring it over; dropping what waits breaks the connection off.
    #[must_use]
    pub fn send(self, request: Vec<u8>, tried: Duration) -> Boxed<'static, Result<Vec<u8>, NetError>> {
        let (answered, waits) = oneshot::channel();
        let is_open = Arc::new(AtomicBool::new(true));
        let end = End(Arc::clone(&is_open));
        let world = self.net.world.clone();
        let until = world.now().plus(tried);
        world.note(format_args!("a request of {:?} leaves for {}", self.process, self.address));
        let (way, twice) = {
            let mut paths = self.net.paths();
            let odds = paths.odds.twice;
            (paths.way(), paths.dice.strikes(odds))
        };
        let waiting = Mutex::new(Some(answered));
        let exchange = Arc::new(Exchange { link: self, request, until, is_open, waiting });
        if twice {
            let again = Arc::clone(&exchange);
            world.after(way * 2, move |world| again.arrive(world));
        }
        world.after(way, move |world| exchange.arrive(world));
        Box::pin(async move {
            let answer = waits.await;
            drop(end);
            answer.unwrap_or(Err(NetError::Broken))
        })
    }

    fn is_cut(&self, way: Way) -> bool {
        let path = (self.process.node().name(), self.address.clone(), way);
        self.net.paths().cuts.contains(&path)
    }
}

impl Exchange {
    /// The request reaches the address, or what hinders it.
    fn arrive(self: Arc<Self>, world: &World) {
        if self.link.is_cut(Way::There) {
            if world.now() < self.until && self.holds() {
                return world.after(AGAIN, move |world| self.arrive(world));
            }
            return self.lose(world, "is given up on a cut path");
        }
        let (left_before, lost) = {
            let mut paths = self.link.net.paths();
            let odds = paths.odds.lost;
            (paths.dice.below(2) == 0, paths.dice.strikes(odds))
        };
        if lost || (!self.holds() && !left_before) {
            return self.lose(world, "is lost on its way");
        }
        let server = self.link.net.paths().servers.get(&self.link.address).cloned();
        let Some(server) = server else { return self.lose(world, "finds nobody") };
        world.note(format_args!("a request of {:?} arrives at {}", self.link.process, self.link.address));
        let served = server.take(&self.request, world.now());
        self.answer(world, served);
    }

    fn answer(self: Arc<Self>, world: &World, served: Served) {
        let (way, odds, late, cut_at) = {
            let mut paths = self.link.net.paths();
            let odds = paths.odds;
            let late = if paths.dice.strikes(odds.late) { paths.dice.within(LATE_SECS) } else { 0 };
            let fate = (paths.dice.strikes(odds.reset), paths.dice.strikes(odds.torn));
            let length = served.answer.as_ref().map_or(0, Vec::len);
            (paths.way(), fate, late, paths.dice.place(length + 1))
        };
        let (reset, torn) = odds;
        if reset || torn || served.answer.is_none() {
            self.link.net.paths().answers_lost += 1;
        }
        let after = served.after + way + Duration::from_secs(late);
        let answer = match served.answer {
            Some(_) if reset => Err(NetError::Broken),
            Some(mut bytes) => {
                if torn {
                    bytes.truncate(cut_at);
                }
                Ok(bytes)
            }
            None => Err(NetError::Broken),
        };
        let tried_until = world.now().plus(after + ANSWER_TRIED);
        world.after(after, move |world| self.deliver(world, answer, tried_until));
    }

    fn deliver(self: Arc<Self>, world: &World, answer: Answer, tried_until: Moment) {
        if self.link.is_cut(Way::Back) {
            if world.now() < tried_until {
                return world.after(AGAIN, move |world| self.deliver(world, answer, tried_until));
            }
            self.link.net.paths().answers_lost += 1;
            return self.lose(world, "is never heard again");
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(waiting) = waiting.filter(|_| self.holds()) else {
            self.link.net.paths().answers_lost += 1;
            return world.note(format_args!("an answer for {:?} finds nobody", self.link.process));
        };
        let _ = waiting.send(answer);
    }

    fn lose(&self, world: &World, how: &str) {
        world.note(format_args!("a request of {:?} {how}", self.link.process));
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waiting) = waiting {
            let _ = waiting.send(Err(NetError::Broken));
        }
    }

    fn holds(&self) -> bool {
        self.is_open.load(Ordering::Relaxed) && self.link.process.lives()
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.paths();
        write!(out, "Net({} servers, {} cuts)", paths.servers.len(), paths.cuts.len())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Link({:?} to {})", self.process, self.address)
    }
}

#[cfg(test)]
mod tests;
