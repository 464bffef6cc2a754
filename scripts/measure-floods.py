#!/usr/bin/env python3
"""Measures what docs/PERFORMANCE.md says of floods over HTTP/2: the p99 of a client that does not take part.

  measure-floods.py [KIND...]    resets settings pings continuations window_updates empty_data; connections; by default all

For each kind, ROUNDS times: SECONDS without it and SECONDS with it, in turns, while a client of HTTP/1.1 asks RATE times a second. CLIENTS
connections flood, each as fast as the program takes it, and make another one as soon as theirs is ended. `connections` makes them as fast and
does nothing on them but one request: what the making alone costs. The program has core 0, all others the rest; those who flood are the
last to get time there. TIDEGATE and LOAD name the programs; by default those of target/release. Loopback only; wants root for priorities.
"""
import json, os, socket, subprocess, sys, tempfile, time

TIDEGATE = os.environ.get("TIDEGATE", "target/release/tidegate")
LOAD = os.environ.get("LOAD", "target/release/tidegate-load")
RATE, CLIENTS = os.environ.get("RATE", "3000"), int(os.environ.get("CLIENTS", "8"))
SECONDS, ROUNDS = int(os.environ.get("SECONDS_EACH", "3")), int(os.environ.get("ROUNDS", "2"))
OTHERS = ",".join(str(core) for core in range(1, os.cpu_count())) or "0"
STARTED, DIRECTORY = [], tempfile.mkdtemp(prefix="measure-floods-")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


# GET http://a/ of the static table, and the host as it is.
FIELDS = b"\x82\x86\x84\x41\x01a"
ENDS, WHOLE = 4, 5


def flood(kind):
    """What is sent on one connection: more than any of them may."""
    streams = range(1, 40_000, 2)
    if kind == "resets":
        return b"".join(frame(1, WHOLE, n, FIELDS) + frame(3, 0, n, b"\0\0\0\x08") for n in streams)
    if kind == "settings":
        return frame(4, 0, 0) * 40_000
    if kind == "pings":
        return frame(6, 0, 0, bytes(8)) * 40_000
    if kind == "continuations":
        return frame(1, 1, 1, FIELDS) + frame(9, 0, 1, b"\0\x01x\x01y") * 40_000
    if kind == "window_updates":
        return frame(8, 0, 0, b"\0\0\0\x01") * 60_000
    if kind == "empty_data":
        return frame(1, ENDS, 1, b"\x83" + FIELDS[1:]) + frame(0, 0, 1) * 40_000
    assert kind == "connections", kind
    return frame(1, WHOLE, 1, FIELDS)


def attack(kind, port):
    """Never ends: floods connection after connection, and tells how many there were."""
    bytes_of = PREFACE + flood(kind)
    made = 0
    until = time.time() + SECONDS
    while time.time() < until:
        with socket.create_connection(("127.0.0.1", port), 5) as wire:
            try:
                if kind == "connections":
                    wire.sendall(bytes_of)
                    wire.recv(65_536)
                else:
                    wire.sendall(bytes_of)
                    while wire.recv(65_536):
                        pass
            except OSError:
                pass
        made += 1
    print(made)


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(cores, nice, *arguments, **more):
    command = ["taskset", "-c", cores, "nice", "-n", str(nice), *arguments]
    STARTED.append(subprocess.Popen(command, **{"stderr": subprocess.DEVNULL, **more}))
    return STARTED[-1]


def ready(number):
    for _ in range(500):
        try:
            return socket.create_connection(("127.0.0.1", number), 1).close()
        except OSError:
            time.sleep(0.01)
    sys.exit(f"nothing listens on {number}")


def serve():
    origin, web, admin = port(), port(), port()
    with open(f"{DIRECTORY}/nginx.conf", "w") as file:
        file.write(
            f"daemon off; master_process off; pid {DIRECTORY}/nginx.pid; error_log /dev/null; events {{ }}\n"
            f"http {{ access_log off; keepalive_requests 1000000000; server {{ listen 127.0.0.1:{origin}; location / {{ return 200 'x'; }} }} }}\n"
        )
    start(OTHERS, -10, "nginx", "-p", DIRECTORY, "-c", f"{DIRECTORY}/nginx.conf")
    with open(f"{DIRECTORY}/tidegate.toml", "w") as file:
        file.write(
            f'global.cores = [0]\nadmin.bind = ["127.0.0.1:{admin}"]\nfrontends.web.default_backend = "app"\n'
            f'frontends.web.bind = [{{ address = "127.0.0.1:{web}", protocols = ["h2", "http/1.1"] }}]\n'
            f'backends.app.servers.s1 = "127.0.0.1:{origin}"\n'
        )
    start("0", 0, TIDEGATE, "run", "--config", f"{DIRECTORY}/tidegate.toml")
    ready(origin), ready(web)
    return web


def measure(web, kind=None):
    floods = []
    if kind:
        clients = range(CLIENTS)
        floods = [start(OTHERS, 19, sys.executable, __file__, "attack", kind, str(web), stdout=subprocess.PIPE, text=True) for _ in clients]
        time.sleep(0.5)
    run = start(
        OTHERS, -15, LOAD, "run", "--target", f"127.0.0.1:{web}", "--path", "/", "--expect-bytes", "1", "--json", "--rate", RATE,
        "--connections", "32", "--warmup", "500ms", "--duration", f"{SECONDS - 1}s", stdout=subprocess.PIPE, text=True,
    )
    figures = json.loads(run.communicate()[0])
    made = sum(int(flood.communicate()[0] or 0) for flood in floods)
    return figures, made


def main(kinds):
    web = serve()
    print("| flood | p50 without | p99 without | p50 with | p99 with | p99 | connections a second |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind in kinds:
        pairs = [(measure(web)[0], *measure(web, kind)) for _ in range(ROUNDS)]
        us = lambda figures, at: figures["latency_us"][at]
        median = lambda values: sorted(values)[len(values) // 2]
        alone = [median([us(pair[0], at) for pair in pairs]) for at in ("p50", "p99")]
        beside = [median([us(pair[1], at) for pair in pairs]) for at in ("p50", "p99")]
        made = sum(pair[2] for pair in pairs) / (ROUNDS * SECONDS)
        errors = sum(pair[1].get("errors", 0) if isinstance(pair[1].get("errors", 0), int) else 0 for pair in pairs)
        print(f"| {kind} | {alone[0]} | {alone[1]} | {beside[0]} | {beside[1]} | {beside[1] / alone[1]:.2f} × | {made:.0f} |", f"errors {errors}" * (errors > 0), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["attack"]:
        attack(sys.argv[2], int(sys.argv[3]))
        sys.exit()
    try:
        main(sys.argv[1:] or "connections resets settings pings continuations window_updates empty_data".split())
    finally:
        for process in STARTED:
            process.kill()
            process.wait()
