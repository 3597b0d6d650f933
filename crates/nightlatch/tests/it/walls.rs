//! Ways around the walls of `run` that were found once, tried again: through what its caller has open, what its own
//! questions leave behind, sockets by other names, second mounts, renamed folders, signals, and a `run` that is killed.

use crate::world::{
    connect::text,
    eventually,
    household::{Household, Machine, running},
    ports::free_port,
    recorder::Recorder,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, fs::chown, net::UnixListener},
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

const KEY: &str = "canary-key-5d1f9b3c8e7a6042";
const SOON: Duration = Duration::from_secs(30);
const BOTH: [Machine; 2] = [Machine::AsItIs, Machine::WithoutNamespaces];

async fn household(host: &str) -> (Recorder, Household) {
    let recorder = Recorder::start(host);
    let house = Household::with_tool(&recorder, KEY).await;
    (recorder, house)
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a caller's shell does before and after it starts `nightlatch` with these words, in a session of its own.
fn called(house: &Household, machine: Machine, caller: &str, words: &[&str]) -> Command {
    let inner = house.command(machine, words);
    let mut command = Command::new("setsid");
    command.args(["--wait", "bash", "-c", caller, "caller"]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(house.project()).stdin(Stdio::null());
    command
}

#[tokio::test]
async fn what_the_caller_has_open_is_not_the_programs() {
    let (_recorder, house) = household("api.open-files.test").await;
    let caller = format!("exec 7<'{}/api.token' 8</; exec \"$@\"", house.data().display());
    let script = "cat <&7 && echo read; ls /proc/self/fd/8/ && echo listed; true";
    for machine in BOTH {
        let output = called(&house, machine, &caller, &["run", "--", "bash", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{}", err(&output));
        assert_eq!(out(&output), "", "{machine:?}");
    }
}

/// Whoever reads what a command prints reads to its end, and a server in the background lasts.
#[tokio::test]
async fn a_server_in_the_background_keeps_nothing_of_its_caller_open() {
    let (_recorder, house) = household("api.background.test").await;
    let (gateway, redirect) = (free_port(), free_port());
    let config = format!(
        "[gateway]\nlisten = \"127.0.0.1:{gateway}\"\n\n[redirect]\nlisten = \"127.0.0.1:{redirect}\"\n"
    );
    house.write("home/second/nightlatch.toml", &config);
    fs::set_permissions(house.path("home/second"), fs::Permissions::from_mode(0o700)).unwrap();
    let second = house.path("home/second");
    let words = ["--data", second.to_str().unwrap(), "run", "--", "echo", "done"];
    let mut child = called(&house, Machine::AsItIs, "exec 7>&1; exec \"$@\"", &words)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut printed = child.stdout.take().expect("piped");
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = printed.read_to_string(&mut text);
        let _ = said.send(text);
    });
    let whole = heard.recv_timeout(SOON);
    let _ = house.command(Machine::AsItIs, &["--data", second.to_str().unwrap(), "stop"]).output();
    assert!(child.wait().expect("it ends").success());
    assert_eq!(whole.as_deref(), Ok("done\n"), "somebody keeps the pipe open");
}

#[tokio::test]
async fn other_installations_are_hidden() {
    let (_recorder, house) = household("api.others.test").await;
    for name in [
        "home/.local/share/nightlatch/api.token",
        "home/.local/state/nightlatch/anchor",
        "home/elsewhere/api.token",
    ] {
        house.write(name, "hidden");
    }
    fs::create_dir(house.path("home/elsewhere/run")).unwrap();
    let _served = UnixListener::bind(house.path("home/elsewhere/run/api.sock")).unwrap();
    let script = "cat ~/.local/share/nightlatch/api.token ~/.local/state/nightlatch/anchor ~/elsewhere/api.token; true";
    for machine in BOTH {
        let output = house.run(machine, &[], script);
        assert_eq!(out(&output), "", "{machine:?}: {}", err(&output));
    }
}

/// `run` asks the `node` in `PATH` for its version. It is no more trusted than the program, and it stands first.
#[tokio::test]
async fn nothing_that_was_asked_stands_beside_the_program() {
    let (_recorder, house) = household("api.asked.test").await;
    house.write(
        "home/project/bin/node",
        "#!/bin/bash\necho asked > asked\n(setsid bin/leftover 600 &)\necho v99.1.0\n",
    );
    fs::copy("/bin/sleep", house.path("home/project/bin/leftover")).unwrap();
    for name in ["node", "leftover"] {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(house.project().join("bin").join(name), mode).unwrap();
    }
    chown_all(&house.project());
    let script = r#"
        cat asked; rm asked
        for name in /proc/[0-9]*/comm; do [ "$(cat $name 2>/dev/null)" != leftover ] || echo left; done
        grep -E '^(NoNewPrivs|Seccomp):' /proc/$PPID/status | cut -f2"#;
    for machine in BOTH {
        let mut command =
            house.command(machine, &["run", "--grant", "canary:read", "--", "bash", "-c", script]);
        let path = format!("{}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", house.project().display());
        let output = command.env("PATH", path).stdin(Stdio::null()).output().unwrap();
        assert_eq!(out(&output), "asked\n1\n2\n", "{machine:?}: {}", err(&output));
    }
}

#[tokio::test]
async fn sockets_and_pipes_are_closed_under_any_name_and_later_ones_are_said() {
    let (_recorder, house) = household("api.sockets.test").await;
    house.write("home/deep/er/file", "");
    let bound = UnixListener::bind(house.path("home/deep/er/bound")).unwrap();
    fs::rename(house.path("home/deep/er/bound"), house.path("home/deep/er/renamed")).unwrap();
    std::thread::spawn(move || {
        for mut caller in bound.incoming().map_while(Result::ok) {
            let _ = caller.read(&mut [0; 1024]);
            let _ = caller.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
        }
    });
    let pipe = house.path("home/deep/pipe");
    assert!(Command::new("mkfifo").arg("-m666").arg(&pipe).status().unwrap().success());
    chown_all(&house.path("home/deep"));
    let script = "curl -s --max-time 2 --unix-socket ~/deep/er/renamed http://x/ && echo connected; test -p ~/deep/pipe && echo pipe; true";
    let output = house.run(Machine::AsItIs, &["--unconfined"], script);
    assert_eq!(out(&output), "connected\npipe\n", "without walls it works: {}", err(&output));
    let output = house.run(Machine::AsItIs, &[], script);
    assert_eq!(out(&output), "", "{}", err(&output));
    assert!(err(&output).contains("sockets: one that another program of yours opens"), "{}", err(&output));
}

#[tokio::test]
async fn a_signal_to_the_group_stays_inside() {
    let (_recorder, house) = household("api.group.test").await;
    for machine in BOTH {
        let words = ["run", "--", "bash", "-c", "kill -KILL 0; exit 9"];
        let output = called(&house, machine, "\"$@\"; echo survived $?", &words).output().unwrap();
        let printed = out(&output);
        // Killed by its own signal, or refused it.
        assert!(["survived 137\n", "survived 9\n"].contains(&printed.as_str()), "{machine:?}: {printed}");
        assert_eq!(house.newest_task()["state"], "completed");
    }
}

#[tokio::test]
async fn namespaces_that_are_used_up_are_no_reason_for_weaker_walls() {
    let (_recorder, house) = household("api.used-up.test").await;
    let output = house.run(Machine::UsedUp, &[], "echo ran");
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""), "{}", err(&output));
    assert!(err(&output).contains("the sandbox cannot be raised"), "{}", err(&output));
}

