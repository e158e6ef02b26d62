"""Counts each visit in redis, stores it in PostgreSQL, and says both numbers."""

import http.server
import json
import os

import psycopg2
import redis

PASSWORD = open("/run/secrets/password").read()
counts = redis.Redis(host=os.environ["REDIS_HOST"], socket_timeout=20, retry_on_timeout=True)


def stored(statement, *values):
    """First field of the first row; a connection a call, so that a database may come and go."""
    connection = psycopg2.connect(os.environ["DATABASE"], password=PASSWORD)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchone()[0]
    finally:
        connection.close()


class Visits(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            if self.path == "/healthy":
                answer = {"redis": counts.ping(), "db": stored("SELECT 1")}
            else:
                counted = counts.incr("visits")
                last = stored("INSERT INTO visits (counted) VALUES (%s) RETURNING id", counted)
                answer = {"counted": counted, "stored": stored("SELECT count(*) FROM visits"), "last": last}
            self.answer(200, answer)
        except (redis.RedisError, psycopg2.Error) as error:
            self.answer(503, {"error": str(error)})

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Visits).serve_forever()
