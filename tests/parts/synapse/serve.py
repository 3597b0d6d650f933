"""A Matrix homeserver, PyPI `matrix-synapse`, unchanged, over a SQLite of its own; and what the tests may ask of it.

    serve.py

Its access tokens live for 20 seconds. It says where it answers in one line of JSON, and ends with its standard input:

    base     the homeserver
    control  JSON in, JSON out:
             POST /test/client              {"username"} -> a new account: {"client_id", "username", "password"}
             GET  /test/counters?client_id  what happened at its refresh endpoint
             GET  /test/issued?client_id    every token that the account was ever given
             GET  /test/seen?path           calls whose address has this text in it

Nothing is counted by us. What was refreshed is told by Synapse's own database, where triggers note each row that it writes
(it removes them later); what was asked, and how it was answered, by its own access log. A request to refresh names no
account there, so whoever presents a token adds `?of=CLIENT-ID` to the address, which Synapse does not look at.
"""

import ctypes
import hashlib
import hmac
import http.server
import json
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
ACCESS_SECS = 20
REFRESH = "/_matrix/client/v3/refresh"
SHARED = secrets.token_hex(16)
LINE = re.compile(r'\{(?P<who>[^}]*)\} Processed request: .* (?P<status>\d+) "(?P<method>[A-Z]+) (?P<uri>\S+) ')

NOTES = """
CREATE TABLE part_issued (user_id TEXT, device_id TEXT, token TEXT);
CREATE TABLE part_refreshed (user_id TEXT, again INTEGER);
CREATE TRIGGER part_access AFTER INSERT ON access_tokens
  BEGIN INSERT INTO part_issued VALUES (new.user_id, new.device_id, new.token); END;
CREATE TRIGGER part_refresh AFTER INSERT ON refresh_tokens
  BEGIN INSERT INTO part_issued VALUES (new.user_id, new.device_id, new.token); END;
CREATE TRIGGER part_replaced AFTER UPDATE OF next_token_id ON refresh_tokens
  BEGIN INSERT INTO part_refreshed VALUES (new.user_id, old.next_token_id IS NOT NULL); END;
"""


