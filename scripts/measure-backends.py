#!/usr/bin/env python3
"""Measures what docs/PERFORMANCE.md says of backends, with the release build, nginx and HAProxy.

  measure-backends.py death [KILL|STOP] [RATE]    a server of five dies under load
  measure-backends.py limit [SECONDS]             max_connections = 10 and 500 clients
  measure-backends.py slow [RATE] [SECONDS]       one slow server of five, by algorithm

TIDEGATE and LOAD name the programs; by default those of target/release. Loopback only.
"""
import asyncio, collections, json, os, random, re, signal, socket, subprocess, sys, tempfile, threading, time

TIDEGATE = os.environ.get("TIDEGATE", "target/release/tidegate")
LOAD = os.environ.get("LOAD", "target/release/tidegate-load")
STARTED, DIRECTORY = [], tempfile.mkdtemp(prefix="measure-backends-")


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(*args, **more):
    process = subprocess.Popen(args, **{"stderr": subprocess.DEVNULL, **more})
    STARTED.append(process)
    return process


def ready(number, host="127.0.0.1"):
    for _ in range(500):
        try:
            return socket.create_connection((host, number), 1).close()
        except OSError:
            time.sleep(0.01)
    sys.exit(f"nothing listens on {number}")


def nginx(inside, http="", listen=None):
    number = port()
    path = f"{DIRECTORY}/{number}.conf"
    with open(path, "w") as file:
        file.write(
            f"daemon off; master_process off; pid {DIRECTORY}/{number}.pid; error_log /dev/null;\n"
            "events { worker_connections 4096; }\n"
            f"http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {DIRECTORY}/{number}; {http}\n"
            f"server {{ listen {listen or '127.0.0.1'}:{number} backlog=4096; {inside} }} }}\n"
        )
    process = start("nginx", "-p", DIRECTORY, "-c", path)
    ready(number)
    return process, number


def tidegate(servers, lines, log=False, per_server=""):
    web, admin = port(), port()
    text = (
        f'global.cores = [0, 1]\nadmin.bind = ["127.0.0.1:{admin}"]\nfrontends.web.bind = ["127.0.0.1:{web}"]\n'
        'frontends.web.default_backend = "app"\n'
    )
    text += "".join(f'backends.app.servers.s{n} = {{ address = "{s}"{per_server} }}\n' for n, s in enumerate(servers, 1)) + lines
    if log:
        text += f'global.log.to = "{DIRECTORY}/access.log"\n'
        text += "frontends.web.log_format = '{started_at_us} {total_us} {status} {server} {retries} {termination}'\n"
    path = f"{DIRECTORY}/tidegate.toml"
    with open(path, "w") as file:
        file.write(text)
    events = open(f"{DIRECTORY}/events.log", "w")
    process = start(TIDEGATE, "run", "--config", path, stdout=events, stderr=events)
    ready(web)
    return process, web, admin


def load(number, *more):
    return start(LOAD, "run", "--target", f"127.0.0.1:{number}", "--path", "/", "--expect-bytes", "1", "--json", *more, stdout=subprocess.PIPE, text=True)


def events(name):
    with open(f"{DIRECTORY}/events.log") as file:
        return [line.strip() for line in file if name in line]


