"""How the server runs: one process with eight threads, so that what it counts is all there is.

It announces its address as one line of JSON on standard output once it answers, and ends when its standard input
ends: whoever started it holds the other end, so however that process ends, no server is left behind.
"""

import json
import os
import signal
import sys
import threading

bind = "127.0.0.1:0"
wsgi_app = "wsgi:application"
worker_class = "gthread"
workers = 1
threads = 8
# Longer than any client here keeps a connection idle: an idle close never races a request.
keepalive = 300
timeout = 120
graceful_timeout = 1
loglevel = "warning"
control_socket_disable = True


def on_starting(_server):
    """Ends this process when standard input does."""

    def wait_for_the_end():
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_the_end, daemon=True).start()


def post_worker_init(worker):
    """Says where the server answers."""
    host, port = worker.sockets[0].getsockname()
    sys.stdout.write(json.dumps({"base": f"http://{host}:{port}"}) + "\n")
    sys.stdout.flush()
