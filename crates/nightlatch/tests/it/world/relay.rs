//! A path between a keeper and its provider, on which a test sees what passes and decides what happens to it; and a way to
//! any server that can fall silent.
//!
//! An exchange has five places at which it can be stopped ([`Place`]). What was stopped goes on when the test
//! says so, also if its sender is dead by then: so bytes outlive who sent them, and answers wait for who asked.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};

/// How far an exchange came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// There is a connection; nothing was written.
    Dialled,
    /// The whole request is here. The provider has none of it.
    Asked,
    /// The provider has it.
    Forwarded,
    /// The provider's answer is here. The keeper has none of it.
    Answered,
    /// The keeper's kernel has it.
    Handed,
}

impl Place {
    pub(crate) const ALL: [Self; 5] =
        [Self::Dialled, Self::Asked, Self::Forwarded, Self::Answered, Self::Handed];
}

/// What becomes of an exchange that was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It goes on.
    On,
    /// Both ends hear that the other is gone, and nothing more passes.
    Cut,
}

/// An exchange that was stopped.
pub(crate) struct Stopped {
    /// On whose path.
    pub(crate) path: usize,
    then: watch::Sender<Option<Then>>,
}

impl Stopped {
    pub(crate) fn then(&self, then: Then) {
        self.then.send_replace(Some(then));
    }
}

#[derive(Default)]
struct Wanted {
    /// Where the next exchange that comes so far is stopped, and who is told.
    stop: Option<(Place, mpsc::UnboundedSender<Stopped>)>,
    asked: u64,
    under_way: usize,
}

/// Paths to one provider, one for each keeper. They serve as long as the test's process lives.
#[derive(Clone)]
pub(crate) struct Paths {
    addresses: Vec<SocketAddr>,
    wanted: Arc<Mutex<Wanted>>,
}

impl Paths {
    /// So many paths to `provider`, an address and a port.
    pub(crate) fn to(provider: &str, count: usize) -> Self {
        let bind = |_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        Self::behind((0..count).map(bind).collect(), provider)
    }

    /// Paths that begin at these doors.
    pub(crate) fn behind(listeners: Vec<std::net::TcpListener>, provider: &str) -> Self {
        let wanted = Arc::new(Mutex::new(Wanted::default()));
        let addresses = listeners.iter().map(|one| one.local_addr().expect("an address")).collect();
        for (path, listener) in listeners.into_iter().enumerate() {
            let (provider, wanted) = (provider.to_owned(), Arc::clone(&wanted));
            on_a_thread(listener, move |keeper| {
                let line = Line { path, provider: provider.clone(), wanted: Arc::clone(&wanted) };
                async move {
                    line.wanted.lock().expect("no test failed before").under_way += 1;
                    // Whichever end goes: then the exchange is over.
                    let _ = line.carry(keeper).await;
                    line.wanted.lock().expect("no test failed before").under_way -= 1;
                }
            });
        }
        Self { addresses, wanted }
    }

    /// Where a path begins.
    pub(crate) fn address(&self, path: usize) -> SocketAddr {
        self.addresses[path]
    }

    /// The next exchange that comes so far, on whichever path, is stopped there, and told.
    pub(crate) fn stop_at(&self, place: Place) -> mpsc::UnboundedReceiver<Stopped> {
        let (tell, told) = mpsc::unbounded_channel();
        self.wanted.lock().expect("no test failed before").stop = Some((place, tell));
        told
    }

    /// Waits for the next exchange that comes so far; it is stopped there.
    pub(crate) async fn next_at(&self, place: Place) -> Stopped {
        let mut told = self.stop_at(place);
        let next = tokio::time::timeout(Duration::from_secs(40), told.recv());
        next.await.expect("a refresh comes").expect("the path lives")
    }

    /// How many exchanges are not over yet.
    pub(crate) fn under_way(&self) -> usize {
        self.wanted.lock().expect("no test failed before").under_way
    }

    /// How many whole requests came.
    pub(crate) fn asked(&self) -> u64 {
        self.wanted.lock().expect("no test failed before").asked
    }
}

struct Line {
    path: usize,
    provider: String,
    wanted: Arc<Mutex<Wanted>>,
}

impl Line {
    async fn carry(&self, mut keeper: TcpStream) -> std::io::Result<()> {
        self.pass(Place::Dialled).await?;
        let request = message(&mut keeper).await?;
        self.wanted.lock().expect("no test failed before").asked += 1;
        self.pass(Place::Asked).await?;
        let mut provider = TcpStream::connect(&self.provider).await?;
        provider.write_all(&request).await?;
        self.pass(Place::Forwarded).await?;
        let answer = message(&mut provider).await?;
        self.pass(Place::Answered).await?;
        keeper.write_all(&answer).await?;
        self.pass(Place::Handed).await?;
        keeper.shutdown().await?;
        // A kernel gives up soon on what a socket still holds that nobody has any more.
        while keeper.read(&mut [0; 64]).await? > 0 {}
        Ok(())
    }

