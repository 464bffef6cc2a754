#!/usr/bin/env python3
"""Measures what docs/PERFORMANCE.md says of floods over HTTP/2: the p99 of a client that does not take part.

  measure-floods.py [KIND...]    resets settings pings continuations window_updates empty_data; connections; by default all

For each kind, ROUNDS times: SECONDS_EACH without it and as long with it, in turns, while a client of HTTP/1.1 asks RATE times a second.
CLIENTS connections at a time send somewhat more than is allowed, at once, and are then closed and made again, CONNECTIONS a second together.
`connections` makes as many and sends one request on each: what the making alone costs. The CPU time is the program's, over what it is
without. The program has core 0, all others the rest; those who flood have only time there that nobody else wants. TIDEGATE and LOAD name the
programs; by default those of target/release. Loopback only.
"""
import json, os, socket, subprocess, sys, time

from measuring import DIRECTORY, LOAD, STARTED, TIDEGATE, nginx, port, ready, start

RATE, CLIENTS = os.environ.get("RATE", "3000"), int(os.environ.get("CLIENTS", "8"))
CONNECTIONS = int(os.environ.get("CONNECTIONS", "200"))
SECONDS, ROUNDS = int(os.environ.get("SECONDS_EACH", "3")), int(os.environ.get("ROUNDS", "2"))
OTHERS = ",".join(str(core) for core in range(1, os.cpu_count())) or "0"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


# GET http://a/ of the static table, and the host as it is.
FIELDS = b"\x82\x86\x84\x41\x01a"
ENDS, WHOLE = 4, 5


def flood(kind):
    """What is sent on one connection: more than any of them may."""
    streams = range(1, 800, 2)
    if kind == "resets":
        return b"".join(frame(1, WHOLE, n, FIELDS) + frame(3, 0, n, b"\0\0\0\x08") for n in streams)
    if kind == "settings":
        return frame(4, 0, 0) * 300
    if kind == "pings":
        return frame(6, 0, 0, bytes(8)) * 4_000
    if kind == "continuations":
        return frame(1, 1, 1, FIELDS) + frame(9, 0, 1, b"\0\x01x\x01y") * 20
    if kind == "window_updates":
        return frame(8, 0, 0, b"\0\0\0\x01") * 8_000
    if kind == "empty_data":
        return frame(1, ENDS, 1, b"\x83" + FIELDS[1:]) + frame(0, 0, 1) * 300
    assert kind == "connections", kind
    return frame(1, WHOLE, 1, FIELDS)


def attack(kind, port):
    """Floods connection after connection, and tells how many there were."""
    bytes_of = PREFACE + flood(kind)
    made, begun = 0, time.time()
    while time.time() < begun + SECONDS:
        time.sleep(max(0, begun + made * CLIENTS / CONNECTIONS - time.time()))
        with socket.create_connection(("127.0.0.1", port), 5) as wire:
            try:
                wire.sendall(bytes_of)
                # The first answer, and until the end has come or a while after it.
                wire.settimeout(0.02)
                while wire.recv(65_536):
                    pass
            except OSError:
                pass
        made += 1
    print(made)


def on(cores):
    """What a command begins with to run there."""
    return ("taskset", "-c", cores)


def serve():
    web, admin = port(), port()
    _, origin = nginx("location / { return 200 'x'; }", before=on(OTHERS))
    with open(f"{DIRECTORY}/tidegate.toml", "w") as file:
        file.write(
            f'global.cores = [0]\nadmin.bind = ["127.0.0.1:{admin}"]\nfrontends.web.default_backend = "app"\n'
            f'frontends.web.bind = [{{ address = "127.0.0.1:{web}", protocols = ["h2", "http/1.1"] }}]\n'
            f'backends.app.servers.s1 = "127.0.0.1:{origin}"\n'
        )
    program = start(*on("0"), TIDEGATE, "run", "--config", f"{DIRECTORY}/tidegate.toml")
    ready(web)
    return web, program.pid


def cpu_us(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000 // os.sysconf("SC_CLK_TCK")


def measure(web, pid, kind=None):
    floods, before = [], cpu_us(pid)
    if kind:
        clients = range(CLIENTS)
        floods = [start(*on(OTHERS), "chrt", "-i", "0", sys.executable, __file__, "attack", kind, str(web), stdout=subprocess.PIPE, text=True) for _ in clients]
        time.sleep(0.5)
    run = start(
        *on(OTHERS), LOAD, "run", "--target", f"127.0.0.1:{web}", "--path", "/", "--expect-bytes", "1", "--json", "--rate", RATE,
        "--connections", "32", "--warmup", "500ms", "--duration", f"{SECONDS - 1}s", stdout=subprocess.PIPE, text=True,
    )
    figures = json.loads(run.communicate()[0])
    made = sum(int(flood.communicate()[0] or 0) for flood in floods)
    return figures, made, cpu_us(pid) - before


def main(kinds):
    web, pid = serve()
    print("| flood | p50 without, µs | p99 without | p50 with | p99 with | p99 | connections a second | CPU for each, µs |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in kinds:
        pairs = [(measure(web, pid), measure(web, pid, kind)) for _ in range(ROUNDS)]
        us = lambda figures, at: round(figures["latency_us"][at])
        median = lambda values: sorted(values)[len(values) // 2]
        alone = [median([us(pair[0][0], at) for pair in pairs]) for at in ("p50", "p99")]
        beside = [median([us(pair[1][0], at) for pair in pairs]) for at in ("p50", "p99")]
        made = sum(pair[1][1] for pair in pairs)
        spent = sum(pair[1][2] - pair[0][2] for pair in pairs) / max(made, 1)
        ratio, rate = beside[1] / alone[1], made / (ROUNDS * SECONDS)
        print(f"| {kind} | {alone[0]} | {alone[1]} | {beside[0]} | {beside[1]} | {ratio:.2f} × | {rate:.0f} | {spent:.0f} |", flush=True)


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
