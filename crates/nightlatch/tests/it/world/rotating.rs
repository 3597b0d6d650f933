//! Several processes of each plane over PostgreSQL, with an account at a real provider whose refresh tokens rotate, and
//! an agent that may use it at every gateway.

use super::{
    agent::Agent,
    connect::{Granted, text},
    eventually,
    http::Answer,
    human::Browser,
    parts::{Network, parts},
    provider::{Kind, Registration},
    relay::Paths,
    served::{Served, Told, sql},
    street::Street,
    tools::{manifest, profile, profile_by_way_of, synapse_profile},
};
use http::{Method, StatusCode};
use serde_json::json;
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// What each process is told: the tools are on this machine, and nothing is refreshed ahead of its expiry.
pub(crate) const TIMER_OFF: &str =
    "refresh_timer = \"off\"\n[[allow]]\nhost = \"127.0.0.1\"\naddress = \"127.0.0.1\"\n";

/// The same, and what is due is refreshed.
pub(crate) const TIMER_ON: &str =
    "refresh_timer = \"on\"\n[[allow]]\nhost = \"127.0.0.1\"\naddress = \"127.0.0.1\"\n";

/// The installation.
pub(crate) struct Rotating {
    pub(crate) served: Served,
    pub(crate) registration: Registration,
    pub(crate) browser: Browser,
    pub(crate) granted: Granted,
    pub(crate) kind: Kind,
}

impl Rotating {
    /// So many processes of each plane, and an account connected.
    pub(crate) async fn started(
        (of_each, kind): (usize, Kind),
        (username, access_secs): (&str, u32),
        mut told: Told,
    ) -> Self {
        if told.files.is_empty() {
            let text = if kind == Kind::Synapse { synapse_profile(username) } else { profile(kind) };
            told.files = vec![("profiles/test.toml", text)];
        }
        let served = Served::told(of_each, told).await;
        let install = &served.install;
        install.write("tool.toml", &manifest(kind));
        install.json(&["tool", "add", install.data().join("tool.toml").to_str().expect("a path")]);
        let (registration, browser) = if kind == Kind::Synapse {
            let registration = install.bring_in(username).await;
            let browser = registration.browser();
            (registration, browser)
        } else {
            let registration = install.register(kind, username, access_secs).await;
            let mut browser = registration.browser();
            install.connect(&registration, &mut browser, &[]).await.json();
            (registration, browser)
        };
        assert_eq!(text(&install.only_connection(), "label"), registration.username);
        let granted = install.granted("worker", &format!("{}:read", kind.tool())).await;
        Self { served, registration, browser, granted, kind }
    }

    /// The same, where each keeper has a path of its own to the provider's token endpoint.
    pub(crate) async fn on_paths(
        (of_each, kind): (usize, Kind),
        (username, access_secs): (&str, u32),
        told: Told,
    ) -> (Self, Paths) {
        const NAME: &str = "localhost";
        let paths = Paths::to(&kind.authority(), of_each);
        let (own, more) = (paths.clone(), told.keepers);
        let keepers = move |number: usize| {
            let to = own.address(number - 1);
            format!("[[map]]\nhost = \"{NAME}\"\nto = \"{to}\"\n{}", more(number))
        };
        let files = vec![("profiles/test.toml", profile_by_way_of(kind, NAME))];
        let told = Told { keepers: Box::new(keepers), files, ..told };
        (Self::started((of_each, kind), (username, access_secs), told).await, paths)
    }

    /// The same, where each keeper lives in a network namespace of its own and these paths begin at its end of a cable.
    pub(crate) async fn on_a_street(
        (network, of_each, kind): (&Network, usize, Kind),
        (username, access_secs): (&str, u32),
        told: Told,
    ) -> (Self, Paths, Arc<Street>) {
        const NAME: &str = "localhost";
        let (_, database) = parts().postgres.address.split_once('@').expect("an address");
        let resource = kind.resource().trim_start_matches("http://");
        let (street, doors) = Street::new(network, of_each, database, resource);
        let (street, paths) = (Arc::new(street), Paths::behind(doors, &kind.authority()));
        let (own, more) = (Arc::clone(&street), told.keepers);
        let keepers = move |number: usize| {
            let map = |host: &str, to| format!("[[map]]\nhost = \"{host}\"\nto = \"{to}\"\n");
            map(NAME, own.provider(number)) + &map("127.0.0.1", own.resource(number)) + &more(number)
        };
        let files = vec![("profiles/test.toml", profile_by_way_of(kind, NAME))];
        let told = Told { keepers: Box::new(keepers), files, street: Some(Arc::clone(&street)), ..told };
        (Self::started((of_each, kind), (username, access_secs), told).await, paths, street)
    }

