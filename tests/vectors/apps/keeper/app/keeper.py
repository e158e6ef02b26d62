"""Writes a file of noise and tells how much of it can be read: blocks as written, blocks that fail, blocks with other bytes."""

import errno
import fcntl
import http.server
import json
import os
import struct

PATH = "/kept/file"
BLOCK = 4096
BLOCKS = 4096
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_NOCOW_FL = 0x80086601, 0x40086602, 0x00800000

written = []
# What the file system said when the directory and the empty file were to have no checksums.
asked = []


def without_checksums(path):
    """What `chattr +C` does; 0, or the error."""
    file = os.open(path, os.O_RDONLY)
    try:
        flags, = struct.unpack("i", fcntl.ioctl(file, FS_IOC_GETFLAGS, struct.pack("i", 0)))
        fcntl.ioctl(file, FS_IOC_SETFLAGS, struct.pack("i", flags | FS_NOCOW_FL))
        return 0
    except OSError as error:
        return error.errno
    finally:
        os.close(file)


def write():
    written[:] = [os.urandom(BLOCK) for _ in range(BLOCKS)]
    asked[:] = [without_checksums(os.path.dirname(PATH))]
    open(PATH, "wb").close()
    asked.append(without_checksums(PATH))
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
        body = json.dumps({**read(), "asked": asked} if written else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer(("0.0.0.0", 8080), Keeper).serve_forever()
