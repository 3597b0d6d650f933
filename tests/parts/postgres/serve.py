"""A PostgreSQL server of our own, in a folder that goes with it.

    serve.py FOLDER-OF-ITS-PROGRAMS

The server refuses to run as root: there it runs as `nobody`. It says where it answers in one line of JSON, and ends with
its standard input. Every commit is synced, as an operator's is.
"""

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time

PROGRAMS = sys.argv[1]
# Nothing is shared with a server of the machine's own; many small databases, and a few links of each test's planes.
SETTINGS = ["max_connections=600", "shared_buffers=64MB", "max_wal_size=256MB", "listen_addresses=127.0.0.1"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def as_nobody():
    """What a child does before it becomes the server's program."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)


def main():
    home = tempfile.mkdtemp(prefix="nightlatch-postgres-")
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
    data, port = os.path.join(home, "data"), free_port()
    server = None
    try:
        initdb = [os.path.join(PROGRAMS, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"]
        subprocess.run(initdb, check=True, stdout=sys.stderr, cwd=home, preexec_fn=as_nobody)
        words = [os.path.join(PROGRAMS, "postgres"), "-D", data, "-p", str(port), "-k", home]
        for setting in SETTINGS:
            words += ["-c", setting]
        server = subprocess.Popen(words, stdout=sys.stderr, stdin=subprocess.DEVNULL, cwd=home, preexec_fn=as_nobody)
        ready = [os.path.join(PROGRAMS, "psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-c", "SELECT 1"]
        while subprocess.run(ready, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=home).returncode:
            if server.poll() is not None:
                sys.exit("the server ended by itself")
            time.sleep(0.05)
        print(json.dumps({"address": f"postgres://postgres@127.0.0.1:{port}", "programs": PROGRAMS}), flush=True)
        sys.stdin.buffer.read()
    finally:
        if server is not None:
            # Immediate: what it holds goes with its folder.
            server.send_signal(3)
            server.wait()
        shutil.rmtree(home, ignore_errors=True)


main()
