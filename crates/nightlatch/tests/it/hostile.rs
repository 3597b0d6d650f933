//! A hostile program under `run`, as an ordinary user: what it tries is refused, or was said to be only advisory on
//! this machine. The same attempts succeed without a sandbox, so that a refusal means something.

use crate::world::{
    household::{Household, Machine},
    recorder::Recorder,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, UdpSocket},
    os::unix::{fs::chown, net::UnixListener},
    process::{Child, Output, Stdio},
};

const KEY: &str = "canary-key-6c2e8a0d4f7b9153";

/// Every command that asks the server or changes something, as an attacker would write it.
const COMMANDS: &[&str] = &[
    "up",
    "run --no-start -- true",
    "connect canary --key --no-start",
    "connection list",
    "connection show canary/main",
    "connection test canary/main",
    "tool list",
    "tool show canary",
    "tool add $HOME/tool.toml",
    "profile list",
    "profile show github",
    "agent add evil",
    "agent list",
    "agent show laptop",
    "agent enrol laptop",
    "agent disable laptop",
    "agent enable laptop",
    "task open --agent laptop",
    "task list",
    "task show mine",
    "task sleep mine",
    "grant add --task mine canary:write",
    "grant list",
    "grant revoke grt_01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "policy show",
    "policy explain --task mine canary GET /me",
    "ledger tail",
    "ledger show 1",
    "ledger verify",
    "health",
    "why call_01ARZ3NDEKTSV4RRFFQ69G5FAV",
    // Last, since they would spoil what comes after them.
    "task complete mine",
    "connection remove canary/main --yes",
    "stop",
];

/// What a whole sandbox refuses, and Landlock alone does not: it is said beforehand, in these words.
const ADVISORY: &[(&str, &str)] = &[
    ("socket-of-an-agent", "sockets: Docker, D-Bus, ssh-agent"),
    ("datagram", "network: UDP"),
    ("process-list", "processes: the list"),
];

/// What stays refused without any sandbox: nobody debugs the companion or `up`, and another run's proxy wants its
/// password.
const ALWAYS: &[&str] = &[
    "environment-of-up",
    "memory-of-up",
    "descriptors-of-up",
    "environment-of-companion",
    "memory-of-companion",
    "descriptors-of-companion",
    "victims-proxy-without-password",
    "victims-proxy-with-a-wrong-password",
];

/// What lies around the attacker.
struct Scene {
    recorder: Recorder,
    house: Household,
    /// A run without a sandbox of the same user: its port, and its password, which is in its environment.
    victim: Child,
    victim_proxy: String,
    datagrams: UdpSocket,
    streams: TcpListener,
}

impl Scene {
    async fn new(host: &str) -> Self {
        let recorder = Recorder::start(host);
        let house = Household::with_tool(&recorder, KEY).await;
        for (name, text) in [
            ("home/.netrc", "machine api.example login a password hidden-netrc"),
            ("home/.git-credentials", "https://a:hidden-git@github.com"),
            ("home/.aws/credentials", "aws_secret_access_key = hidden-aws"),
            ("home/.ssh/id_ed25519", "hidden-ssh"),
            ("home/.config/gh/hosts.yml", "oauth_token: hidden-gh"),
            ("home/.docker/config.json", "hidden-docker"),
            ("home/.kube/config", "hidden-kube"),
            ("home/.npmrc", "//registry/:_authToken=hidden-npm"),
            ("home/.pypirc", "hidden-pypi"),
        ] {
            house.write(name, text);
        }
        let socket = house.home().join("agent.sock");
        let agent = UnixListener::bind(&socket).expect("a socket");
        std::thread::spawn(move || {
            for mut caller in agent.incoming().map_while(Result::ok) {
                let _ = caller.read(&mut [0; 1024]);
                let _ = caller.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
            }
        });
        if rustix::process::geteuid().is_root() {
            chown(&socket, Some(65534), Some(65534)).expect("its owner");
        }
        house.json(&["task", "open", "--agent", "laptop", "--name", "mine"]);
        let (victim, victim_proxy) = victim(&house);
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
        datagrams.set_nonblocking(true).expect("a socket");
        let streams = TcpListener::bind("127.0.0.1:0").expect("a port");
        streams.set_nonblocking(true).expect("a socket");
        Self { recorder, house, victim, victim_proxy, datagrams, streams }
    }

    /// Runs the attacker, and answers what it printed and which attempts succeeded.
    fn attack(&self, machine: Machine, options: &[&str]) -> (Output, BTreeMap<String, bool>) {
        let output = self.house.run(machine, options, &self.script());
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let tried: BTreeMap<String, bool> = printed
            .lines()
            .filter_map(|line| {
                let (verdict, name) = line.split_once(' ')?;
                matches!(verdict, "OPEN" | "refused").then(|| (name.to_owned(), verdict == "OPEN"))
            })
            .collect();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(printed.contains("the attacker came to its end"), "{printed}\n{said}");
        (output, tried)
    }

