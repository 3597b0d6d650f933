"""Proves that this is git's own server and that it is strict: clone and push with the credential, 401 without.

A server that let anybody in would let every test pass that says "the right credential arrived". Arguments: the
server's address and its control port's.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request

BASE, ADMIN = sys.argv[1:3]
NOBODY = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}


def control(path, value=None):
    body = None if value is None else json.dumps(value).encode()
    return json.load(urllib.request.urlopen(urllib.request.Request(ADMIN + path, body)))


def git(folder, *words):
    name = ["-c", "user.name=Dana", "-c", "user.email=dana@example.com"]
    done = subprocess.run(["git", *name, *words], cwd=folder, env=NOBODY | {"HOME": folder}, capture_output=True, text=True)
    return done.returncode == 0, done.stderr


def address(credential):
    return f"{BASE.replace('//', f'//x-access-token:{credential}@')}/smoke/site.git"


control("/repositories", {"owner": "smoke", "name": "site", "credential": "right"})
with tempfile.TemporaryDirectory() as folder:
    for credential in ["wrong", ""]:
        cloned, said = git(folder, "clone", "--quiet", address(credential), f"as-{credential}")
        assert not cloned and ("Authentication failed" in said or "401" in said or "could not read" in said), said
    assert control("/repository?name=smoke/site")["served"] == 0
    cloned, said = git(folder, "clone", "--quiet", address("right"), "site")
    assert cloned, said
    for words in [["commit", "--quiet", "--allow-empty", "-m", "second"], ["push", "--quiet", "origin", "main"]]:
        done, said = git(os.path.join(folder, "site"), *words)
        assert done, said
told = control("/repository?name=smoke/site")
assert told["subjects"] == ["second", "first"] and told["refused"] >= 2 and told["served"] >= 4, told