def configured(home, port):
    """Writes the configuration, and says where it lies. JSON is YAML."""
    log = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(message)s"}},
        "handlers": {
            "access": {"class": "logging.FileHandler", "filename": f"{home}/access.log", "formatter": "plain"},
            "rest": {"class": "logging.StreamHandler", "formatter": "plain"},
        },
        "loggers": {"synapse.access.http": {"level": "INFO", "handlers": ["access"], "propagate": False}},
        "root": {"level": "WARNING", "handlers": ["rest"]},
    }
    own = {
        "server_name": "localhost",
        "report_stats": False,
        "suppress_key_server_warning": True,
        "trusted_key_servers": [],
        "listeners": [
            {"port": port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": False, "resources": [{"names": ["client"]}]}
        ],
        "database": {"name": "sqlite3", "args": {"database": f"{home}/homeserver.db"}},
        "log_config": f"{home}/log.yaml",
        "media_store_path": f"{home}/media",
        "signing_key_path": f"{home}/signing.key",
        "pid_file": f"{home}/pid",
        "registration_shared_secret": SHARED,
        "macaroon_secret_key": secrets.token_hex(16),
        "form_secret": secrets.token_hex(16),
        "refreshable_access_token_lifetime": f"{ACCESS_SECS}s",
        # Many tests log in from one address.
        "rc_login": {name: {"per_second": 1000, "burst_count": 1000} for name in ("address", "account", "failed_attempts")},
    }
    for name, content in (("log.yaml", log), ("homeserver.yaml", own)):
        with open(f"{home}/{name}", "w", encoding="utf-8") as file:
            json.dump(content, file)
    return f"{home}/homeserver.yaml"


def ends_with_us():
    """What the child does before it becomes the server: however we end, it does not outlive us."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Homeserver:
    def __init__(self, home):
        # Of each client its account, and how many lines the access log had when it was made.
        self.home, self.accounts, self.begun = home, {}, {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        program = [sys.executable, "-B", "-m", "synapse.app.homeserver", "-c", configured(home, port)]
        subprocess.run([*program, "--generate-keys"], check=True, stdout=sys.stderr, cwd=home)
        how = {"stdin": subprocess.DEVNULL, "stdout": sys.stderr, "cwd": home, "preexec_fn": ends_with_us}
        self.process = subprocess.Popen(program, **how)

    def wait(self):
        while True:
            if self.process.poll() is not None:
                sys.exit("the server ended by itself")
            try:
                self.ask("/_matrix/client/versions")
                return
            except OSError:
                time.sleep(0.05)

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.base + path, data)) as answer:
            return json.load(answer)

    def rows(self, query, *values):
        with sqlite3.connect(f"file:{self.home}/homeserver.db?mode=ro", uri=True, timeout=30) as database:
            return database.execute(query, values).fetchall()

    def note_what_is_written(self):
        database = sqlite3.connect(f"{self.home}/homeserver.db", timeout=30)
        database.executescript(NOTES)
        database.close()

    def lines(self):
        """The access log up to now. A request of our own shows when everything before it is there."""
        mark = f"/_matrix/client/versions?mark={secrets.token_hex(8)}"
        self.ask(mark)
        while True:
            with open(f"{self.home}/access.log", encoding="utf-8") as file:
                text = file.read()
            if mark in text:
                return [found for found in map(LINE.search, text.splitlines()) if found]
            time.sleep(0.01)

    def client(self, wanted):
        """A new account, also where the name was asked for before; made by the administrator's way."""
        path, client, password = "/_synapse/admin/v1/register", wanted["username"], secrets.token_urlsafe(16)
        username = f"{client}-{secrets.token_hex(4)}"
        nonce = self.ask(path)["nonce"]
        signed = b"\0".join(part.encode() for part in (nonce, username, password, "notadmin"))
        mac = hmac.new(SHARED.encode(), signed, hashlib.sha1).hexdigest()
        account = {"username": username, "password": password, "admin": False, "inhibit_login": True}
        made = self.ask(path, {"nonce": nonce, "mac": mac, **account})
        self.accounts[client], self.begun[client] = made["user_id"], len(self.lines())
        return {"client_id": client, "username": made["user_id"], "password": password}

    def counters(self, asked):
        client, account = asked["client_id"], self.accounts[asked["client_id"]]
        statuses = [
            int(line["status"])
            for line in self.lines()[self.begun[client] :]
            if line["method"] == "POST" and line["uri"] == f"{REFRESH}?of={client}"
        ]
        again = [row[0] for row in self.rows("SELECT again FROM part_refreshed WHERE user_id = ?", account)]
        refused = sum(status in (401, 403) for status in statuses)
        gone = """SELECT count(DISTINCT device_id) FROM part_issued WHERE user_id = ?
            AND device_id NOT IN (SELECT device_id FROM refresh_tokens WHERE user_id = part_issued.user_id)"""
        return {
            "token_requests": len(statuses),
            "refreshes_ok": len(again),
            "refreshes_failed": len(statuses) - statuses.count(200),
            "replays_in_grace": sum(again),
            "reuse_detected": refused,
            "presented_twice": sum(again) + refused,
            "families_revoked": self.rows(gone, account)[0][0],
            "code_exchanges": 0,
        }

    def issued(self, asked):
        account = self.accounts[asked["client_id"]]
        return [row[0] for row in self.rows("SELECT token FROM part_issued WHERE user_id = ?", account)]

    def seen(self, asked):
        """How those calls were answered; and of the accounts that made them, each access token that Synapse takes now
        and has seen used."""
        begun = max((line for client, line in self.begun.items() if client in asked["path"]), default=0)
        calls = [line for line in self.lines()[begun:] if asked["path"] in line["uri"]]
        used = """SELECT token FROM access_tokens
            WHERE user_id = ? AND used AND (valid_until_ms IS NULL OR valid_until_ms > ?)"""
        now, accounts = int(time.time() * 1000), {line["who"] for line in calls}
        tokens = [row[0] for account in accounts for row in self.rows(used, account, now)]
        return {
            "calls": len(calls),
            "ok": sum(line["status"] == "200" for line in calls),
            "authorizations_sha256": [hashlib.sha256(f"Bearer {token}".encode()).hexdigest() for token in tokens],
        }


def control(homeserver):
    class Control(http.server.BaseHTTPRequestHandler):
        def answer(self, asked):
            verb = urllib.parse.urlsplit(self.path).path.removeprefix("/test/")
            body = json.dumps(getattr(homeserver, verb)(asked)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.answer(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query)))

        def do_POST(self):
            self.answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def log_message(self, *_):
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Control)


def main():
    with tempfile.TemporaryDirectory(prefix="nightlatch-synapse-", ignore_cleanup_errors=True) as home:
        homeserver = Homeserver(home)
        try:
            homeserver.wait()
            homeserver.note_what_is_written()
            server = control(homeserver)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            at = f"http://127.0.0.1:{server.server_address[1]}"
            print(json.dumps({"base": homeserver.base, "control": at}), flush=True)
            sys.stdin.buffer.read()
        finally:
            homeserver.process.send_signal(signal.SIGKILL)
            homeserver.process.wait()


main()
