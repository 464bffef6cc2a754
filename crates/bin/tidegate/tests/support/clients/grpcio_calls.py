"""A server of gRPC that speaks HTTP/2 in the clear, or a client of it over TLS, both by `grpcio`, with bytes for messages.

Arguments: `serve`, which prints its port; or `call`, target, file of the authority."""
import sys
from concurrent import futures

import grpc


def unary(request, context):
    given = dict(context.invocation_metadata())
    context.set_trailing_metadata((("x-left", "%.0f" % (context.time_remaining() or -1)), ("x-given", given.get("x-mine", "none"))))
    if request == b"missing":
        context.abort(grpc.StatusCode.NOT_FOUND, "none of \u00e9")
    if request == b"late":
        # Until the caller's deadline.
        cancelled = futures.Future()
        context.add_callback(lambda: cancelled.set_result(None))
        cancelled.result(timeout=20)
    return request


def count_down(request, _context):
    for number in range(int(request), 0, -1):
        yield str(number).encode() * 100


def add(requests, _context):
    return str(sum(int(request) for request in requests)).encode()


def echo(requests, _context):
    yield from requests


def serve():
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "CountDown": grpc.unary_stream_rpc_method_handler(count_down),
        "Add": grpc.stream_unary_rpc_method_handler(add),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.Service", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"port={port}", flush=True)
    server.wait_for_termination()


def status_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it was answered")


def call(target, authority):
    with open(authority, "rb") as file:
        trust = grpc.ssl_channel_credentials(file.read())
    with grpc.secure_channel(target, trust) as channel:
        one = channel.unary_unary("/a.Service/Unary")
        answer, ended = one.with_call(b"hello", timeout=30, metadata=(("x-mine", "kept"),))
        left = dict(ended.trailing_metadata())
        assert (answer, ended.code(), left["x-given"]) == (b"hello", grpc.StatusCode.OK, "kept"), left
        assert 20 <= int(left["x-left"]) <= 30, left
        big = b"x" * 3_000_000
        assert one(big, timeout=60) == big

        error = status_of(lambda: one(b"missing", timeout=30))
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "none of \u00e9"), error
        error = status_of(lambda: one(b"late", timeout=0.5))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
        error = status_of(lambda: channel.unary_unary("/a.Service/Nothing")(b"", timeout=30))
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

        numbers = list(channel.unary_stream("/a.Service/CountDown")(b"2000", timeout=60))
        assert len(numbers) == 2_000 and numbers[-1] == b"1" * 100
        total = channel.stream_unary("/a.Service/Add")((str(n).encode() for n in range(2_000)), timeout=60)
        assert total == b"1999000", total

        # Each message is sent when the one before it has come back.
        said = futures.Future()

        def messages():
            nonlocal said
            for number in range(500):
                said = futures.Future()
                yield str(number).encode()
                said.result(timeout=20)

        for number, answer in enumerate(channel.stream_stream("/a.Service/Echo")(messages(), timeout=60)):
            assert answer == str(number).encode()
            said.set_result(None)
        assert number == 499

        # Small calls one after another, and many at once: on one connection, with a PING for each.
        for _ in range(1_000):
            assert one(b"", timeout=30) == b""
        at_once = [one.future(b"x", timeout=60) for _ in range(500)]
        assert all(call.result() == b"x" for call in at_once)
    print("called")


if sys.argv[1] == "serve":
    serve()
else:
    call(*sys.argv[2:])
