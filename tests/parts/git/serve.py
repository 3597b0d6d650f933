"""A git server: `git http-backend` itself behind just enough HTTP, strict about who may read.

Every repository has one credential, and nobody reads or pushes without exactly it, as a Basic password or as a Bearer
token: 401 with a challenge otherwise, as a private repository of a real host. The control port makes repositories and
tells what was asked of them:

    POST /repositories    {"owner", "name", "credential"}    one commit on `main`, `README` in it
    GET  /repository?name=OWNER/NAME                         {"served", "refused", "subjects": [of `main`, newest first]}

Each connection answers one request: what the backend prints ends with the connection.
"""

import base64
import hmac
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse

ROOT = os.path.abspath("repositories")
SPOOL_BYTES = 1 << 20
BODY_LIMIT_BYTES = 64 << 20
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": ROOT, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
FIRST_COMMIT = b"""commit refs/heads/main
committer Dana <dana@example.com> 1700000000 +0000
data 5
first
M 644 inline README
data 6
hello

"""

repositories = {}
lock = threading.Lock()


def git(*words, **options):
    return subprocess.run(["git", *words], env=ENVIRONMENT, check=True, capture_output=True, **options).stdout


def create(wanted):
    """A bare repository with one commit, for whoever has the credential; in place of an earlier one of the name."""
    name = f"{wanted['owner']}/{wanted['name']}"
    path = os.path.join(ROOT, name + ".git")
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    git("init", "--quiet", "--bare", "--initial-branch=main", path)
    git("-C", path, "fast-import", "--quiet", input=FIRST_COMMIT)
    with lock:
        repositories[name] = {"credential": wanted["credential"], "served": 0, "refused": 0}
    return {"name": name}


def tell(name):
    """What was asked of a repository, and what it holds."""
    subjects = git("-C", os.path.join(ROOT, name + ".git"), "log", "--format=%s", "main").decode().splitlines()
    with lock:
        return {"served": repositories[name]["served"], "refused": repositories[name]["refused"], "subjects": subjects}


def presented(authorization):
    """The credential of an `Authorization` header."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() == "basic":
        return base64.b64decode(value).decode().partition(":")[2]
    return ""


class Handler(http.server.BaseHTTPRequestHandler):
    """What both ports share."""

    def answer(self, status, value, headers=()):
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in [("content-type", "application/json"), ("content-length", str(len(body))), *headers]:
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *words):
        """Only the status: the request line is the caller's business."""


class Control(Handler):
    def do_POST(self):
        self.answer(200, create(json.loads(self.rfile.read(int(self.headers["content-length"])))))

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        self.answer(200, tell(query["name"][0]))


class Git(Handler):
    def do_GET(self):
        self.serve()

    do_POST = do_GET

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        owner, _, rest = url.path.lstrip("/").partition("/")
        name = f"{owner}/{rest.partition('/')[0].removesuffix('.git')}"
        if not self.admitted(name):
            return self.answer(401, {"error": "who are you"}, [("www-authenticate", 'Basic realm="git"')])
        with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as body:
            size = self.read_into(body)
            if size is None:
                return self.answer(413, {"error": "the body is too long"})
            body.seek(0)
            self.run_backend(url, size, body)

    def admitted(self, name):
        with lock:
            repository = repositories.get(name)
            expected = repository["credential"] if repository else ""
            given = presented(self.headers["authorization"])
            good = bool(expected) and hmac.compare_digest(expected.encode(), given.encode())
            if repository:
                repository["served" if good else "refused"] += 1
        return good

    def read_into(self, body):
        """The request's body, however its length is told; its size, or nothing if it is too long."""
        if self.headers["transfer-encoding"]:
            size = 0
            while chunk := int(self.rfile.readline().partition(b";")[0], 16):
                size += chunk
                if size > BODY_LIMIT_BYTES:
                    return None
                body.write(self.rfile.read(chunk))
                self.rfile.readline()
            self.rfile.readline()
            return size
        size = int(self.headers["content-length"] or 0)
        if size > BODY_LIMIT_BYTES:
            return None
        body.write(self.rfile.read(size))
        return size

    def run_backend(self, url, size, body):
        """The request as RFC 3875 hands it over, and the answer as it comes back."""
        variables = {
            "GIT_PROJECT_ROOT": ROOT,
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "dana",
            "REMOTE_ADDR": self.client_address[0],
            "REQUEST_METHOD": self.command,
            "PATH_INFO": urllib.parse.unquote(url.path),
            "QUERY_STRING": url.query,
            "CONTENT_TYPE": self.headers["content-type"] or "",
            "CONTENT_LENGTH": str(size),
            "HTTP_CONTENT_ENCODING": self.headers["content-encoding"] or "",
            "GIT_PROTOCOL": self.headers["git-protocol"] or "",
        }
        # A real file: what is spooled in memory has no descriptor to hand over.
        body.rollover()
        backend = subprocess.Popen(
            ["git", "http-backend"], env=ENVIRONMENT | variables, stdin=body.fileno(), stdout=subprocess.PIPE
        )
        with backend:
            self.hand_back(backend.stdout)

    def hand_back(self, output):
        head = iter(lambda: output.readline().rstrip(b"\r\n").decode(), "")
        headers = [tuple(line.split(": ", 1)) for line in head]
        status = dict(headers).get("Status", "200 OK")
        self.send_response(int(status.partition(" ")[0]))
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("connection", "close")
        self.end_headers()
        shutil.copyfileobj(output, self.wfile)


def listen(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


Handler.protocol_version = "HTTP/1.0"
os.makedirs(ROOT)
print(json.dumps({"base": listen(Git), "admin": listen(Control)}), flush=True)
# Whoever started this holds the other end: it ends with them, however they end.
sys.stdin.buffer.read()