    fn script(&self) -> String {
        let port = |address: std::net::SocketAddr| address.port();
        let (streams, datagrams) = (
            port(self.streams.local_addr().expect("bound")),
            port(self.datagrams.local_addr().expect("bound")),
        );
        let (login, victim_port) = self.victim_proxy.rsplit_once(':').expect("a port");
        assert!(login.contains('@'), "the victim has no password: {}", self.victim_proxy);
        let mut script = format!(
            "data={data} state={state} up={up} companion={companion} streams={streams} datagrams={datagrams}\n\
             victim={victim_port} host={host}\n{PRELUDE}",
            data = self.house.data().display(),
            state = self.house.state().display(),
            up = self.house.pid(),
            companion = self.victim.id(),
            host = self.recorder.host(),
        );
        script.push_str(ATTEMPTS);
        for command in COMMANDS {
            let name = format!("command {command}").replace(['$', '"'], "");
            script.push_str(&format!("try '{name}' our {command}\n"));
        }
        script.push_str("echo; echo 'the attacker came to its end'\n");
        script
    }

    fn arrived(&self) -> (bool, bool) {
        let stream = self.streams.accept().is_ok();
        let mut bytes = [0; 16];
        (stream, self.datagrams.recv(&mut bytes).is_ok())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// Another run of the same user, and the URL of its proxy.
fn victim(house: &Household) -> (Child, String) {
    let script = "echo $HTTPS_PROXY; exec sleep 600";
    let words = ["run", "--unconfined", "--grant", "canary:read", "--", "bash", "-c", script];
    let mut command = house.command(Machine::AsItIs, &words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it prints its proxy");
    assert!(line.starts_with("http://"), "{line}");
    (child, line.trim().to_owned())
}

const PRELUDE: &str = r#"
    try() {
        local name=$1; shift
        if timeout 5 bash -c '"$@"' attempt "$@" >/dev/null 2>&1 </dev/null; then echo "OPEN $name"; else echo "refused $name"; fi
    }
    our() { "$HOME/bin/nightlatch" --data "$data" "$@"; }
    shell() { bash -c "$1"; }
    # Something was really read: an empty file or folder is none.
    holds() { test -n "$(head -c 4096 "$1")"; }
    lists() { test -n "$(ls -A "$1")"; }
    export -f our shell holds lists
    export data
"#;

const ATTEMPTS: &str = r#"
    for name in api.token nightlatch.toml db.sqlite keys/keeper.key; do try "data $name" shell "holds $data/$name"; done
    try data-listed shell "lists $data"
    try data-ledger shell "cat $data/ledger/*.jsonl"
    try state-listed shell "lists $state/nightlatch"
    try api-socket curl -sSf --unix-socket "$data/run/api.sock" http://localhost/v1/ping
    for name in .netrc .git-credentials .aws/credentials .ssh/id_ed25519 .config/gh/hosts.yml .docker/config.json \
        .kube/config .npmrc .pypirc; do
        try "hidden $name" shell "holds $HOME/$name"
    done
    try hidden-through-root shell "holds /proc/1/root$HOME/.netrc || holds /proc/$PPID/root$HOME/.netrc"
    for who in up companion; do
        pid=${!who}
        try "environment-of-$who" shell "holds /proc/$pid/environ"
        try "memory-of-$who" shell "read -r range _ < /proc/$pid/maps && dd if=/proc/$pid/mem bs=4096 count=1 skip=\$((16#\${range%-*} / 4096))"
        try "descriptors-of-$who" shell "ls /proc/$pid/fd/0"
        try "killed-$who" kill -0 $pid
    done
    try process-list shell "ls -d /proc/$up"
    try socket-of-an-agent curl -sS --max-time 2 --unix-socket "$HOME/agent.sock" http://localhost/
    try stream-to-this-machine shell "exec 3<>/dev/tcp/127.0.0.1/$streams"
    try stream-elsewhere shell "exec 3<>/dev/tcp/192.0.2.1/443"
    shell "echo datagram > /dev/udp/127.0.0.1/$datagrams" 2>/dev/null
    try datagram shell "exec 3<>/dev/udp/127.0.0.1/$datagrams; echo one >&3; sleep 0.2; echo two >&3"
    try around-the-proxy curl -sS --noproxy '*' --max-time 3 "http://127.0.0.1:$streams/"
    NO_PROXY='*' no_proxy='*' try own-no-proxy curl -sS --max-time 3 "http://127.0.0.1:$streams/"
    try victims-port shell "exec 3<>/dev/tcp/127.0.0.1/$victim"
    https="https://$host/repos/acme/site"
    try victims-proxy-without-password curl -sSf --max-time 3 --proxy "http://127.0.0.1:$victim" "$https"
    try victims-proxy-with-a-wrong-password curl -sSf --max-time 3 --proxy "http://run:AAAAAAAAAAAAAAAAAAAAAAAA@127.0.0.1:$victim" "$https"
    for place in "$HOME/.bashrc" "$HOME/bin/nightlatch" "$HOME/planted" "$data/policies/planted.cedar" /var/tmp/../lib/planted /etc/planted; do
        try "written $place" shell "echo planted >> '$place'"
    done
    try linked ln "$HOME/tool.toml" "$HOME/linked"
    try more-privileges shell "! grep -q '^NoNewPrivs:.1' /proc/self/status"
    try a-capability shell "! grep -q '^CapEff:.0000000000000000' /proc/self/status"
    # Whatever namespaces it makes for itself, nothing is uncovered in them.
    try uncovered unshare --user --map-root-user --mount bash -c "umount '$HOME/.ssh' || umount -l '$data'; mount -o remount,rw,bind / && touch /planted || holds '$HOME/.ssh/id_ed25519'"
    try keyring python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(250, 0, -3, 0) < 0)'
"#;

fn open(tried: &BTreeMap<String, bool>) -> BTreeSet<&str> {
    tried.iter().filter(|(_, open)| **open).map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn every_attempt_is_refused_where_the_machine_gives_namespaces() {
    let scene = Scene::new("api.hostile.test").await;
    let (output, tried) = scene.attack(Machine::AsItIs, &["--grant", "canary:read"]);
    assert!(tried.len() > 80, "{tried:?}");
    assert_eq!(open(&tried), BTreeSet::new());
    assert_eq!(scene.arrived(), (false, false), "something arrived around the proxy");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("advisory"), "{said}");
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn without_namespaces_what_is_not_refused_was_said_to_be_advisory() {
    let scene = Scene::new("api.weak.test").await;
    let (output, tried) = scene.attack(Machine::WithoutNamespaces, &["--grant", "canary:read"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let advisory: BTreeMap<&str, &str> = ADVISORY.iter().copied().collect();
    for name in open(&tried) {
        let words =
            advisory.get(name).unwrap_or_else(|| panic!("`{name}` is open and nobody said so:\n{said}"));
        assert_eq!(said.matches(words).count(), 1, "`{words}` was not said once:\n{said}");
    }
    assert!(!scene.arrived().0, "a stream arrived around the proxy");
    scene.assert_unharmed().await;
}

/// The control: the same attempts, and nothing in their way. What was tried is worth refusing.
#[tokio::test]
async fn unconfined_the_attempts_succeed_and_it_was_said() {
    let scene = Scene::new("api.open.test").await;
    let (output, tried) = scene.attack(Machine::AsItIs, &["--unconfined", "--grant", "canary:read"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nothing is enforced without the sandbox"), "{said}");
    let open = open(&tried);
    for name in ALWAYS {
        assert!(tried.contains_key(*name) && !open.contains(name), "{name}");
    }
    for name in [
        "data api.token",
        "data keys/keeper.key",
        "data-listed",
        "state-listed",
        "hidden .netrc",
        "hidden .aws/credentials",
        "killed-up",
        "process-list",
        "socket-of-an-agent",
        "stream-to-this-machine",
        "datagram",
        "victims-port",
        "command grant add --task mine canary:write",
        "command agent enrol laptop",
        "linked",
    ] {
        assert!(open.contains(name), "`{name}` fails without a sandbox too: it shows nothing");
    }
    assert_eq!(scene.arrived(), (true, true));
}

impl Scene {
    /// Nothing of the attack changed anything, and the victim's grant still works for the victim alone.
    async fn assert_unharmed(&self) {
        let agents = self.house.json(&["agent", "list"]);
        assert_eq!(agents.as_array().map(Vec::len), Some(1), "{agents}");
        let mine = self.house.json(&["task", "show", "mine"]);
        assert_eq!(
            (&mine["state"], mine["grants"].as_array().map(Vec::len)),
            (&"dormant".into(), Some(0)),
            "{mine}"
        );
        for name in ["home/.bashrc", "home/planted", "home/linked", "home/data/policies/planted.cedar"] {
            assert!(!self.house.path(name).exists(), "{name} was written");
        }
        assert!(fs::metadata("/etc/planted").is_err());
        assert_eq!(self.house.oracle.findings(self.house.root()).await, [""; 0]);
    }
}