#[tokio::test]
async fn a_hidden_place_stays_where_it_is_hidden() {
    let (_recorder, house) = household("api.moved.test").await;
    for name in ["home/.local/share/nightlatch/api.token", "home/.config/gh/hosts.yml", "home/.ssh/id"] {
        house.write(name, "hidden");
    }
    chown_all(&house.path("home/.local"));
    chown_all(&house.path("home/.config"));
    let script = "for name in .local .local/share .local/share/nightlatch .config .config/gh .ssh data; do \
        mv -T $name moved && echo moved $name; done; echo mine > made";
    for machine in BOTH {
        let words = ["run", "--", "bash", "-c", script];
        let output = house.command(machine, &words).current_dir(house.home()).output().unwrap();
        assert_eq!(out(&output), "", "{machine:?}: {}", err(&output));
        assert!(err(&output).contains("the working folder holds your home folder"), "{}", err(&output));
        assert!(house.path("home/.local/share/nightlatch/api.token").exists());
    }
    let mut command = house.command(Machine::AsItIs, &["run", "--", "true"]);
    let output = command.current_dir(house.path("home/.local")).output().unwrap();
    assert!(err(&output).contains("the working folder holds configuration"), "{}", err(&output));
}

/// A place that is not there yet when the walls are raised, or is replaced afterwards, is hidden as well.
#[tokio::test]
async fn what_comes_to_lie_in_a_known_place_later_is_not_seen() {
    let (_recorder, house) = household("api.later.test").await;
    for name in ["home/.netrc", "home/.ssh/id", "home/.config/htop/htoprc", "home/notes"] {
        house.write(name, "before");
    }
    let places =
        ".netrc .ssh/id .aws/credentials .config/gh/hosts.yml .local/share/nightlatch/api.token new-file";
    let script = format!(
        "echo ready; until test -e go; do sleep 0.1; done; cd ~; cat {places} 2>/dev/null; \
         cat notes .config/htop/htoprc && ls -A .config"
    );
    let mut run = house.begin(&[], &script);
    let mut printed = BufReader::new(run.stdout.take().expect("piped"));
    let mut first = String::new();
    printed.read_line(&mut first).expect("it prints");
    assert_eq!(first, "ready\n");
    fs::remove_dir_all(house.path("home/.ssh")).unwrap();
    fs::remove_file(house.path("home/.netrc")).unwrap();
    for place in places.split(' ') {
        house.write(&format!("home/{place}"), "hidden");
    }
    house.write("home/project/go", "");
    let mut rest = String::new();
    printed.read_to_string(&mut rest).expect("it ends");
    let status = run.wait().expect("it ends");
    assert_eq!((status.code(), rest.as_str()), (Some(0), "beforebeforehtop\n"));
    // Where the home folder cannot be made anew, that is said.
    let mut command = house.command(Machine::AsItIs, &["run", "--", "true"]);
    let output = command.current_dir(house.home()).output().unwrap();
    assert!(err(&output).contains("files: credentials that come to lie below your home"), "{}", err(&output));
    let output = house.run(Machine::AsItIs, &[], "true");
    assert!(!err(&output).contains("files: credentials"), "{}", err(&output));
}

