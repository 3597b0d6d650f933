//! An OAuth flow ends only where it began: `state`, context, session and issuer must agree, a code is
//! redeemed once, and an answer that does not belong here redeems nothing.

use crate::world::{
    connect::{finished, text},
    http,
    human::Landed,
    install::Install,
    provider::{Kind, Registration},
};

struct World {
    install: Install,
    registration: Registration,
}

impl World {
    async fn new(username: &str) -> Self {
        let install = Install::with_provider(Kind::Oidc, "refresh_timer = \"on\"").await;
        let registration = install.register(Kind::Oidc, username, 30).await;
        Self { install, registration }
    }

    /// A flow that was begun here, and the address that the provider sends its human back to.
    async fn until_redirected(&self, more: &[&str]) -> (crate::world::connect::Running, String) {
        let marker = if more.is_empty() { "/oauth/start/" } else { "/auth?" };
        let (running, address) = self.install.begin_connect(&self.registration, more, marker);
        let callback = format!("{}/oauth/callback/", self.install.redirect_base());
        let mut browser = self.registration.browser().stopping_before(&callback);
        let Landed::Before(address) = browser.open(&address).await else { panic!("no redirect came") };
        (running, address)
    }

    async fn redeemed(&self) -> u64 {
        self.registration.counters().await.code_exchanges
    }
}

#[tokio::test]
async fn without_a_browser_the_redirected_address_is_pasted() {
    let world = World::new("pasted").await;
    // The human opens the provider's own page on another machine; there is no cookie of ours.
    let (mut running, address) = world.until_redirected(&["--no-browser"]).await;
    running.type_line(&address);
    let connected = finished(running).await.json();
    assert_eq!(text(&connected["connection"], "label"), "pasted");
    assert_eq!(world.redeemed().await, 1);
}

#[tokio::test]
async fn among_several_registrations_a_human_picks() {
    let world = World::new("several").await;
    world.install.connect(&world.registration, &mut world.registration.browser(), &[]).await.json();
    let other = Registration::new(Kind::Oidc, &world.registration.redirect_uri, "several-other", 30).await;
    world.install.connect(&other, &mut other.browser(), &["--name", "other"]).await.json();
    // The newest would be the wrong one for the first connection.
    let id = text(&world.install.json(&["connection", "show", "oidc-tool/main"]), "id");
    let asked = world.install.run(&["connect", "oidc-tool", "--oauth", "--reconnect", &id]);
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(!asked.status.success() && said.contains("--client-id"), "{said}");
    assert!(said.contains(&world.registration.client_id) && said.contains(&other.client_id), "{said}");
}

#[tokio::test]
async fn an_answer_in_another_browser_redeems_nothing() {
    let world = World::new("fixation").await;
    let (mut running, address) = world.until_redirected(&[]).await;
    // Another browser, without the cookie that the start page set.
    let answer = http::get(&address).await;
    assert!(!answer.status.is_success(), "{}", answer.text());
    assert_eq!(world.redeemed().await, 0, "a code was redeemed for a stranger");
    running.child.kill().expect("it runs");
    running.child.wait().expect("it ended");
    assert!(world.install.json(&["connection", "list"]).to_string().find("con_").is_none());
}

#[tokio::test]
async fn an_answer_with_another_state_context_or_issuer_redeems_nothing() {
    let world = World::new("mixed-up").await;
    let changes: [fn(&str) -> String; 4] = [
        |address| replaced(address, "state", "0123456789abcdef0123456789abcdef"),
        |address| replaced(address, "iss", "http://127.0.0.1:1"),
        |address| without(address, "iss"),
        |address| address.replacen("/oauth/callback/ctx_0", "/oauth/callback/ctx_1", 1),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (mut running, address) = world.until_redirected(&["--no-browser"]).await;
        let changed = change(&address);
        assert_ne!(changed, address, "change {number} changed nothing: {address}");
        running.type_line(&changed);
        let ended = finished(running).await;
        assert!(!ended.status.success(), "change {number} was taken: {}", ended.stdout);
        assert_eq!(world.redeemed().await, 0, "change {number}: a code was redeemed");
    }
}

fn replaced(address: &str, name: &str, value: &str) -> String {
    let (head, query) = address.split_once('?').expect("a query");
    let pairs = form_urlencoded::parse(query.as_bytes());
    let pairs = pairs
        .map(|(own, old)| (own.to_string(), if own == name { value.to_owned() } else { old.to_string() }));
    format!("{head}?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}

fn without(address: &str, name: &str) -> String {
    let (head, query) = address.split_once('?').expect("a query");
    let pairs = form_urlencoded::parse(query.as_bytes()).filter(|(own, _)| own != name);
    format!("{head}?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}
