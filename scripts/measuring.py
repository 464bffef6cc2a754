"""What the scripts that measure start from: programs on free ports of the loopback, and a directory for their files."""
import os, socket, subprocess, sys, tempfile, time

TIDEGATE = os.environ.get("TIDEGATE", "target/release/tidegate")
LOAD = os.environ.get("LOAD", "target/release/tidegate-load")
STARTED, DIRECTORY = [], tempfile.mkdtemp(prefix="measure-")


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


def nginx(inside, http="", listen=None, before=()):
    number = port()
    path = f"{DIRECTORY}/{number}.conf"
    with open(path, "w") as file:
        file.write(
            f"daemon off; master_process off; pid {DIRECTORY}/{number}.pid; error_log /dev/null;\n"
            "events { worker_connections 4096; }\n"
            f"http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {DIRECTORY}/{number}; {http}\n"
            f"server {{ listen {listen or '127.0.0.1'}:{number} backlog=4096; {inside} }} }}\n"
        )
    process = start(*before, "nginx", "-p", DIRECTORY, "-c", path)
    ready(number)
    return process, number
