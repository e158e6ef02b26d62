"""Writes a file of noise and tells how much of it can be read: blocks as written, blocks that fail, blocks with other bytes."""

import errno
import http.server
import json
import os

PATH = "/kept/file"
BLOCK = 4096
BLOCKS = 4096

written = []


def write():
    written[:] = [os.urandom(BLOCK) for _ in range(BLOCKS)]
    with open(PATH, "wb") as file:
        file.writelines(written)
        file.flush()
        os.fsync(file.fileno())


def read():
    with open("/proc/sys/vm/drop_caches", "w") as caches:
        caches.write("3")
    count = {"good": 0, "failed": 0, "other": 0}
    file = os.open(PATH, os.O_RDONLY)
    for number, expected in enumerate(written):
        try:
            found = os.pread(file, BLOCK, number * BLOCK)
            count["good" if found == expected else "other"] += 1
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            count["failed"] += 1
    os.close(file)
    return count


class Keeper(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/write":
            write()
        body = json.dumps(read() if written else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer(("0.0.0.0", 8080), Keeper).serve_forever()
