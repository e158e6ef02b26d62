"""Keeps what it is given on a volume of its own: `PUT /NAME` writes it and makes it last, `GET /NAME` gives it back.
`keeper.py PORT DIRECTORY`."""
import http.server
import os
import sys


class Keeper(http.server.BaseHTTPRequestHandler):
    def place(self):
        return os.path.join(sys.argv[2], os.path.basename(self.path))

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        place = self.place()
        with open(place + ".new", "wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        os.rename(place + ".new", place)
        directory = os.open(sys.argv[2], os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        self.answer(201, b"")

    def do_GET(self):
        try:
            with open(self.place(), "rb") as file:
                self.answer(200, file.read())
        except OSError:
            self.answer(404, b"")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer(("0.0.0.0", int(sys.argv[1])), Keeper).serve_forever()
