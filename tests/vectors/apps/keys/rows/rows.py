"""Adds a row to PostgreSQL for each form that it gets and answers once that is committed; shows all rows in their order."""

import http.server
import json
import os
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


class Rows(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"rows": rows("SELECT text FROM rows ORDER BY id")})

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
