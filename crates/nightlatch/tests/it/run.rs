//! `run` as its users meet it: the program is itself as far as its shell can tell, its calls arrive with the real
//! credential, it holds none, and nothing of it stays behind.

use crate::world::{
    connect::text,
    eventually,
    household::{Household, Machine, running},
    install::Install,
    recorder::Recorder,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Output, Stdio},
    time::Duration,
};

const KEY: &str = "canary-key-3b9d5f1c7a2e4068";
const SOON: Duration = Duration::from_secs(20);

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A number that no other process has in its command line.
fn unique(number: u32) -> String {
    format!("9{number}{:07}", std::process::id())
}

fn pid(raw: u32) -> Pid {
    Pid::from_raw(i32::try_from(raw).expect("a pid")).expect("a pid")
}

#[tokio::test]
async fn the_tool_sees_the_key_and_the_program_holds_none() {
    let recorder = Recorder::start("api.run.test");
    let house = Household::with_tool(&recorder, KEY).await;
    for (machine, strength) in [(Machine::AsItIs, "strong"), (Machine::WithoutNamespaces, "weak")] {
        // The second curl is looked into while it runs: all of its memory that can be read.
        let script = r#"
            curl -sS -w '\nanswered %{http_code}\n' -H "authorization: Bearer $CANARY_TOKEN" \
                https://api.run.test/repos/acme/site
            env
            curl -sS -H "authorization: Bearer $CANARY_TOKEN" https://api.run.test/large/100000000000 -o /dev/null &
            until [ "$(cat /proc/$!/io 2>/dev/null | sed -n 's/^wchar: //p')" -gt 1000000 ]; do sleep 0.05; done
            while read -r range rights _; do
                case $rights in r*) ;; *) continue ;; esac
                from=$((16#${range%-*} / 4096)); to=$((16#${range#*-} / 4096))
                dd if=/proc/$!/mem bs=4096 skip=$from count=$((to - from)) 2>/dev/null
            done < /proc/$!/maps > memory
            kill $!; wait 2>/dev/null; wc -c < memory"#;
        let output = house.run(machine, &["--grant", "canary:read"], script);
        assert!(out(&output).contains("answered 200"), "{}\n{}", out(&output), err(&output));
        let arrived = recorder.last_of("/repos/acme/site");
        assert_eq!(arrived.values("authorization"), [format!("Bearer {KEY}")], "{machine:?}");

        let memory = std::fs::read(house.project().join("memory")).expect("what was read of it");
        assert!(memory.windows(8).any(|window| window == b"ghp_nlr0"), "{machine:?}: no memory was read");
        house.oracle.note("what the program printed", &[output.stdout, output.stderr].concat());
        // The memory lies in the project: with everything else on disk it is looked at here.
        assert_eq!(house.oracle.findings(house.root()).await, [""; 0], "{machine:?}");
        let purpose = text(&house.newest_task(), "purpose");
        assert_eq!(purpose, format!("run bash (sandbox={strength})"));
    }
}

