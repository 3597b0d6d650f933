"""A PostgreSQL server of our own, in a folder that goes with it.

    serve.py FOLDER-OF-ITS-PROGRAMS [--set NAME=VALUE]… [--tls CERTIFICATE KEY] [--follow PORT]

The server refuses to run as root: there it runs as `nobody`. It says where it answers in one line of JSON, and ends with
its standard input. Every commit is synced, as an operator's is. With `--tls` nothing is answered in clear; with `--follow`
it is an asynchronous standby of the server at that port.
"""

import argparse
import ctypes
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

# Nothing is shared with a server of the machine's own; many small databases, and a few links of each test's planes.
SETTINGS = ["max_connections=600", "shared_buffers=64MB", "max_wal_size=256MB", "listen_addresses=127.0.0.1"]


def asked():
    words = argparse.ArgumentParser()
    words.add_argument("programs")
    words.add_argument("--set", action="append", default=[])
    words.add_argument("--tls", nargs=2)
    words.add_argument("--follow")
    return words.parse_args()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def as_nobody():
    """What a child does before it becomes the server's program. It ends with us, however we end."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
    # After the change of user, which takes it back.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def give(path):
    """What the server reads or writes is its user's."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def encrypted_only(home, files):
    """The settings of a server that answers over TLS alone."""
    certificate, key, rules = (os.path.join(home, name) for name in ("server.crt", "server.key", "rules"))
    for given, own in zip(files, (certificate, key)):
        shutil.copyfile(given, own)
        os.chmod(own, 0o600)
        give(own)
    with open(rules, "w", encoding="utf-8") as file:
        file.write("local all all trust\nhostssl all all 127.0.0.1/32 trust\n")
    give(rules)
    return ["ssl=on", f"ssl_cert_file={certificate}", f"ssl_key_file={key}", f"hba_file={rules}"]


def main():
    words = asked()
    home = tempfile.mkdtemp(prefix="nightlatch-postgres-")
    give(home)
    data, port = os.path.join(home, "data"), free_port()

    def run(program, *arguments, **how):
        path = os.path.join(words.programs, program)
        return subprocess.run([path, *arguments], cwd=home, preexec_fn=as_nobody, **how)

    server = None
    try:
        if words.follow:
            copied = ["-D", data, "-h", "127.0.0.1", "-p", words.follow, "-U", "postgres", "-R", "-c", "fast"]
            run("pg_basebackup", *copied, check=True, stdout=sys.stderr)
        else:
            made = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"]
            run("initdb", *made, check=True, stdout=sys.stderr)
        settings = SETTINGS + words.set + (encrypted_only(home, words.tls) if words.tls else [])
        command = [os.path.join(words.programs, "postgres"), "-D", data, "-p", str(port), "-k", home]
        for setting in settings:
            command += ["-c", setting]
        server = subprocess.Popen(command, stdout=sys.stderr, stdin=subprocess.DEVNULL, cwd=home, preexec_fn=as_nobody)
        ready = ["-h", home, "-p", str(port), "-U", "postgres", "-c", "SELECT 1"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        while run("psql", *ready, **silent).returncode:
            if server.poll() is not None:
                sys.exit("the server ended by itself")
            time.sleep(0.05)
        print(json.dumps({"address": f"postgres://postgres@127.0.0.1:{port}", "programs": words.programs}), flush=True)
        sys.stdin.buffer.read()
    finally:
        if server is not None:
            # Immediate: what it holds goes with its folder.
            server.send_signal(signal.SIGQUIT)
            server.wait()
        # By itself: hundreds of databases take longer to remove than we are waited for.
        away = ["rm", "-rf", "--", home]
        subprocess.Popen(away, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)


main()