    /// Has every gateway woken by a keeper of its own: one that came to a keeper which another has already begins anew.
    pub(crate) async fn spread(&mut self) {
        let mut taken: Vec<String> = Vec::new();
        let gateways: Vec<(String, Agent)> = self
            .agents()
            .into_iter()
            .enumerate()
            .map(|(at, agent)| (format!("gateway-{}", at + 1), agent))
            .collect();
        for (name, agent) in gateways {
            let keeper =
                eventually("a gateway comes to a keeper of its own", Duration::from_secs(60), async || {
                    let before = self.wakes();
                    // One that just began has nothing to decide on yet.
                    let answer = self.call(&agent, self.kind.me()).await;
                    if !answer.status.is_success() {
                        return None;
                    }
                    let after = self.wakes();
                    let began = after.iter().zip(&before).find(|(after, before)| after.1 > before.1);
                    let keeper =
                        began.map(|(after, _)| after.0.clone()).filter(|keeper| !taken.contains(keeper));
                    if keeper.is_none() {
                        self.served.kill(&name);
                        self.served.start_again(&name).await;
                    }
                    keeper
                })
                .await;
            taken.push(keeper);
        }
    }

    /// How many wakes each keeper began.
    fn wakes(&self) -> Vec<(String, usize)> {
        let count = |name: String| {
            let wakes = self.served.ledger_of(&name).matches("task-woke").count();
            (name, wakes)
        };
        self.served.named("keeper").into_iter().map(count).collect()
    }

    /// A human connects the account again.
    pub(crate) async fn reconnect(&mut self) {
        let install = &self.served.install;
        let id = text(&install.only_connection(), "id");
        install.connect(&self.registration, &mut self.browser, &["--reconnect", &id]).await.json();
    }

    /// Waits until the provider refreshed so many times more, and the last of its answers is the head: then nothing is under way
    /// for a while.
    pub(crate) async fn rotates_on(&self, by: u64) {
        let from = self.registration.counters().await.refreshes_ok;
        eventually("it goes on rotating", Duration::from_secs(120), async || {
            (self.registration.counters().await.refreshes_ok >= from + by).then_some(())
        })
        .await;
        eventually("it rests", Duration::from_secs(20), async || {
            let busy = "SELECT count(*) FROM chain JOIN connection USING (chain_id) WHERE state <> 'healthy' AND removed_at IS NULL";
            (self.sql(busy) == "0").then_some(())
        })
        .await;
    }

    /// Waits until every keeper remembers where the history is now, as each looks every 15 seconds.
    pub(crate) async fn until_each_looked(&self) {
        let moved: u64 = self.sql("SELECT moved FROM feed_counter").parse().expect("a number");
        eventually("each keeper looked", Duration::from_secs(40), async || {
            let keepers = self.served.named("keeper");
            let looked = |name: &String| remembered(&self.served.state_of(name)) >= Some(moved);
            keepers.iter().all(looked).then_some(())
        })
        .await;
    }

    /// Waits until so many keepers have held their logs against the database, in another era than the first.
    pub(crate) async fn until_compared(&self, keepers: usize) {
        let compared =
            "SELECT count(*) FROM keeper, installation WHERE keeper.compared = installation.era AND era > 1";
        eventually("each log is held against it", Duration::from_secs(90), async || {
            (self.sql(compared) == keepers.to_string()).then_some(())
        })
        .await;
    }

    /// Waits until a call passes at every gateway; nobody is asked any more then.
    pub(crate) async fn is_well(&self) {
        self.works_within(Duration::from_secs(30)).await;
        assert_eq!(self.served.install.json(&["health"])["tickets"], json!([]));
    }

