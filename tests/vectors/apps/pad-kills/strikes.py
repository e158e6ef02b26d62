"""Kills what runs programs on Pads, after a time, and looks for bytes in everything that the guest's programs can read.
It shares the guest's process ids and files. `strikes.py PORT`."""

import ctypes
import http.server
import json
import os
import signal
import stat
import sys
import threading
import time
import urllib.parse

ROOT = "/proc/1/root"
# What comes with an image is no secret, and much to read; the kernel's own file systems are looked at by process.
LEFT_OUT = ("/proc", "/sys", "/usr", "/dev", "/var/lib/dstyx/images")
LARGEST_BYTES = 64 << 20
# Longer than any run of the test.
PATIENCE_SECS = 30
ALL_OF_THE_LOG, SIZE_OF_THE_LOG = 3, 10

struck, thread = [], None


def content(path):
    try:
        with open(path, "rb") as file:
            return file.read(LARGEST_BYTES)
    except OSError:
        return b""


def processes():
    """Number of the parent and name of each process."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        name, _, fields = content(f"/proc/{pid}/stat").partition(b" (")[2].rpartition(b") ")
        if fields:
            yield int(pid), int(fields.split()[1]), name.decode()


def pads():
    """The agent, its `pad-runner`, and what that started."""
    everything = list(processes())
    agents = [pid for pid, _, name in everything if name == "guest-agent"]
    serves = lambda pid: content(f"/proc/{pid}/cmdline").split(b"\0")[1:2] == [b"serve"]
    runners = [pid for pid, parent, _ in everything if parent in agents and serves(pid)]
    programs = [pid for pid, parent, _ in everything if parent in runners]
    return {"agent": agents, "runner": runners, "program": programs}


def strike(victim, after, number):
    """Waits, and kills the victims that are there, or the first that come."""
    time.sleep(after)
    until = time.monotonic() + PATIENCE_SECS
    while not struck and time.monotonic() < until:
        for pid in pads()[victim]:
            try:
                os.kill(pid, number)
                struck.append(pid)
            except ProcessLookupError:
                pass  # It has ended meanwhile.
        time.sleep(0.001)


def files():
    directories, seen = [ROOT], set()
    while directories:
        try:
            entries = list(os.scandir(directories.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            place = "/" + os.path.relpath(entry.path, ROOT)
            if place in LEFT_OUT or place.endswith("/usr") or (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            if stat.S_ISDIR(status.st_mode):
                directories.append(entry.path)
            elif stat.S_ISREG(status.st_mode) and status.st_size:
                yield place, entry.path


def kernel_log():
    libc = ctypes.CDLL(None)
    buffer = ctypes.create_string_buffer(max(libc.klogctl(SIZE_OF_THE_LOG, None, 0), 0) or 1)
    return buffer.raw[:max(libc.klogctl(ALL_OF_THE_LOG, buffer, len(buffer)), 0)]


def find(markers):
    holds = lambda found: any(marker in found for marker in markers)
    looked_at, found = 0, []
    for place, path in files():
        looked_at += 1
        if holds(content(path)):
            found.append(place)
    for pid, _, name in list(processes()):
        found += [f"{file} of {name}" for file in ("cmdline", "environ") if holds(content(f"/proc/{pid}/{file}"))]
    log = kernel_log()
    return {"found": found + ["log"] * holds(log), "looked_at": looked_at, "log": len(log),
            "core_pattern": os.path.exists("/proc/sys/kernel/core_pattern")}


class Strikes(http.server.BaseHTTPRequestHandler):
    """`/find?MARKER&MARKER` has each backwards in hexadecimal digits, so that no log of the request has it."""

    def do_GET(self):
        global thread
        url = urllib.parse.urlparse(self.path)
        asked = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/strike":
            struck.clear()
            number = signal.Signals[asked["signal"]]
            thread = threading.Thread(target=strike, args=(asked["victim"], float(asked["after"]), number))
            thread.start()
            return self.answer({})
        if url.path == "/struck":
            # The run has ended: what has not come will not.
            if thread.is_alive() and not struck:
                struck.append(0)
            thread.join()
            return self.answer(struck)
        if url.path == "/find":
            return self.answer(find([bytes.fromhex(marker)[::-1] for marker in url.query.split("&")]))
        return self.answer(pads())

    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer(("0.0.0.0", int(sys.argv[1])), Strikes).serve_forever()
