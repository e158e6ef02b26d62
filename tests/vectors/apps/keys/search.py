"""Looks for bytes where only their owner may have them: files that anybody may read, arguments and environments of
processes, the kernel's log; and tries to leave a core file. `search.py NAME PORT ROOT`."""

import ctypes
import http.server
import json
import os
import resource
import stat
import sys
import urllib.parse

NAME, PORT, ROOT = sys.argv[1], int(sys.argv[2]), sys.argv[3]
# What comes with an image is no secret, and much to read; the kernel's own file systems are looked at by process.
LEFT_OUT = ("/proc", "/sys", "/usr", "/var/lib/dstyx/images")
LARGEST_BYTES = 4 << 20
ALL_OF_THE_LOG, SIZE_OF_THE_LOG = 3, 10


def content(path):
    try:
        with open(path, "rb") as file:
            return file.read(LARGEST_BYTES)
    except OSError:
        return None


def readable_by_anybody(status):
    needed = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else stat.S_IROTH
    return status.st_mode & needed == needed


def files():
    """Regular files that anybody may read, by directories that anybody may look into."""
    directories = [ROOT]
    while directories:
        try:
            entries = list(os.scandir(directories.pop()))
        except OSError:
            continue
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            place = "/" + os.path.relpath(entry.path, ROOT)
            if place in LEFT_OUT or not readable_by_anybody(status):
                continue
            if stat.S_ISDIR(status.st_mode):
                directories.append(entry.path)
            elif stat.S_ISREG(status.st_mode):
                yield entry.path


def kernel_log():
    libc = ctypes.CDLL(None)
    buffer = ctypes.create_string_buffer(max(libc.klogctl(SIZE_OF_THE_LOG, None, 0), 0) or 1)
    return buffer.raw[:max(libc.klogctl(ALL_OF_THE_LOG, buffer, len(buffer)), 0)]


def leaves_a_core():
    """Whether the kernel dumps a process that may leave a core file of any size."""
    child = os.fork()
    if child == 0:
        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except (OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (most, most))
        os.abort()
    return os.WCOREDUMP(os.waitpid(child, 0)[1])


def search(markers):
    holds = lambda found: found is not None and any(marker in found for marker in markers)
    looked_at, report = 0, {"files": [], "arguments": [], "environments": []}
    for path in files():
        looked_at += 1
        if holds(content(path)):
            report["files"].append(path)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        group = (content(f"/proc/{pid}/cgroup") or b"").decode().strip()
        for kind, file in (("arguments", "cmdline"), ("environments", "environ")):
            if holds(content(f"/proc/{pid}/{file}")):
                report[kind].append(group)
    log = kernel_log()
    return report | {
        "looked_at": looked_at, "log": len(log), "in_log": holds(log), "core": leaves_a_core(),
        "core_pattern": os.path.exists("/proc/sys/kernel/core_pattern"),
    }


class Search(http.server.BaseHTTPRequestHandler):
    """`/find?MARKER&MARKER`, each backwards in hexadecimal digits, so that no log of the request has it."""

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        body = f"search {NAME}"
        if url.path == "/find":
            body = json.dumps(search([bytes.fromhex(marker)[::-1] for marker in url.query.split("&")]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())


with open(os.path.join(ROOT, "run/planted"), "w") as planted:
    # What a control run must find.
    planted.write("planted: " + "-".join(["a", "marker", "for", "anybody"]))
http.server.HTTPServer(("0.0.0.0", PORT), Search).serve_forever()