    /// Every gateway says that a human is needed, one human is asked once, and the provider sees nothing of it.
    pub(crate) async fn asks_once(&self) {
        let asked = "SELECT count(*) FROM ticket WHERE settled_at IS NULL";
        eventually("a human is asked", Duration::from_secs(90), async || {
            (self.sql(asked) != "0").then_some(())
        })
        .await;
        let before = self.registration.counters().await;
        for agent in self.agents() {
            let refused = eventually("it says what is the matter", Duration::from_secs(30), async || {
                let answer = self.call(&agent, self.kind.me()).await;
                assert_ne!(answer.status, StatusCode::OK);
                (answer.status == StatusCode::FAILED_DEPENDENCY).then_some(answer)
            })
            .await;
            assert_eq!(refused.problem(), "reauth-required");
        }
        assert_eq!(self.registration.counters().await, before);
        let health = self.served.install.json(&["health"]);
        assert_eq!(health["tickets"].as_array().map(Vec::len), Some(1), "{health}");
    }

    /// The provider saw no refresh token that was consumed, and refused none.
    pub(crate) async fn expect_nothing_presented_twice(&self) {
        let seen = self.registration.counters().await;
        let bad = [seen.presented_twice, seen.reuse_detected, seen.families_revoked, seen.refreshes_failed];
        assert_eq!(bad, [0; 4], "{seen:?}");
    }

    /// The agent, at each gateway.
    pub(crate) fn agents(&self) -> Vec<Agent> {
        self.served.gateways().iter().map(|gateway| self.granted.agent.at(gateway)).collect()
    }

    /// Whose account it is, asked below a path of the resource server, or with that beside it where there is none below.
    pub(crate) fn me(&self, below: &str) -> String {
        match self.kind {
            Kind::Oidc => format!("{below}/me"),
            Kind::Dot0 | Kind::Dot30 => format!("/api{below}/me"),
            Kind::Synapse => format!("{}?below={below}", self.kind.me()),
        }
    }

    /// One call of the agent.
    pub(crate) async fn call(&self, agent: &Agent, path: &str) -> Answer {
        let path = format!("/{}{path}", self.kind.tool());
        let bearer = format!("Bearer {}", self.granted.reference);
        agent.call(Method::GET, &path, &[("authorization", &bearer)], "").await
    }

    /// Waits until a call passes at each gateway.
    pub(crate) async fn works_within(&self, within: Duration) {
        for agent in self.agents() {
            eventually("a call passes", within, async || {
                (self.call(&agent, self.kind.me()).await.status == StatusCode::OK).then_some(())
            })
            .await;
        }
    }

    /// No keeper writes down any more what it is about to present.
    pub(crate) fn hold_intents(&self) -> Held {
        Held::new(self)
    }

    /// One value of the installation's database, asked by its owner.
    pub(crate) fn sql(&self, text: &str) -> String {
        sql(&self.served.database, text)
    }
}

/// Removes every answer that a keeper kept; how many there were.
pub(crate) fn forget_kept(folder: &Path) -> usize {
    let inside = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let forgotten = inside.map(|path| match path.extension() {
        _ if path.is_dir() && !path.is_symlink() => forget_kept(&path),
        Some(ending) if ending == "kept" => fs::remove_file(&path).map_or(0, |()| 1),
        _ => 0,
    });
    forgotten.sum()
}

/// The last move of the history that a log below this folder remembers.
fn remembered(folder: &Path) -> Option<u64> {
    const MARK: &str = "\"mark\":{\"number\":";
    let inside = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let of = |path: std::path::PathBuf| {
        if path.is_dir() {
            return remembered(&path);
        }
        let text = fs::read_to_string(path).ok()?;
        let number = &text[text.rfind(MARK)? + MARK.len()..];
        number.split(',').next()?.parse().ok()
    };
    inside.filter_map(of).max()
}

/// Keeps every intent from being written until it is let go.
pub(crate) struct Held(Child);

impl Held {
    fn new(world: &Rotating) -> Self {
        let mut psql = Command::new(parts().postgres.programs.join("psql"));
        psql.args([&world.served.database, "-v", "ON_ERROR_STOP=1", "-Atq"]);
        let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql runs");
        let asked = b"BEGIN; LOCK TABLE attempt IN SHARE MODE; SELECT 'held';\n";
        psql.stdin.as_mut().expect("piped").write_all(asked).expect("it reads");
        let mut said = String::new();
        BufReader::new(psql.stdout.as_mut().expect("piped")).read_line(&mut said).expect("text");
        assert_eq!(said.trim(), "held");
        Self(psql)
    }

    pub(crate) fn let_go(mut self) {
        // Its transaction ends with it.
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("it ends").success());
    }
}
