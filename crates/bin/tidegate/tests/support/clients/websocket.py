"""A WebSocket server, or clients of one over TLS: of HTTP/1.1 by `websockets`, of HTTP/2 (RFC 8441) by `h2` and `wsproto`.

Arguments: `serve`, which prints its port; or `http1` or `http2`, name, port, file of the authority."""
import asyncio
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import websockets
from wsproto.frame_protocol import FrameProtocol

LENGTHS = (1, 125, 126, 65_535, 65_536, 300_000)


async def serve():
    async def echo(connection):
        try:
            async for message in connection:
                await connection.send(message)
        except websockets.ConnectionClosed:
            pass

    async with websockets.serve(echo, "127.0.0.1", 0) as server:
        print(f"port={server.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.Future()


async def http1(name, port, context):
    address = f"wss://{name}:{port}/chat"
    async with websockets.connect(address, host="127.0.0.1", port=port, ssl=context) as connection:
        for length in LENGTHS:
            await connection.send("x" * length)
            assert await connection.recv() == "x" * length


def http2(name, port, context):
    context.set_alpn_protocols(["h2"])
    wire = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname=name)
    assert wire.selected_alpn_protocol() == "h2"
    settings = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
    connection = h2.connection.H2Connection(settings)
    connection.initiate_connection()
    wire.sendall(connection.data_to_send())

    def events():
        received = wire.recv(65_536)
        assert received, "the connection has ended"
        happened = connection.receive_data(received)
        wire.sendall(connection.data_to_send())
        return happened

    while not any(isinstance(event, h2.events.RemoteSettingsChanged) for event in events()):
        pass
    assert connection.remote_settings.enable_connect_protocol == 1
    fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/chat"),
        (":authority", name),
        ("sec-websocket-version", "13"),
    ]
    connection.send_headers(1, fields)
    wire.sendall(connection.data_to_send())
    frames = FrameProtocol(client=True, extensions=[])
    message = b"over a stream " * 500
    echoed = b""
    while len(echoed) < len(message):
        for event in events():
            if isinstance(event, h2.events.ResponseReceived):
                assert dict(event.headers)[":status"] == "200", event.headers
                connection.send_data(1, bytes(frames.send_data(message, True)))
            elif isinstance(event, h2.events.DataReceived):
                connection.acknowledge_received_data(event.flow_controlled_length, 1)
                frames.receive_bytes(event.data)
                echoed += b"".join(bytes(frame.payload) for frame in frames.received_frames())
            else:
                assert not isinstance(event, h2.events.StreamReset), event
        wire.sendall(connection.data_to_send())
    assert echoed == message


if sys.argv[1] == "serve":
    asyncio.run(serve())
else:
    kind, name, port, authority = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority)
    if kind == "http1":
        asyncio.run(http1(name, int(port), context))
    else:
        http2(name, int(port), context)
    print("echoed")
