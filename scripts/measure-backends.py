#!/usr/bin/env python3
"""Measures what docs/PERFORMANCE.md says of backends, with the release build, nginx and HAProxy.

  measure-backends.py death [KILL|STOP] [RATE] [tuned|budget|default]
                                                  a server of five dies under load; with the default budget, or defaults alone
  measure-backends.py limit [SECONDS] [PROXY]     max_connections = 10 and 500 clients; a server that counts its connections
  measure-backends.py slow [RATE] [SECONDS] [FILE]
                                                  one slow server of five, by algorithm: one round, added to FILE
  measure-backends.py slow_plots FILE DIRECTORY   the pictures and the table of the rounds in FILE
  measure-backends.py delivery [SECONDS] [RATE] [BURNERS]
                                                  how soon the shards have a change, beside programs that burn CPU time
  measure-backends.py checks [SECONDS] [SERVERS] [INTERVAL] [RATE]
                                                  the price of checking many servers: latency, CPU time of each thread

TIDEGATE and LOAD name the programs; by default those of target/release. Loopback only.
"""
import asyncio, collections, json, os, random, re, signal, socket, subprocess, sys, time, urllib.request

from measuring import DIRECTORY, LOAD, STARTED, TIDEGATE, nginx, port, ready, start


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


def scrape(admin, family):
    """The samples of a family, by their labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    found = (re.fullmatch(rf"{family}(?:{{(.*)}})? (\S+)", line) for line in lines)
    return {match[1] or "": float(match[2]) for match in found if match}


def threads(process):
    """CPU time of each thread in seconds, by name."""
    used = collections.Counter()
    for task in os.listdir(f"/proc/{process.pid}/task"):
        with open(f"/proc/{process.pid}/task/{task}/comm") as name, open(f"/proc/{process.pid}/task/{task}/schedstat") as file:
            used[name.read().strip()] += int(file.read().split()[0]) / 1e9
    return used


def stop(*processes):
    for process in processes:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


HEALTH = 'backends.app.health_check = { type = "http", interval = "200ms", timeout = "100ms", rise = 2, fall = 3 }\n'
REPEATS = (
    'backends.app.retry_on = ["connect_failure", "empty_response", "junk_response", "reset", "timeout"]\n'
    'backends.app.timeouts.per_try = "100ms"\n'
)


def death(how="KILL", rate="20000", settings="tuned"):
    servers = [nginx("location / { return 200 'x'; }") for _ in range(5)]
    lines = {"tuned": REPEATS + "backends.app.retry_budget = { percent = 100 }\n", "budget": REPEATS, "default": ""}[settings]
    _, web, admin = tidegate([f"127.0.0.1:{n}" for _, n in servers], HEALTH + lines, log=True)
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
    print(f"{how} at {rate}/s, {settings}: retried {retried}, the last {last * 1000:.0f} ms after; not 200: {dict(bad)}")
    print("completed by 10 ms from 100 ms before:", [ended[n] for n in range(-10, 100)])
    before = [ended[n] for n in range(-100, -1)]
    print("before by 10 ms: least", min(before), "mean", sum(before) / len(before))
    for length in (5, 10):
        sums = [sum(ended[n + i] for i in range(length)) for n in range(0, 100, length)]
        print(f"by {length * 10} ms after:", sums)
    print("over the budget:", sum(scrape(admin, "tidegate_backend_retries_over_budget_total").values()))
    print(*events("server_down"), f"died {died:.3f}", sep="\n")


def counting_origin():
    """A server that counts its connections, exactly; what it said last."""
    number, said = port(), f"{DIRECTORY}/origin.log"
    process = start(LOAD, "origin", "--listen", f"127.0.0.1:{number}", "--connections-report", stdout=subprocess.DEVNULL, stderr=open(said, "w"))
    ready(number)

    def counts():
        # It says so once a second, after something has changed.
        time.sleep(2)
        socket.create_connection(("127.0.0.1", number)).close()
        time.sleep(1.2)
        with open(said) as file:
            return file.read().splitlines()[-1]

    return process, number, counts


def limit(seconds="60", who="both"):
    def one(name, run_proxy):
        origin, number, counts = counting_origin()
        process, web = run_proxy(number)
        before = threads(process)
        run = subprocess.run(
            ["h2load", "--h1", "-c", "500", "-t", "1", "-D", seconds, "--warm-up-time=1", f"http://127.0.0.1:{web}/"],
            capture_output=True, text=True,
        )
        print(name, *re.findall(r"(?:finished in|requests:|status codes:|time for request:).*", run.stdout), sep="\n  ")
        print("  CPU s:", {name: round(used, 2) for name, used in (threads(process) - before).items()})
        print("  at the server:", counts(), flush=True)
        stop(process, origin)

    def run_tidegate(number):
        process, web, _ = tidegate([f"127.0.0.1:{number}"], "", per_server=", max_connections = 10")
        return process, web

    def run_haproxy(number):
        web, path = port(), f"{DIRECTORY}/haproxy.cfg"
        with open(path, "w") as file:
            file.write(
                "global\n nbthread 2\n maxconn 4000\ndefaults\n mode http\n timeout client 60s\n timeout server 60s\n timeout connect 5s\n timeout queue 60s\n"
                f"frontend web\n bind 127.0.0.1:{web}\n default_backend app\nbackend app\n http-reuse always\n server s1 127.0.0.1:{number} maxconn 10\n"
            )
        process = start("haproxy", "-db", "-f", path)
        ready(web)
        return process, web

    proxies = {"tidegate": run_tidegate, "haproxy": run_haproxy}
    for name in proxies if who == "both" else [who]:
        one(name, proxies[name])


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


ALGORITHMS = ("round_robin", "least_conn", "random", "peak_ewma", "prequal")


def slow(rate="1000", seconds="8", path=None):
    numbers = [port() for _ in range(5)]
    start(sys.executable, os.path.abspath(__file__), "origins_of", json.dumps(numbers))
    ready(numbers[-1])
    for algorithm, count in [("round_robin", 4)] + [(name, 5) for name in ALGORITHMS]:
        servers = [f"127.0.0.1:{n}" for n in numbers[:count]]
        process, web, admin = tidegate(servers, f'backends.app.balance = "{algorithm}"\n')
        said = f"{DIRECTORY}/run.hgrm"
        run = load(web, "--rate", rate, "--connections", "128", "--warmup", "2s", "--duration", f"{seconds}s", "--hgrm", said)
        report = json.loads(run.communicate()[0])
        with open(said) as file:
            curve = [[float(word) for word in line.split()[:2]] for line in file if re.match(r" *\d", line)]
        picks = scrape(admin, "tidegate_server_requests_total")
        picks = {f"s{n}": sum(v for k, v in picks.items() if f'server="s{n}"' in k) for n in range(1, count + 1)}
        result = {"algorithm": algorithm, "servers": count, "rate": int(rate), "seconds": int(seconds), "picks": picks, **report, "curve": curve}
        print(algorithm, "of", count, report["latency_us"], report["errors"], picks, flush=True)
        if path:
            with open(path, "a") as file:
                file.write(json.dumps(result) + "\n")
        stop(process)


def slow_plots(path, directory):
    import backend_plots

    with open(path) as file:
        backend_plots.slow_server([json.loads(line) for line in file], directory)


def origins_of(numbers):
    numbers = json.loads(numbers)
    origins(numbers, numbers[-1])


def delivery(seconds="10", rate="10000", burners="0"):
    """Agents of ten servers that change their word with each question."""
    numbers = [port() for _ in range(10)]
    start(sys.executable, os.path.abspath(__file__), "agents_of", json.dumps(numbers))
    ready(numbers[-1])
    _, server = nginx("location / { return 200 'x'; }")
    lines = "".join(
        f'backends.said.servers.s{n} = {{ address = "127.0.0.1:{server}", health_check = {{ type = "agent", port = {number}, interval = "50ms", timeout = "5s" }} }}\n'
        for n, number in enumerate(numbers)
    )
    process, web, admin = tidegate([f"127.0.0.1:{server}"], lines)
    for _ in range(int(burners)):
        start(sys.executable, "-c", "while True: pass")
    run = load(web, *(["--rate", rate] if rate != "0" else []), "--connections", "64", "--warmup", "1s", "--duration", f"{seconds}s") if rate != "none" else None
    if run:
        report = json.loads(run.communicate()[0])
        print({key: report[key] for key in ("operations_per_second", "latency_us", "errors")})
    else:
        time.sleep(int(seconds))
    family = "tidegate_shard_server_change_delay_seconds"
    buckets = collections.Counter()
    for labels, count in scrape(admin, f"{family}_bucket").items():
        buckets[float(re.search('le="([^"]*)"', labels)[1].replace("+", ""))] += count
    total = sum(scrape(admin, f"{family}_count").values())
    print(f"{total:.0f} deliveries, {rate}/s, {burners} burners:", {bound: f"{count / total:.4%}" for bound, count in sorted(buckets.items())})
    print("mean", sum(scrape(admin, f"{family}_sum").values()) / total, "longest", scrape(admin, "tidegate_shard_server_change_delay_max_seconds"))


def agents_of(numbers):
    async def say(reader, writer):
        said[0] += 1
        writer.write(b"75%\n" if said[0] % 2 else b"50%\n")
        writer.close()

    async def all_of_them():
        for number in json.loads(numbers):
            await asyncio.start_server(say, "127.0.0.1", number)
        await asyncio.Event().wait()

    said = [0]
    asyncio.run(all_of_them())


def checks(seconds="10", count="10000", interval="2s", rate="5000"):
    """Each server at a loopback address of its own, so that its checks have their own sockets."""
    _, number = nginx("location / { return 200 'x'; }", listen="0.0.0.0")
    _, server = nginx("location / { return 200 'x'; }")
    at = [f"127.{1 + n // 250 // 250}.{n // 250 % 250}.{1 + n % 250}:{number}" for n in range(int(count))]
    for name, check in (("unchecked", "false"), ("checked", f'{{ type = "http", interval = "{interval}" }}')):
        lines = f"backends.many.health_check = {check}\n"
        lines += "".join(f'backends.many.servers.m{n} = "{address}"\n' for n, address in enumerate(at))
        process, web, admin = tidegate([f"127.0.0.1:{server}"], lines)
        time.sleep(3)
        # A scrape of so many servers takes a core for a second or two: outside of what is measured.
        counts = lambda: (time.time(), sum(scrape(admin, "tidegate_server_checks_total").values()), scrape(admin, "tidegate_health_checks_delayed_total")[""])
        earlier = counts()
        time.sleep(2)
        before, begun = threads(process), time.time()
        report = json.loads(load(web, "--rate", rate, "--connections", "64", "--warmup", "1s", "--duration", f"{seconds}s").communicate()[0])
        used, took = threads(process) - before, time.time() - begun
        between, made, late = (now - then for now, then in zip(counts(), earlier))
        print(name, "latency", report["latency_us"], "errors", sum(report["errors"].values()))
        print(f"  {made / between:.0f} checks/s, {late / between:.0f} late; CPU % of a core:", {name: round(cpu / took * 100, 1) for name, cpu in sorted(used.items())}, flush=True)
        stop(process)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        globals()[sys.argv[1]](*sys.argv[2:])
    finally:
        stop(*STARTED)
