"""Ends well if the program beside answers that all is well; without http.client, which takes seconds to import when emulated."""

import socket

with socket.create_connection(("127.0.0.1", 8000), timeout=25) as connection:
    connection.sendall(b"GET /healthy HTTP/1.0\r\n\r\n")
    status = connection.recv(64)
raise SystemExit(0 if b" 200 " in status else 1)