/// The README's own way: built in the working folder, and started from there.
#[tokio::test]
async fn nightlatch_itself_is_not_replaced_where_it_lies_in_the_working_folder() {
    let (_recorder, house) = household("api.own-program.test").await;
    let built = house.project().join("target/release");
    fs::create_dir_all(&built).unwrap();
    fs::copy(house.binary(), built.join("nightlatch")).unwrap();
    chown_all(&house.project());
    let script = "cd target/release; echo evil > nightlatch; echo evil > other && mv -f other nightlatch; rm -f nightlatch; \
        cd ../..; mv target/release moved; mv target moved; echo made > target/release/made && echo made";
    for machine in BOTH {
        let whole = fs::read(built.join("nightlatch")).unwrap();
        let command = house.command(machine, &["run", "--", "bash", "-c", script]);
        let words: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
        let own = |word: &std::ffi::OsStr| {
            if word == house.binary() { built.join("nightlatch").into_os_string() } else { word.to_owned() }
        };
        let mut started = Command::new(command.get_program());
        started.args(words.iter().map(|word| own(word)));
        started.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = started.current_dir(house.project()).stdin(Stdio::null()).output().unwrap();
        let said = err(&output);
        if machine == Machine::AsItIs {
            assert_eq!(out(&output), "made\n", "{said}");
            assert!(fs::read(built.join("nightlatch")).is_ok_and(|now| now == whole), "another lies there");
        } else {
            assert!(said.contains("`nightlatch` itself lies in the working folder"), "{said}");
        }
    }
}