def stop(*processes):
    for process in processes:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def death(how="KILL", rate="20000"):
    servers = [nginx("location / { return 200 'x'; }") for _ in range(5)]
    _, web, _ = tidegate(
        [f"127.0.0.1:{n}" for _, n in servers],
        'backends.app.health_check = { type = "http", interval = "200ms", timeout = "100ms", rise = 2, fall = 3 }\n'
        'backends.app.retry_on = ["connect_failure", "empty_response", "junk_response", "reset", "timeout"]\n'
        'backends.app.timeouts.per_try = "100ms"\nbackends.app.retry_budget = { percent = 100 }\n',
        log=True,
    )
    run = load(web, "--rate", rate, "--connections", "256", "--warmup", "2s", "--duration", "5s")
    time.sleep(4)
    died = time.time()
    servers[4][0].send_signal(getattr(signal, f"SIG{how}"))
    print("generator:", run.communicate()[0][:1500])
    time.sleep(1)
    ended, bad, last, retried = collections.Counter(), collections.Counter(), 0, 0
    with open(f"{DIRECTORY}/access.log") as file:
        for line in file:
            begun, took, status, server, retries, why = line.split()
            at = (int(begun) + int(took)) / 1e6 - died
            ended[int(at * 100 // 1)] += 1
            if status != "200":
                bad[status, why] += 1
            if int(retries):
                retried += 1
                last = max(last, at)
    print(f"{how} at {rate}/s: retried {retried}, the last {last * 1000:.0f} ms after; not 200: {dict(bad)}")
    print("completed by 10 ms from 100 ms before:", [ended[n] for n in range(-10, 100)])
    before = [ended[n] for n in range(-100, -1)]
    print("before by 10 ms: least", min(before), "mean", sum(before) / len(before))
    for length in (5, 10):
        sums = [sum(ended[n + i] for i in range(length)) for n in range(0, 100, length)]
        print(f"by {length * 10} ms after:", sums)
    print(*events("server_down"), f"died {died:.3f}", sep="\n")


def limit(seconds="60"):
    _, number = nginx("location / { return 200 'x'; }")
    # Connections of the load balancer as the kernel counts them at the server's port.
    def count(stopped, seen):
        here = f":{number:04X}"
        while not stopped.is_set():
            with open("/proc/net/tcp") as file:
                lines = [line.split()[1:4] for line in file.readlines()[1:]]
            seen[sum(a.endswith(here) and state == "01" for a, _, state in lines)] += 1
            time.sleep(0.05)

    def one(name, web):
        stopped, seen = threading.Event(), collections.Counter()
        thread = threading.Thread(target=count, args=(stopped, seen))
        thread.start()
        run = subprocess.run(
            ["h2load", "--h1", "-c", "500", "-t", "1", "-D", seconds, "--warm-up-time=1", f"http://127.0.0.1:{web}/"],
            capture_output=True, text=True,
        )
        stopped.set()
        thread.join()
        print(name, *re.findall(r"(?:finished in|requests:|status codes:|time for request:).*", run.stdout), sep="\n  ")
        print("  connections at the server, samples:", dict(sorted(seen.items())), flush=True)

    process, web, _ = tidegate([f"127.0.0.1:{number}"], "", per_server=", max_connections = 10")
    one("tidegate", web)
    stop(process)
    web = port()
    path = f"{DIRECTORY}/haproxy.cfg"
    with open(path, "w") as file:
        file.write(
            "global\n nbthread 2\n maxconn 4000\ndefaults\n mode http\n timeout client 60s\n timeout server 60s\n timeout connect 5s\n timeout queue 60s\n"
            f"frontend web\n bind 127.0.0.1:{web}\n default_backend app\nbackend app\n http-reuse always\n server s1 127.0.0.1:{number} maxconn 10\n"
        )
    start("haproxy", "-db", "-f", path)
    ready(web)
    one("haproxy", web)


def origins(numbers, slow):
    """Servers that take 5 ms and an exponentially distributed 5 ms more, the last one ten times as long."""
    async def serve(reader, writer, factor):
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(factor * (0.005 + random.expovariate(200)))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def all_of_them():
        for number in numbers:
            factor = 10 if number == slow else 1
            await asyncio.start_server(lambda r, w, f=factor: serve(r, w, f), "127.0.0.1", number, backlog=1024)
        await asyncio.Event().wait()

    asyncio.run(all_of_them())


def slow(rate="1000", seconds="8"):
    numbers = [port() for _ in range(5)]
    start(sys.executable, os.path.abspath(__file__), "origins_of", json.dumps(numbers))
    ready(numbers[-1])
    for algorithm, count in [("round_robin", 4)] + [(a, 5) for a in ("round_robin", "least_conn", "peak_ewma", "prequal")]:
        servers = [f"127.0.0.1:{n}" for n in numbers[:count]]
        process, web, admin = tidegate(servers, f'backends.app.balance = "{algorithm}"\n')
        run = load(web, "--rate", rate, "--connections", "128", "--warmup", "2s", "--duration", f"{seconds}s")
        print(algorithm, "of", count, run.communicate()[0][:1500], flush=True)
        stop(process)


def origins_of(numbers):
    numbers = json.loads(numbers)
    origins(numbers, numbers[-1])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        globals()[sys.argv[1]](*sys.argv[2:])
    finally:
        stop(*STARTED)
