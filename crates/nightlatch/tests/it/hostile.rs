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
    os::unix::{
        fs::{PermissionsExt, chown},
        net::UnixListener,
    },
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tempfile::NamedTempFile;

const KEY: &str = "canary-key-6c2e8a0d4f7b9153";

/// Every command that asks the server or changes something, as an attacker would write it.
const COMMANDS: &[&str] = &[
    "up",
    "run --no-start -- true",
    "connect canary --key --no-start",
    "connection list",
    "connection show canary/main",
    "connection test canary/main",
    "keeper list",
    "keeper adopt kpr_01ARZ3NDEKTSV4RRFFQ69G5FAV --yes",
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
    "webhook secret ci",
    "why call_01ARZ3NDEKTSV4RRFFQ69G5FAV",
    // Last, since they would spoil what comes after them.
    "task complete mine",
    "connection remove canary/main --yes",
    "stop",
];

/// What a whole sandbox refuses, and Landlock alone does not: it is said beforehand, in these words.
const ADVISORY: &[(&str, &str)] = &[
    ("socket-of-an-agent", "sockets: Docker, D-Bus, ssh-agent"),
    ("process-list", "processes: their list can be read"),
    ("memory-that-is-shared", "System V memory be used that they share"),
];

/// What succeeds without any sandbox, so that its refusal means something.
const WORTH_REFUSING: &[&str] = &[
    "data api.token",
    "data keys/keeper.key",
    "data-listed",
    "state-listed",
    "hidden .netrc",
    "hidden .aws/credentials",
    "hidden moved/gh/hosts.yml",
    "hidden named-key.json",
    "signal-to-up",
    "signal-to-companion",
    "process-list",
    "memory-that-is-shared",
    "file-of-another-program",
    "socket-of-an-agent",
    "stream-to-this-machine",
    "datagram",
    "around-the-proxy",
    "own-no-proxy",
    "victims-port",
    "socket vsock",
    "socket mptcp",
    "socket of-another-type",
    "ring-of-calls",
    "typing-into-the-terminal",
    "keyring",
    "linked",
    "more-privileges",
    "command agent enrol laptop",
    "command grant add --task mine canary:write",
    "command keeper list",
    "command ledger tail",
    "command webhook secret ci",
    "command stop",
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
    "environment-of-keeper",
    "memory-of-keeper",
    "descriptors-of-keeper",
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
    /// A server of this machine, and how many came to it.
    streams: u16,
    streamed: Arc<AtomicUsize>,
    /// A file of another program, in a folder that all share.
    others: NamedTempFile,
    /// The id of System V memory of another program of this user.
    shared: String,
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
            ("home/moved/gh/hosts.yml", "oauth_token: hidden-gh"),
            ("home/named-key.json", "hidden-google"),
        ] {
            house.write(name, text);
        }
        let socket = house.home().join("agent.sock");
        let agent = UnixListener::bind(&socket).expect("a socket");
        std::thread::spawn(move || {
            agent.incoming().map_while(Result::ok).for_each(answer);
        });
        if rustix::process::geteuid().is_root() {
            chown(&socket, Some(65534), Some(65534)).expect("its owner");
        }
        house.json(&["task", "open", "--agent", "laptop", "--name", "mine"]);
        let (victim, victim_proxy) = victim(&house);
        let mut others = NamedTempFile::new_in("/var/tmp").expect("a file");
        others.write_all(b"another program's").expect("a file");
        fs::set_permissions(others.path(), fs::Permissions::from_mode(0o644)).expect("its mode");
        let made = Command::new("ipcmk").args(["--shmem", "64", "--mode", "0666"]).output();
        let made = String::from_utf8(made.expect("`ipcmk` is installed").stdout).expect("text");
        let shared = made.rsplit(' ').next().expect("an id").trim().to_owned();
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
        datagrams.set_nonblocking(true).expect("a socket");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let streams = listener.local_addr().expect("bound").port();
        let streamed = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&streamed);
        std::thread::spawn(move || {
            for caller in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                answer(caller);
            }
        });
        Self { recorder, house, victim, victim_proxy, datagrams, streams, streamed, others, shared }
    }

    /// `run` of a script by a user whose environment names further places.
    fn run(&self, machine: Machine, options: &[&str], script: &str, folder: &Path) -> Output {
        let words = [&["run"], options, &["--", "bash", "-c", script]].concat();
        let mut command = self.house.command(machine, &words);
        command.env("XDG_CONFIG_HOME", self.house.home().join("moved"));
        command.env("GOOGLE_APPLICATION_CREDENTIALS", self.house.home().join("named-key.json"));
        command.env("SECRET_OF_MINE", "canary-of-the-environment");
        command.current_dir(folder).stdin(Stdio::null()).output().expect("the program starts")
    }

    /// Runs the attacker, and answers what it printed and which attempts succeeded.
    fn attack(&self, machine: Machine, options: &[&str]) -> (Output, BTreeMap<String, bool>) {
        let output = self.run(machine, options, &self.script(), &self.house.project());
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
        let streams = self.streams;
        let datagrams = self.datagrams.local_addr().expect("bound").port();
        let (login, victim_port) = self.victim_proxy.rsplit_once(':').expect("a port");
        assert!(login.contains('@'), "the victim has no password: {}", self.victim_proxy);
        let mut script = format!(
            "data={data} state={state} up={up} companion={companion} streams={streams} datagrams={datagrams}\n\
             victim={victim_port} host={host} shared={shared} others={others}\n{PRELUDE}",
            data = self.house.data().display(),
            state = self.house.state().display(),
            up = self.house.pid(),
            companion = self.victim.id(),
            host = self.recorder.host(),
            shared = self.shared,
            others = self.others.path().display(),
        );
        script.push_str(ATTEMPTS_ON_FILES);
        script.push_str(ATTEMPTS);
        for command in COMMANDS {
            let name = format!("command {command}").replace(['$', '"'], "");
            script.push_str(&format!("try '{name}' our {command}\n"));
        }
        script.push_str("echo; echo 'the attacker came to its end'\n");
        script
    }

    /// Whether a stream and a datagram came around the proxy.
    fn arrived(&self) -> (bool, bool) {
        (self.streamed.load(Ordering::SeqCst) > 0, self.datagrams.recv(&mut [0; 16]).is_ok())
    }
}