#[tokio::test]
async fn a_program_that_holds_no_key_makes_a_durable_call_once() {
    let recorder = Recorder::start("api.durable.test");
    let house = Household::with_tool(&recorder, KEY).await;
    for (number, machine) in [(1, Machine::AsItIs), (2, Machine::WithoutNamespaces)] {
        // Twice with one key; then a path of the gateway's that this door does not lead to.
        let script = r#"
            call="{\"tool\":\"canary\",\"method\":\"GET\",\"path\":\"/slow/NUMBER\",\"headers\":{\"authorization\":\"Bearer $CANARY_TOKEN\"}}"
            for time in 1 2; do
                curl -sS -w '\nanswered %{http_code}\n' -H 'idempotency-key: "one"' -H 'prefer: wait=30' \
                    -d "$call" http://nightlatch.invalid/v1/calls
            done
            curl -sS -w '\nrefused %{http_code}\n' -d '{"code":"x"}' http://nightlatch.invalid/v1/enrol"#;
        let output =
            house.run(machine, &["--grant", "canary:read"], &script.replace("NUMBER", &number.to_string()));
        let printed = out(&output);
        assert_eq!(printed.matches("answered 200").count(), 2, "{printed}\n{}", err(&output));
        assert!(printed.contains(r#""state":"done""#) && printed.contains("refused 404"), "{printed}");
        assert_eq!(recorder.count_of(&format!("/slow/{number}")), 1, "{machine:?}");
        let arrived = recorder.last_of(&format!("/slow/{number}"));
        assert_eq!(arrived.values("authorization"), [format!("Bearer {KEY}")], "{machine:?}");
    }
}

#[tokio::test]
async fn the_exit_code_is_the_programs_own() {
    let recorder = Recorder::start("api.codes.test");
    let house = Household::with_tool(&recorder, KEY).await;
    for machine in [Machine::AsItIs, Machine::WithoutNamespaces] {
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -SEGV $$", 139)] {
            assert_eq!(house.run(machine, &[], script).status.code(), Some(code), "{machine:?}: {script}");
        }
        house.write("home/project/text", "no program");
        for (program, code) in [("no-such-program", 127), ("./text", 126)] {
            let output = house.command(machine, &["run", "--", program]).output().expect("it starts");
            assert_eq!(output.status.code(), Some(code), "{machine:?}: {}", err(&output));
            assert!(err(&output).contains(program), "{}", err(&output));
        }
    }
    let open = house
        .json(&["task", "list"])
        .as_array()
        .expect("tasks")
        .iter()
        .any(|task| task["state"] != "completed");
    assert!(!open, "a task was left open");
}

/// What is sent to `run` alone reaches the program once; the program's own answer to it counts.
#[tokio::test]
async fn a_signal_to_run_reaches_the_program_once() {
    let recorder = Recorder::start("api.signals.test");
    let house = Household::with_tool(&recorder, KEY).await;
    let script = r#"
        for signal in INT TERM HUP QUIT USR1; do trap "echo got $signal" $signal; done
        trap 'echo got CONT; exit 9' CONT
        echo ready; while :; do sleep 5 & wait; done"#;
    let mut run = house.begin(&[], script);
    let mut lines = BufReader::new(run.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    for (signal, name) in [
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
    ] {
        kill_process(pid(run.id()), signal).expect("it runs");
        assert_eq!(lines.next(), Some(format!("got {name}")));
    }
    kill_process(pid(run.id()), Signal::CONT).expect("it runs");
    let rest: Vec<String> = lines.collect();
    assert_eq!(rest, ["got CONT"], "a signal came twice");
    assert_eq!(run.wait().expect("it ends").code(), Some(9));
    assert_eq!(house.newest_task()["state"], "completed");
}

/// Ctrl-C and Ctrl-Z of a real terminal: the program has them once, and the shell sees its job stop and go on.
#[tokio::test]
async fn the_terminal_is_the_programs() {
    let recorder = Recorder::start("api.terminal.test");
    let house = Household::with_tool(&recorder, KEY).await;
    house.write(
        "home/project/inside.sh",
        r#"
        trap 'echo interrupted' INT
        test -t 0 && test -t 1 && test -t 2 && echo terminal
        stty size; echo "state $(stty -g | wc -w)"
        read -r line < /dev/tty; echo "read $line"
        echo ready; read -r line; echo "then $line"
        echo stopping; kill -TSTP $$; echo continued
        read -r line; echo "last $line"
        "#,
    );
    // An interactive shell has job control: `fg` continues what stopped.
    let program = house.command(Machine::AsItIs, &["run", "--", "bash", "inside.sh"]);
    let words: Vec<String> = std::iter::once(program.get_program())
        .chain(program.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let shell = format!("stty rows 33 cols 77; {}; echo job stopped; fg; echo ended $?", words.join(" "));
    let mut script = house.command(Machine::AsItIs, &[]);
    let inner = format!("bash --norc -i -c '{shell}'");
    let mut terminal = std::process::Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &inner, "/dev/null"]);
    terminal.env_clear().envs(script.get_envs().filter_map(|(name, value)| Some((name, value?))));
    terminal.current_dir(house.project()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = terminal.spawn().expect("`script` is installed");
    let mut keys = child.stdin.take().expect("piped");
    let mut screen = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    let mut wait_for = |mark: &str| {
        for line in screen.by_ref() {
            seen.push(line.trim_end().to_owned());
            if line.contains(mark) {
                return;
            }
        }
        panic!("the terminal ended before `{mark}`: {seen:?}");
    };
    wait_for("state");
    keys.write_all(b"typed\n").expect("the terminal takes it");
    wait_for("ready");
    keys.write_all(b"\x03").expect("the terminal takes it");
    wait_for("interrupted");
    keys.write_all(b"more\n").expect("the terminal takes it");
    wait_for("stopping");
    wait_for("job stopped");
    wait_for("continued");
    keys.write_all(b"x\n").expect("the terminal takes it");
    wait_for("ended");
    let shown = seen.join("\n");
    for mark in ["terminal", "33 77", "read typed", "then more", "last x", "ended 0"] {
        assert!(shown.contains(mark), "{mark}:\n{shown}");
    }
    assert_eq!(shown.matches("interrupted").count(), 1, "{shown}");
    let _ = script.env_clear();
    child.wait().expect("it ends");
}

#[tokio::test]
async fn what_the_program_leaves_behind_ends_with_it() {
    let recorder = Recorder::start("api.children.test");
    let house = Household::with_tool(&recorder, KEY).await;
    for (machine, options, word) in [
        (Machine::AsItIs, &[][..], unique(1)),
        (Machine::WithoutNamespaces, &[], unique(2)),
        (Machine::AsItIs, &["--unconfined"], unique(3)),
    ] {
        let script = format!(
            "(sleep {word} &); setsid sleep {word} & nohup bash -c '(setsid sleep {word} &)' >/dev/null; true"
        );
        let output = house.run(machine, options, &script);
        assert!(output.status.success(), "{}", err(&output));
        assert_eq!(running(&word), [0; 0], "{machine:?} {options:?}");
    }
}

#[tokio::test]
async fn the_program_does_not_outlive_run_however_that_ends() {
    let recorder = Recorder::start("api.orphan.test");
    let house = Household::with_tool(&recorder, KEY).await;
    for (options, word) in [(&[][..], unique(4)), (&["--unconfined"], unique(5))] {
        let script = format!("trap '' INT TERM HUP; setsid sleep {word} & echo ready; exec sleep {word}");
        let mut run = house.begin(options, &script);
        let mut first = String::new();
        BufReader::new(run.stdout.take().expect("piped")).read_line(&mut first).expect("it prints");
        assert_eq!(first, "ready\n");
        run.kill().expect("it runs");
        run.wait().expect("it ends");
        eventually("the program ends", SOON, async || running(&word).is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn its_own_task_is_completed_and_a_named_one_sleeps() {
    let recorder = Recorder::start("api.tasks.test");
    let house = Household::with_tool(&recorder, KEY).await;
    let task = text(&house.json(&["task", "open", "--agent", "laptop", "--name", "triage"]), "id");
    let call = "curl -sS -o /dev/null -w '%{http_code}' -H \"authorization: Bearer $CANARY_TOKEN\" https://api.tasks.test/repos/acme/site";
    house.json(&["grant", "add", "canary:read", "--task", "triage"]);
    for _ in 0..2 {
        let output = house.run(Machine::AsItIs, &["--task", "triage"], call);
        assert_eq!(out(&output), "200", "{}", err(&output));
        let shown = house.json(&["task", "show", &task]);
        assert_eq!(shown["state"], "dormant");
        assert!(
            shown["wakes"].as_array().expect("wakes").iter().all(|wake| wake["lasts"] == false),
            "{shown}"
        );
    }
    // However it ends: a code, a signal, Ctrl-C in the middle, a grant that cannot be given.
    for script in ["exit 3", "kill -KILL $$"] {
        house.run(Machine::AsItIs, &[], script);
        assert_eq!(house.newest_task()["state"], "completed", "{script}");
    }
    let mut run = house.begin(&[], "echo ready; exec sleep 96666");
    let mut first = String::new();
    BufReader::new(run.stdout.take().expect("piped")).read_line(&mut first).expect("it prints");
    kill_process(pid(run.id()), Signal::INT).expect("it runs");
    assert_eq!(run.wait().expect("it ends").code(), Some(130));
    assert_eq!(house.newest_task()["state"], "completed");
    let refused = house.run(Machine::AsItIs, &["--grant", "no-such-tool:read"], "true");
    assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
    assert_eq!(house.newest_task()["state"], "completed");
}

#[tokio::test]
async fn what_was_refused_is_said_with_the_command_that_would_allow_it() {
    let recorder = Recorder::start("api.refused.test");
    let house = Household::with_tool(&recorder, KEY).await;
    let script = r#"
        curl -sS -o /dev/null -X PUT -d x -H "authorization: Bearer $CANARY_TOKEN" https://api.refused.test/large
        curl -sS -o /dev/null https://elsewhere.test/
        curl -sS -o /dev/null https://api.refused.test/repos/acme/site; true"#;
    let before = recorder.count();
    let output = house.run(Machine::AsItIs, &["--grant", "canary:read"], script);
    assert_eq!(recorder.count(), before, "a refused call arrived");
    let said = err(&output);
    assert!(said.contains("canary bodies.put (write): policy-denied"), "{said}");
    assert!(said.contains("nightlatch run --grant canary:write"), "{said}");
    assert!(
        said.contains("elsewhere.test: egress-denied") && said.contains("nightlatch run --egress open"),
        "{said}"
    );
    // A request without the reference is how clients begin: it says nothing where the tool is granted.
    assert!(!said.contains("reference-missing"), "{said}");
    // What is allowed then is not said to be refused.
    let output = house.run(Machine::AsItIs, &["--grant", "canary:write"], script);
    assert!(!err(&output).contains("bodies.put"), "{}", err(&output));
    assert_eq!(recorder.count(), before + 1);
    let task = text(&house.json(&["task", "open", "--agent", "laptop", "--name", "named"]), "id");
    house.json(&["grant", "add", "canary:read", "--task", "named"]);
    let output = house.run(Machine::AsItIs, &["--task", "named"], script);
    assert!(err(&output).contains("nightlatch grant add --task named canary:write"), "{}", err(&output));
    assert_eq!(house.json(&["task", "show", &task])["state"], "dormant");
}

/// Whoever the user is, and root above all: nothing of its power over the machine is left to the program.
#[tokio::test]
async fn not_even_root_has_a_capability_inside() {
    let install = Install::started("").await;
    let script = r#"
        grep -h -E 'CapPrm|CapEff|CapAmb' /proc/self/status /proc/1/status | cut -f2 | sort -u
        mount -t tmpfs none /mnt && echo mounted
        umount /tmp && echo uncovered
        mount -o remount,rw,bind / && echo opened
        chroot / true && echo changed
        value=$(cat /proc/sys/kernel/panic_on_warn) && echo "$value" > /proc/sys/kernel/panic_on_warn && echo set
        find /dev -type b"#;
    let output = install.run(&["run", "--", "bash", "-c", script]);
    assert_eq!(out(&output), "0000000000000000\n", "{}", err(&output));
}

#[tokio::test]
async fn the_programs_files_are_its_users_own_and_nothing_else_is_written() {
    let recorder = Recorder::start("api.files.test");
    let house = Household::with_tool(&recorder, KEY).await;
    let script = "umask; pwd; echo mine > made; mktemp; echo x > ~/other || echo read-only";
    for machine in [Machine::AsItIs, Machine::WithoutNamespaces] {
        let output = house.run(machine, &[], script);
        let printed = out(&output);
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines.first(), Some(&"0022"), "{printed}");
        assert_eq!(lines.get(1), house.project().to_str().as_ref(), "{printed}");
        assert!(
            lines[2].contains("nightlatch-run-") && lines[3] == "read-only",
            "{printed}\n{}",
            err(&output)
        );
        let scratch = lines[2].split("/tmp/tmp.").next().expect("a folder").to_owned();
        assert!(!std::path::Path::new(&scratch).exists(), "{scratch} is still there");
        assert_eq!(std::fs::read_to_string(house.project().join("made")).expect("its file"), "mine\n");
        assert!(!house.home().join("other").exists());
    }
}
