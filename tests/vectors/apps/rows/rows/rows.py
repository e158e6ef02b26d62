"""Adds a row to PostgreSQL for each form that it gets and answers once that is committed; shows all rows in their order,
and the digest of a key of the app."""

import hashlib
import http.client
import http.server
import json
import os
import socket
import urllib.parse

import psycopg2


def rows(statement, *values):
    """A connection a call; what is read here is committed when this returns."""
    connection = psycopg2.connect(os.environ["DATABASE"])
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS rows (id serial PRIMARY KEY, text text NOT NULL)")
            cursor.execute(statement, values)
            return [text for (text,) in cursor.fetchall()]
    finally:
        connection.close()


class Agent(http.client.HTTPConnection):
    """The guest's agent, at its socket."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/dstack.sock")


def key():
    agent = Agent("dstack")
    wanted = json.dumps({"path": "some/path", "purpose": "some purpose"})
    agent.request("POST", "/GetKey", wanted, {"Content-Type": "application/json"})
    return hashlib.sha256(json.load(agent.getresponse())["key"].encode()).hexdigest()


class Rows(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"rows": rows("SELECT text FROM rows ORDER BY id"), "key": key()})

    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.answer({"added": rows("INSERT INTO rows (text) VALUES (%s) RETURNING text", *form["text"])})

    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer(("0.0.0.0", 8086), Rows).serve_forever()