/// As little of a server as curl is content with.
fn answer(mut caller: impl Read + Write) {
    let _ = caller.read(&mut [0; 1024]);
    let _ = caller.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        let _ = Command::new("ipcrm").args(["--shmem-id", &self.shared]).status();
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
    creates() { perl -e 'socket(my $s, $ARGV[0], $ARGV[1], $ARGV[2]) or exit 1' -- "$@"; }
    lists() { test -n "$(ls -A "$1")"; }
    export -f our shell holds lists creates
    export data
"#;

const ATTEMPTS_ON_FILES: &str = r#"
    for name in api.token nightlatch.toml db.sqlite keys/keeper.key; do try "data $name" shell "holds $data/$name"; done
    try data-listed shell "lists $data"
    try data-ledger shell "cat $data/ledger/*.jsonl"
    for name in .netrc .git-credentials .aws/credentials .ssh/id_ed25519 .config/gh/hosts.yml .docker/config.json \
        .kube/config .npmrc .pypirc moved/gh/hosts.yml named-key.json; do
        try "hidden $name" shell "holds $HOME/$name"
    done
"#;

const ATTEMPTS: &str = r#"
    try state-listed shell "lists $state/nightlatch"
    try api-socket curl -sSf --unix-socket "$data/run/api.sock" http://localhost/v1/ping
    try hidden-through-root shell "holds /proc/1/root$HOME/.netrc || holds /proc/$PPID/root$HOME/.netrc"
    # The one that started us passes on what it is told: whoever held it could answer in its name.
    keeper=$PPID
    for who in up companion keeper; do
        pid=${!who}
        try "environment-of-$who" shell "holds /proc/$pid/environ"
        try "memory-of-$who" shell "read -r range _ < /proc/$pid/maps && dd if=/proc/$pid/mem bs=4096 count=1 skip=\$((16#\${range%-*} / 4096))"
        try "descriptors-of-$who" shell "ls /proc/$pid/fd/0"
        test $who = keeper || try "signal-to-$who" kill -0 $pid
    done
    try memory-that-is-shared shell "ipcs -m | grep -q ' $shared '"
    try file-of-another-program holds "$others"
    try places-of-other-programs lists /run
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
    try 'socket vsock' creates 40 1 0
    try 'socket mptcp' creates 2 1 262
    # SCTP, by type alone. A kernel without it says so by another number than the walls do.
    for family in 2 10; do
        try 'socket of-another-type' perl -e 'socket(my $s, shift, 5, 0) and exit 0; exit($!{EPROTONOSUPPORT} ? 1 : 0)' $family
    done
    case $(uname -m) in
        x86_64) ring=425 keys=250 x32=$((0x40000000 | 41)) ;;
        *) ring=425 keys=219 x32=-1 ;;
    esac
    try 'socket by-its-second-name' perl -e 'exit(syscall(shift, 40, 1, 0) < 0)' -- $x32
    try ring-of-calls perl -e 'my $p = "\0" x 256; exit(syscall(shift, 1, $p) < 0)' $ring
    try keyring perl -e 'exit(syscall(shift, 0, -3, 0) < 0)' $keys
    # On what is no terminal it fails in another way than where it is refused.
    try typing-into-the-terminal perl -e 'my $x = "a"; ioctl(STDIN, 0x5412, $x); exit($!{EPERM} ? 1 : 0)'
    try connecting-fast perl -MSocket -e 'socket(my $s, 2, 1, 0) or exit 1;
        send($s, "x", 0x20000000, pack_sockaddr_in(shift, inet_aton("127.0.0.1"))) or exit 1' $streams
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
    assert_eq!(scene.arrived(), (false, false), "something arrived around the proxy");
    scene.assert_unharmed().await;
}