#[tokio::test]
async fn what_listens_is_reached_by_nobody_outside() {
    let (_recorder, house) = household("api.listening.test").await;
    let script = "perl -MSocket -e 'socket(my $s, 2, 1, 0) or exit 6; bind($s, pack_sockaddr_in(0, INADDR_ANY)) or exit 7; \
        listen($s, 1) or exit 8; print \"listens\\n\"'";
    // It is the only one in its network.
    let output = house.run(Machine::AsItIs, &[], script);
    assert_eq!(out(&output), "listens\n", "{}", err(&output));
    let output = house.run(Machine::WithoutNamespaces, &[], script);
    let said = err(&output);
    if said.contains("and listening for others, are not stopped") {
        return;
    }
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(7), ""), "{said}");
    assert!(said.contains("listening at a port that the kernel chooses"), "{said}");
}

#[tokio::test]
async fn what_is_hidden_is_hidden_in_every_mount_of_it() {
    let (_recorder, house) = household("api.mounts.test").await;
    house.write("home/.ssh/id_ed25519", "hidden");
    let script = "cat /mnt/.ssh/id_ed25519 /mnt/data/api.token; ls /mnt/project > /dev/null && echo shown";
    let output = house.run(Machine::MountedTwice, &["--unconfined"], script);
    assert!(out(&output).contains("hidden"), "without walls it is read: {}", err(&output));
    let output = house.run(Machine::MountedTwice, &[], script);
    assert_eq!(out(&output), "shown\n", "{}", err(&output));
    assert!(!err(&output).contains("no namespaces"), "{}", err(&output));
}

#[tokio::test]
async fn what_git_would_run_later_is_said() {
    let (_recorder, house) = household("api.git.test").await;
    let output = house.run(Machine::AsItIs, &[], "git init -q . && git config core.fsmonitor ./evil");
    assert!(output.status.success(), "{}", err(&output));
    assert!(err(&output).contains("the program changed what git does here"), "{}", err(&output));
    let output = house.run(Machine::AsItIs, &[], "git status > /dev/null");
    assert!(!err(&output).contains("what git does here"), "{}", err(&output));
}

#[tokio::test]
async fn a_task_ends_although_its_run_was_killed() {
    let (_recorder, house) = household("api.killed.test").await;
    house.json(&["task", "open", "--agent", "laptop", "--name", "named"]);
    house.json(&["grant", "add", "canary:read", "--task", "named"]);
    let call = "curl -sS -o /dev/null -H \"authorization: Bearer $CANARY_TOKEN\" https://api.killed.test/repos/acme/site; echo ready; exec sleep 600";
    for (options, state) in [(&["--grant", "canary:read"], "completed"), (&["--task", "named"], "dormant")] {
        let mut run = house.begin(options, call);
        let mut first = String::new();
        BufReader::new(run.stdout.take().expect("piped")).read_line(&mut first).expect("it prints");
        assert_eq!(first, "ready\n");
        let task = if state == "dormant" { "named".to_owned() } else { text(&house.newest_task(), "id") };
        assert_eq!(house.json(&["task", "show", &task])["state"], "awake");
        run.kill().expect("it runs");
        run.wait().expect("it ends");
        eventually("the task ends", SOON, async || {
            (house.json(&["task", "show", &task])["state"] == state).then_some(())
        })
        .await;
        let id = text(&house.json(&["task", "show", &task]), "id");
        eventually("no watcher is left", SOON, async || running(&id).is_empty().then_some(())).await;
    }
}

/// What Landlock does not hold is said where it stands in for namespaces.
#[tokio::test]
async fn what_landlock_leaves_open_is_said() {
    let (_recorder, house) = household("api.landlock.test").await;
    house.write("home/file", "");
    let output = house.run(Machine::WithoutNamespaces, &[], "chmod 777 ~/file && echo changed");
    let said = err(&output);
    assert_eq!(out(&output), "changed\n", "{said}");
    assert!(said.contains("files: modes, times and attributes"), "{said}");
    assert!(said.contains("terminals: what you type"), "{said}");
}

/// The user's own, where the tests run as root.
fn chown_all(path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    chown(path, Some(65534), Some(65534)).expect("its owner");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("its entries").map_while(Result::ok) {
            chown_all(&entry.path());
        }
    }
}
