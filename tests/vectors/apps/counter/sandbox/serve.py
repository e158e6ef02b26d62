"""Says over HTTP what this container sees, and uses up what it may use when it is told to."""

import errno
import http.server
import json
import os
import signal
import sys
import time

import sees

PORT = int(sys.argv[1])
PLACES = sys.argv[2:]


def processes():
    """How many processes can be started beside this one, and the error that ends it."""
    started = []
    try:
        while True:
            child = os.fork()
            if child == 0:
                signal.pause()
            started.append(child)
    except OSError as error:
        answer = {"started": len(started), "error": errno.errorcode[error.errno]}
    for child in started:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return answer


def memory():
    """More than there is, if nobody minds."""
    return len(b"x" * (1 << 30))


def pages():
    """All memory that there is, in pages that no process has mapped."""
    file = os.memfd_create("pages")
    chunk = b"x" * (1 << 20)
    while True:
        os.write(file, chunk)


def storm():
    """Has a process start others without end, which stay."""
    if os.fork() == 0:
        while True:
            try:
                if os.fork() == 0:
                    signal.pause()
            except OSError:
                time.sleep(0.1)  # There may be no more for a while.
    return "begun"


WORK = {"/": lambda: sees.report(PLACES), "/processes": processes, "/memory": memory, "/pages": pages, "/storm": storm}


class Sandbox(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(WORK[self.path]()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer(("0.0.0.0", PORT), Sandbox).serve_forever()