/// The home folder as the working folder is written to, and hides what it hides elsewhere.
#[tokio::test]
async fn what_is_hidden_is_hidden_in_the_working_folder_too() {
    let scene = Scene::new("api.home.test").await;
    let script = format!("data={}\n{PRELUDE}\n{}", scene.house.data().display(), ATTEMPTS_ON_FILES);
    for machine in [Machine::AsItIs, Machine::WithoutNamespaces] {
        let output = scene.run(machine, &[], &script, &scene.house.home());
        let (said, printed) =
            (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        assert!(printed.contains("refused hidden .netrc"), "{machine:?}: {printed}\n{said}");
        assert!(!printed.contains("OPEN"), "{machine:?}: {printed}");
        assert!(said.contains("the working folder holds your home folder"), "{said}");
    }
    // Inside a hidden folder nothing can be run at all.
    let output = scene.run(Machine::AsItIs, &[], "true", &scene.house.home().join(".ssh"));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be the working folder"));
}

#[tokio::test]
async fn nothing_of_the_users_environment_is_inherited_but_the_list() {
    let scene = Scene::new("api.environment.test").await;
    let output =
        scene.run(Machine::AsItIs, &[], "env; echo agent ${SSH_AUTH_SOCK:-none}", &scene.house.project());
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("HOME=") && printed.contains("agent none"), "{printed}");
    for name in
        ["SECRET_OF_MINE", "canary-of-the-environment", "GOOGLE_APPLICATION", "XDG_CONFIG_HOME", "NIGHTLATCH"]
    {
        assert!(!printed.contains(name), "{name} was inherited");
    }
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
    for name in WORTH_REFUSING {
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
