"""Shows the guest's processes, signals one, and says what it sees itself. It shares the guest's process ids: the app's
measured file allows what that takes."""

import http.server
import json
import os
import signal
import urllib.parse

import sees


def process(pid):
    """One process of the guest: its number there and in its own namespace, its name and its control group."""
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    with open(f"/proc/{pid}/cgroup") as file:
        group = file.read().strip()
    inside = status["NSpid"].split()
    return {
        "pid": pid, "parent": int(status["PPid"]), "name": status["Name"], "inside": int(inside[-1]),
        "contained": len(inside) > 1, "group": group, "uid": int(status["Uid"].split()[0]), "state": status["State"][0],
    }


def processes():
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            yield process(int(name))
        except (FileNotFoundError, ProcessLookupError):
            pass  # It has ended meanwhile.


def read(path):
    """Where a link leads, or the text of a file; parameters of the network are the guest's."""
    if path.startswith("/proc/sys/net/"):
        return sees.in_child(lambda: sees.of_guests_network(path))
    return os.readlink(path) if os.path.islink(path) else open(path).read()


def answer(path, query):
    if path == "/read":
        return sees.outcome(lambda: read(query["path"][0]))
    if path == "/sees":
        return sees.report(["/", "/dev"])
    if path == "/signal":
        os.kill(int(query["pid"][0]), signal.Signals[query["signal"][0]])
    return list(processes())


class Chaos(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        body = json.dumps(answer(url.path, dict(urllib.parse.parse_qs(url.query)))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer(("0.0.0.0", 8083), Chaos).serve_forever()
