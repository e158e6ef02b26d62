"""Passes connections to a port on to a unix socket of the guest: `relay.py PORT SOCKET`."""
import socket
import sys
import threading


def passes(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        target.close()


def serves(client, path):
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(path)
    except OSError as error:
        client.sendall(f"HTTP/1.1 502 No socket\r\n\r\n{error.strerror}".encode())
        client.close()
        return
    threading.Thread(target=passes, args=(client, server), daemon=True).start()
    passes(server, client)
    client.close()


listener = socket.create_server(("0.0.0.0", int(sys.argv[1])))
while True:
    threading.Thread(target=serves, args=(listener.accept()[0], sys.argv[2]), daemon=True).start()
