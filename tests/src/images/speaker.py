#!/usr/bin/python3
"""Answers in the ways that strangers speak to an app: HTTP, server-sent events, WebSocket and gRPC, each
in the clear and by TLS with the certificate of a domain of its owner's."""

import http.server
import os
import ssl
import threading
from concurrent import futures

import grpc
from websockets.sync.server import serve

CERTIFICATE, KEY = "/certificate.pem", "/key.pem"
NAME = os.environ.get("SPEAKER", "speaker").encode()


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for number in range(3):
                self.wfile.write(b"data: %d\n\n" % number)
                self.wfile.flush()
            return
        body = b"<!doctype html><title>speaker</title><p id=said>" + NAME + b"</p>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def echo(connection):
    for message in connection:
        connection.send(message)


class Calls(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/speaker.Speaker/Echo":
            return grpc.unary_unary_rpc_method_handler(lambda request, _: request)
        if details.method == "/speaker.Speaker/Echoes":
            return grpc.stream_stream_rpc_method_handler(lambda requests, _: requests)
        return None


def tls():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context


def pages(port, context=None):
    server = http.server.ThreadingHTTPServer(("", port), Pages)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever).start()


def sockets(port, context=None):
    server = serve(echo, "0.0.0.0", port, ssl=context)
    threading.Thread(target=server.serve_forever).start()


def calls():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((Calls(),))
    server.add_insecure_port("0.0.0.0:50051")
    with open(CERTIFICATE, "rb") as certificate, open(KEY, "rb") as key:
        pair = (key.read(), certificate.read())
    server.add_secure_port("0.0.0.0:50443", grpc.ssl_server_credentials((pair,)))
    server.start()
    server.wait_for_termination()


pages(8080)
pages(8443, tls())
sockets(8081)
sockets(8444, tls())
calls()
