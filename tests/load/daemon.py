# SPDX-License-Identifier: Apache-2.0
"""A forkd daemon on folders of its own, with the snapshot "py" of the native guest, and a client that keeps its connection."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FORKD = os.path.join(ROOT, "forkd")

PARKED = 4  # children that a kept server forks in advance: docs/snapshots.md


class Refused(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status, body, what):
        super().__init__(f"{what}: {status} {body}")
        self.status = status
        self.body = body


class Client:
    """One connection. Every failure of it is an OSError or an http.client.HTTPException."""

    def __init__(self, port, timeout=120):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def call(self, method, path, body=None):
        if self.connection.sock is None:
            self.connection.connect()
            self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            self.connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = self.connection.getresponse()
            answer = response.read()
        except Exception:
            self.connection.close()
            raise
        if response.status >= 300:
            raise Refused(response.status, answer.decode(errors="replace"), f"{method} {path}")
        return json.loads(answer) if answer else None

    def create(self, n=1, tag="py"):
        return [one["id"] for one in self.call("POST", "/v1/sandboxes", {"snapshot_tag": tag, "n": n})]

    def list(self):
        return self.call("GET", "/v1/sandboxes")

    def snapshots(self):
        return self.call("GET", "/v1/snapshots")

    def ping(self, id):
        return self.call("POST", f"/v1/sandboxes/{id}/ping")

    def exec(self, id, *args):
        return self.call("POST", f"/v1/sandboxes/{id}/exec", {"args": list(args)})

    def branch(self, id, tag, **how):
        return self.call("POST", f"/v1/sandboxes/{id}/branch", {"tag": tag, **how})

    def delete(self, id):
        return self.call("DELETE", f"/v1/sandboxes/{id}")

    def close(self):
        self.connection.close()


class Daemon:
    """Its folders go, and all that runs of them is ended, with it. Any number of starts and kills of the process."""

    def __init__(self, environment=None):
        base = "/dev/shm" if os.path.isdir("/dev/shm") else None
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and clean up
        self.work = tempfile.mkdtemp(prefix="forkd-load-")
        self.run = tempfile.mkdtemp(prefix="forkd-run-", dir=base)
        self.environment = dict(
            os.environ, XDG_DATA_HOME=self.work + "/data", XDG_RUNTIME_DIR=self.run, **(environment or {})
        )
        self.log = self.work + "/daemon.log"
        self.audit = self.work + "/audit.log"
        self.process = None
        subprocess.run(
            [ROOT + "/tests/native/guests/snapshot", self.work + "/data", "py"],
            env=self.environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def snapshot_root(self):
        return self.work + "/data/forkd/snapshots"

    @property
    def paused(self):
        return self.work + "/data/forkd/paused"

    @property
    def sandboxes(self):
        return self.run + "/forkd/sandboxes"

    @property
    def servers(self):
        return self.run + "/forkd/servers"

    def start(self, port=0):
        """Returns when it answers. At any port that is free, if none is said."""
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))
            self.port = free.getsockname()[1]
        command = [FORKD, "daemon", "--bind", f"127.0.0.1:{self.port}", "--state", self.work + "/state.json"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command + ["--audit-log", self.audit], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 120
        while True:
            try:
                self.ask_health()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"the daemon did not start; {self.log} says:\n" + open(self.log).read()[-4000:])
                time.sleep(0.02)

    def ask_health(self):
        client = Client(self.port, 10)
        client.call("GET", "/healthz")
        client.close()

    def client(self, timeout=120):
        return Client(self.port, timeout)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """As a service manager does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def forkd(self, *arguments):
        """The command line, beside it."""
        return subprocess.run([FORKD, *arguments], env=self.environment, capture_output=True, text=True)

    def kept_servers(self):
        """Their processes, as their files tell."""
        found = set()
        for name in os.listdir(self.servers) if os.path.isdir(self.servers) else []:
            try:
                with open(f"{self.servers}/{name}/server.json") as file:
                    found.add(json.load(file).get("pid"))
            except (FileNotFoundError, NotADirectoryError):
                pass  # It has ended.
        return found

    def vms(self):
        """Every process that has memory of these snapshots mapped: sandboxes, fork servers, and whatever else is left."""
        found = set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/maps", errors="replace") as maps:
                    if any(self.snapshot_root in line or self.paused in line for line in maps):
                        found.add(int(pid))
            except OSError:
                pass  # It has ended.
        return found

    def unknown(self, known):
        """Those of vms() that are none of these, nor what a server among these has forked in advance."""
        children = {}
        for pid in self.vms() - known:
            try:
                with open(f"/proc/{pid}/stat") as stat:
                    children.setdefault(int(stat.read().rpartition(")")[2].split()[1]), set()).add(pid)
            except OSError:
                pass  # It has ended.
        return {pid for parent, pids in children.items() if parent not in known or len(pids) > PARKED for pid in pids}

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        while left := self.vms():
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.rmtree(self.run, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def pss_mib(pid):
    """A process's share of the memory."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024


def heap_mib(pid):
    """What of the Java heap is in use when all garbage is gone."""
    jcmd = os.path.join(os.environ.get("JAVA_HOME", ""), "bin/jcmd") if "JAVA_HOME" in os.environ else "jcmd"
    subprocess.run([jcmd, str(pid), "GC.run"], check=True, stdout=subprocess.DEVNULL)
    info = subprocess.run([jcmd, str(pid), "GC.heap_info"], check=True, capture_output=True, text=True).stdout
    return round(sum(int(used) for used in re.findall(r"generation +total \d+K, used (\d+)K", info)) / 1024)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))