    /// Waits here if this is where somebody wants it stopped.
    async fn pass(&self, place: Place) -> std::io::Result<()> {
        let stop = {
            let mut wanted = self.wanted.lock().expect("no test failed before");
            wanted.stop.take_if(|(at, _)| *at == place)
        };
        let Some((_, tell)) = stop else { return Ok(()) };
        let (then, mut said) = watch::channel(None);
        // Who does not listen any more wants nothing stopped.
        if tell.send(Stopped { path: self.path, then }).is_err() {
            return Ok(());
        }
        let then = said.wait_for(Option::is_some).await.map(|then| *then);
        match then {
            Ok(Some(Then::Cut)) => Err(std::io::ErrorKind::ConnectionAborted.into()),
            _ => Ok(()),
        }
    }
}

/// A whole message of HTTP/1.1 whose body's length is told, in chunks, or ended by the connection.
async fn message(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if is_whole(&bytes) {
            return Ok(bytes);
        }
        let mut more = [0; 4096];
        match from.read(&mut more).await? {
            0 if bytes.is_empty() => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&more[..count]),
        }
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let body = &bytes[end + 4..];
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match (field("content-length:"), field("transfer-encoding:")) {
        (Some(length), _) => length.parse().is_ok_and(|length: usize| body.len() >= length),
        (None, Some(_)) => body.ends_with(b"0\r\n\r\n"),
        (None, None) => false,
    }
}

/// How a way behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Nothing passes, and nobody is told.
    Silent,
}

/// A way to a server of any kind that can fall silent. It serves as long as the test's process lives.
pub(crate) struct Silencing {
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
    server: Arc<Mutex<String>>,
}

impl Silencing {
    /// A way to `server`, an address and a port.
    pub(crate) fn to(server: &str) -> Self {
        Self::behind(std::net::TcpListener::bind("127.0.0.1:0").expect("a port"), server)
    }

    /// A way that begins at this door.
    pub(crate) fn behind(listener: std::net::TcpListener, server: &str) -> Self {
        let address = listener.local_addr().expect("an address");
        let (way, seen) = watch::channel(Way::Open);
        let server = Arc::new(Mutex::new(server.to_owned()));
        let leads = Arc::clone(&server);
        on_a_thread(listener, move |client| {
            let (server, mut seen) = (Arc::clone(&leads), seen.clone());
            async move {
                // Who comes while it is silent is let in and hears nothing.
                until(&mut seen, Way::Open).await;
                let server = server.lock().expect("no test failed before").clone();
                let (Ok(mut to), mut client) = (TcpStream::connect(&server).await, client) else { return };
                let is_over = tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut to) => true,
                    () = until(&mut seen, Way::Silent) => false,
                };
                if !is_over {
                    // What was under way is lost with its connections, which both ends hear when it is over.
                    until(&mut seen, Way::Open).await;
                }
            }
        });
        Self { address, way, server }
    }

    /// From now on it leads to another server.
    pub(crate) fn lead_to(&self, server: &str) {
        server.clone_into(&mut self.server.lock().expect("no test failed before"));
    }

    pub(crate) fn fall_silent(&self) {
        self.way.send_replace(Way::Silent);
    }

    pub(crate) fn open(&self) {
        self.way.send_replace(Way::Open);
    }
}

async fn until(seen: &mut watch::Receiver<Way>, wanted: Way) {
    // It never ends before the test does.
    let _ = seen.wait_for(|way| *way == wanted).await;
}

/// Serves each connection that comes, on a thread of its own: the test's waits for programs and would not answer meanwhile.
fn on_a_thread<F: Future<Output = ()> + Send + 'static>(
    listener: std::net::TcpListener,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) {
    listener.set_nonblocking(true).expect("a listener");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    });
}

#[tokio::test]
async fn an_exchange_is_stopped_where_it_is_wanted_and_goes_on_without_its_sender() {
    let provider = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let paths = Paths::to(&provider.local_addr().expect("an address").to_string(), 2);
    let mut told = paths.stop_at(Place::Asked);
    let mut keeper = TcpStream::connect(paths.address(1)).await.expect("a path");
    keeper.write_all(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nab").await.expect("it is written");
    let stopped = told.recv().await.expect("it is told");
    assert_eq!((stopped.path, paths.asked()), (1, 1));
    drop(keeper);
    stopped.then(Then::On);
    let (mut arrived, _) = provider.accept().await.expect("it arrives");
    assert!(message(&mut arrived).await.expect("whole").ends_with(b"\r\n\r\nab"));

    // And one that is cut does not.
    let mut told = paths.stop_at(Place::Dialled);
    let mut keeper = TcpStream::connect(paths.address(0)).await.expect("a path");
    told.recv().await.expect("it is told").then(Then::Cut);
    assert_eq!(keeper.read(&mut [0; 1]).await.unwrap_or(0), 0);
}
