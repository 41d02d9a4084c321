"""A WebSocket (RFC 6455) in front of a broker, for Debian's mosquitto has none: what comes
in binary frames goes on over TCP, and back. With a TLS context it is wss://."""

import base64
import hashlib
import socket
import threading

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def exactly(stream, count):
    data = stream.read(count)
    if data is None or len(data) < count:
        raise EOFError
    return data


def read_frame(stream):
    first, second = exactly(stream, 2)
    length = second & 0x7F
    if length == 126:
        length = int.from_bytes(exactly(stream, 2), "big")
    elif length == 127:
        length = int.from_bytes(exactly(stream, 8), "big")
    if not second & 0x80:
        raise ValueError("5.1: a client masks its frames")
    mask = exactly(stream, 4)
    data = exactly(stream, length)
    return first & 0x0F, bytes(c ^ mask[i % 4] for i, c in enumerate(data))


def frame(opcode, data):
    head = bytes([0x80 | opcode])
    if len(data) < 126:
        head += bytes([len(data)])
    elif len(data) < 65536:
        head += bytes([126]) + len(data).to_bytes(2, "big")
    else:
        head += bytes([127]) + len(data).to_bytes(8, "big")
    return head + data


def shake_hands(client, stream):
    """Returns the path that was asked for."""
    request = stream.readline().decode().split()
    fields = {}
    while line := stream.readline().strip():
        name, value = line.split(b":", 1)
        fields[name.strip().lower()] = value.strip()
    if fields[b"sec-websocket-protocol"] not in (b"mqtt", b"mqttv3.1"):
        raise ValueError("MQTT 5, 6.0: the subprotocol is mqtt")
    accept = base64.b64encode(hashlib.sha1(fields[b"sec-websocket-key"] + GUID).digest())
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Protocol: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n"
        % (fields[b"sec-websocket-protocol"], accept)
    )
    return request[1]


class WebSocket:
    def __init__(self, broker_port, tls=None):
        self.broker_port = broker_port
        self.tls = tls
        self.paths = []  # one for each connection
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        broker = None
        try:
            if self.tls is not None:
                client = self.tls.wrap_socket(client, server_side=True)
            stream = client.makefile("rb")
            self.paths.append(shake_hands(client, stream))
            broker = socket.create_connection(("127.0.0.1", self.broker_port))
            threading.Thread(target=self._back, args=(broker, client), daemon=True).start()
            while True:
                opcode, data = read_frame(stream)
                if opcode == PING:
                    client.sendall(frame(PONG, data))
                elif opcode == CLOSE:
                    break
                elif opcode in (BINARY, CONTINUATION):
                    broker.sendall(data)
        except (OSError, EOFError):
            pass
        finally:
            client.close()
            if broker is not None:
                broker.close()

    @staticmethod
    def _back(broker, client):
        try:
            while data := broker.recv(4096):
                client.sendall(frame(BINARY, data))
            client.sendall(frame(CLOSE, b""))
        except OSError:
            pass
