"""Speaks WebSocket or gRPC to one address under a name: `speak.py websocket|held|grpc PORT NAME CA-FILE`.
Prints what came back; `held` sends each line that it is given, over one connection."""

import socket
import ssl
import sys

kind, port, name, authority = sys.argv[1:]


def connected():
    from websockets.sync.client import connect

    context = ssl.create_default_context(cafile=authority)
    reached = socket.create_connection(("127.0.0.1", int(port)))
    # The other side starts under emulation.
    return connect(f"wss://{name}/", sock=reached, ssl=context, server_hostname=name, proxy=None, open_timeout=60)


def held():
    with connected() as connection:
        for line in sys.stdin:
            connection.send(line)
            print(connection.recv(timeout=60), end="", flush=True)


def websocket():
    with connected() as connection:
        for message in ("one", b"two" * 40000):
            connection.send(message)
            assert connection.recv(timeout=60) == message
        print("echoed over WebSocket")


def grpc_calls():
    import grpc

    with open(authority, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options = [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name), ("grpc.enable_http_proxy", 0)]
    with grpc.secure_channel(f"ipv4:127.0.0.1:{port}", credentials, options) as channel:
        echo = channel.unary_unary("/speaker.Speaker/Echo")
        assert echo(b"one" * 20000, timeout=60) == b"one" * 20000
        echoes = channel.stream_stream("/speaker.Speaker/Echoes")
        assert list(echoes(iter([b"a", b"b", b"c"]), timeout=60)) == [b"a", b"b", b"c"]
        print("echoed over gRPC")


{"websocket": websocket, "held": held, "grpc": grpc_calls}[kind]()
