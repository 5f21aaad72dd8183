# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes of this machine: etcd, kube-apiserver and kube-scheduler, and nodes that are network namespaces with a real
forkd daemon, an agent and native guests each. What a kubelet does with reservations, this does."""

import collections
import fcntl
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = ROOT + "/packaging/kubernetes/forkd-kubernetes"
sys.path.insert(0, ROOT + "/tests/load")

NAMESPACE = "forkd-system"
GROUP = "/apis/forkd.io/v1alpha1"
RESERVATIONS = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=forkd.io%2Fkind"
SERVICE_ACCOUNTS = "system:serviceaccounts"
GUEST_MIB = 512  # of the native guest
TOKEN = "a-token-of-all-daemons-of-this-test"


class Refused(Exception):
    def __init__(self, status, answer, what):
        self.status = status
        self.answer = answer
        super().__init__(f"{what}: {status} {answer.get('message', answer) if isinstance(answer, dict) else answer}")


class Api:
    """A client of the API server; of one thread."""

    def __init__(self, host, port, token, patience=0):
        """patience: for how many seconds a server that is not there, or fails, is asked again."""
        self.host, self.port, self.token, self.patience = host, port, token, patience
        self.connection = None

    def connect(self, timeout=60):
        context = ssl._create_unverified_context()
        return http.client.HTTPSConnection(self.host, self.port, context=context, timeout=timeout)

    def call(self, method, path, body=None, kind="application/json"):
        deadline = time.monotonic() + self.patience
        asked = 0
        while True:
            asked += 1
            try:
                return self.ask(method, path, body, kind)
            except Refused as e:
                if method == "POST" and asked > 1 and e.status == 409:
                    return None  # The first time it was done.
                if e.status < 500 and e.status != 429 and not (e.status in (401, 403) and self.patience) or time.monotonic() > deadline:
                    raise
            except (OSError, http.client.HTTPException):
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def ask(self, method, path, body, kind):
        for again in (True, False):
            if self.connection is None:
                self.connection = self.connect()
                self.connection.connect()
                self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            headers = {"Authorization": "Bearer " + self.token, "Content-Type": kind}
            try:
                self.connection.request(method, path, None if body is None else json.dumps(body), headers)
                response = self.connection.getresponse()
                text = response.read()
                break
            except (OSError, http.client.HTTPException):
                self.connection.close()
                self.connection = None
                if not again:
                    raise
        answer = json.loads(text) if "json" in response.getheader("Content-Type", "") else text.decode()
        if response.status >= 300:
            raise Refused(response.status, answer, f"{method} {path}")
        return answer

    def get(self, path):
        return self.call("GET", path)

    def find(self, path):
        try:
            return self.get(path)
        except Refused as e:
            if e.status == 404:
                return None
            raise

    def list(self, path):
        return self.get(path)["items"]

    def create(self, path, body):
        return self.call("POST", path, body)

    def patch(self, path, body):
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path):
        try:
            return self.call("DELETE", path)
        except Refused as e:
            if e.status != 404:
                raise

    def watch(self, path, version):
        """Each change as it comes; ends when the connection does."""
        connection = self.connect(timeout=3600)
        sign = "&" if "?" in path else "?"
        connection.request("GET", f"{path}{sign}watch=true&resourceVersion={version}&timeoutSeconds=3000",
                           headers={"Authorization": "Bearer " + self.token})  # fmt: skip
        response = connection.getresponse()
        if response.status != 200:
            raise Refused(response.status, response.read().decode(), "watch " + path)
        for line in response:
            yield json.loads(line)


class Process:
    """One that may be killed and started again."""

    def __init__(self, name, command, log, environment=None):
        self.name, self.command, self.log, self.environment = name, command, log, environment
        self.process = None
        self.is_wanted = False

    def start(self):
        self.is_wanted = True
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )
        return self

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.is_wanted = False
        if self.is_running():
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def stop(self):
        self.is_wanted = False
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
        if self.process is not None:
            self.process.wait()

    def tail(self):
        with open(self.log, errors="replace") as log:
            return log.read()[-3000:]


def until(condition, seconds, what):
    """What the condition gives, when it gives something; what is a text, or gives one."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            found = condition()
            if found:
                return found
        except (OSError, http.client.HTTPException, Refused) as e:
            last = e
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}" + (f" ({last})" if last else ""))


def run(*command, **how):
    return subprocess.run(command, check=True, capture_output=True, text=True, **how).stdout


class ControlPlane:
    """etcd, API server and scheduler, at one address."""

    TOKENS = {
        "admin": ("admin", "system:masters"),
        "scheduler": ("system:kube-scheduler", ""),
        "kubelet": ("kubelet-of-the-test", "system:masters"),
        "operator": (f"system:serviceaccount:{NAMESPACE}:forkd-operator", SERVICE_ACCOUNTS),
        "node": (f"system:serviceaccount:{NAMESPACE}:forkd-node", SERVICE_ACCOUNTS),
        "gateway": (f"system:serviceaccount:{NAMESPACE}:forkd-gateway", SERVICE_ACCOUNTS),
    }

    def __init__(self, work, address):
        self.work, self.address = work, address
        self.port = 6443
        folder = run(ROOT + "/tests/kubernetes/control-plane").strip()
        with open(work + "/tokens", "w") as tokens:
            for token, (user, groups) in self.TOKENS.items():
                tokens.write(f'{token},{user},{user},"{groups}"\n')
        run("openssl", "genrsa", "-out", work + "/sa.key", "2048")
        data = work + "/etcd"
        self.etcd = Process(
            "etcd",
            ["etcd", "--data-dir", data, "--listen-client-urls", "http://127.0.0.1:12379", "--advertise-client-urls",
             "http://127.0.0.1:12379", "--listen-peer-urls", "http://127.0.0.1:12380", "--unsafe-no-fsync",
             "--quota-backend-bytes", str(4 << 30), "--auto-compaction-retention", "5m", "--log-level", "error"],
            work + "/etcd.log",
        )  # fmt: skip
        self.server = Process(
            "kube-apiserver",
            [folder + "/kube-apiserver", "--etcd-servers", "http://127.0.0.1:12379", "--secure-port", str(self.port),
             "--bind-address", address, "--advertise-address", address, "--cert-dir", work + "/certs",
             "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", work + "/sa.key",
             "--service-account-signing-key-file", work + "/sa.key", "--token-auth-file", work + "/tokens",
             "--authorization-mode", "RBAC", "--disable-admission-plugins", "ServiceAccount",
             "--service-cluster-ip-range", "10.96.0.0/16", "--enable-priority-and-fairness=false",
             "--max-requests-inflight", "0", "--max-mutating-requests-inflight", "0"],
            work + "/kube-apiserver.log",
        )  # fmt: skip
        self.scheduler = Process(
            "kube-scheduler",
            [folder + "/kube-scheduler", "--kubeconfig", self.kubeconfig("scheduler"), "--leader-elect=false",
             "--secure-port", "0", "--kube-api-qps", "1000", "--kube-api-burst", "2000"],
            work + "/kube-scheduler.log",
        )  # fmt: skip

    def kubeconfig(self, name, token=None):
        token = token or name
        path = f"{self.work}/{name}.kubeconfig"
        with open(path, "w") as file:
            json.dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "c", "cluster": {"server": f"https://{self.address}:{self.port}",
                                                           "insecure-skip-tls-verify": True}}],
                    "users": [{"name": "u", "user": {"token": token}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                },
                file,
            )  # fmt: skip
        return path

    def api(self, token="admin", patience=0):
        return Api(self.address, self.port, token, patience)

    def start(self):
        self.etcd.start()
        self.server.start()
        api = self.api()
        until(lambda: api.get("/readyz") == "ok", 120, "the API server is ready: " + self.server.log)
        self.scheduler.start()
        return self

    def stop(self):
        for each in (self.scheduler, self.server, self.etcd):
            each.kill()


class Kubelet(threading.Thread):
    """Marks reservations that are bound as running, and removes deleted ones at once, as one whose grace is 0."""

    def __init__(self, plane):
        super().__init__(daemon=True)
        self.plane = plane
        self.is_stopped = False

    def run(self):
        while not self.is_stopped:
            try:
                api = self.plane.api("kubelet")
                path = f"/api/v1/namespaces/{NAMESPACE}/pods"
                answer = api.get(path)
                for pod in answer["items"]:
                    self.see(api, pod)
                for change in api.watch(path, answer["metadata"]["resourceVersion"]):
                    if change["type"] in ("ADDED", "MODIFIED"):
                        self.see(api, change["object"])
            except (OSError, http.client.HTTPException, Refused, ValueError):
                time.sleep(0.2)

    def see(self, api, pod):
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}"
        try:
            if pod["spec"].get("nodeName") and pod["status"].get("phase") == "Pending":
                api.patch(path + "/status", {"status": {"phase": "Running"}})
            if pod["metadata"].get("deletionTimestamp"):
                api.call("DELETE", path, {"gracePeriodSeconds": 0})
        except Refused as e:
            if e.status not in (404, 409):
                raise


class Restarts(threading.Thread):
    """Starts again what has ended by itself, as a kubelet does: an agent that found no API server, an operator that no longer
    leads."""

    def __init__(self, processes):
        super().__init__(daemon=True)
        self.processes = processes

    def run(self):
        while True:
            time.sleep(0.5)
            for each in self.processes:
                if each.is_wanted and not each.is_running():
                    each.start()


def kind_of(sandbox):
    """Of what resource a daemon's sandbox is: one that is ready in a pool has no label yet; none, when it warms a template up."""
    pool = sandbox.get("pool") or {}
    return "pool" if pool.get("state") == "ready" else sandbox.get("labels", {}).get("forkd.io/kind")


class Node:
    """A network namespace with a daemon and an agent, and its Node object."""

    def __init__(self, cluster, number, sandbox_mib):
        self.cluster, self.number, self.sandbox_mib = cluster, number, sandbox_mib
        self.name = f"node-{number}"
        self.namespace = f"forkd-test-{number}"
        self.address = f"10.99.0.{number}"
        self.home = f"{cluster.work}/{self.name}"
        self.run_folder = tempfile.mkdtemp(prefix=f"forkd-{self.name}-", dir="/dev/shm")
        for folder in ("data", "cache"):
            os.makedirs(f"{self.home}/{folder}", mode=0o700, exist_ok=True)
        token = self.home + "/token"
        with open(os.open(token, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(TOKEN + "\n")
        self.environment = dict(
            os.environ, XDG_DATA_HOME=self.home + "/data", XDG_RUNTIME_DIR=self.run_folder,
            XDG_CACHE_HOME=self.home + "/cache", FORKD_RUN_CACHE=self.home + "/cache",
            FORKD_SERVER_IDLE_SECS="100000", KUBECONFIG=f"{cluster.work}/{self.name}.kubeconfig",
            FORKD_HEAP="160m", FORKD_JAVA_OPTIONS=cluster.java, TMPDIR=self.home,
        )  # fmt: skip
        within = ["ip", "netns", "exec", self.namespace]
        self.daemon = Process(
            "daemon " + self.name,
            within + [ROOT + "/forkd", "daemon", "--bind", self.address + ":8889", "--token-file", token,
                      "--state", self.home + "/state.json", "--proxy-domain", "sandboxes.test"],
            self.home + "/daemon.log", self.environment,
        )  # fmt: skip
        self.agent = Process(
            "agent " + self.name,
            within + [PROGRAM, "node", "--node", self.name, "--socket", self.run_folder + "/forkd/daemon.sock",
                      "--address", f"http://{self.address}:8889", "--sandbox-mib", str(sandbox_mib), "--forkd", ROOT + "/forkd",
                      "--sync", "2"],
            self.home + "/agent.log", self.environment,
        )  # fmt: skip

    def make_namespace(self):
        run("ip", "netns", "add", self.namespace)
        link = f"fkt{self.number}"
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        run("ip", "link", "set", link, "master", "forkd-test")
        run("ip", "link", "set", link, "up")
        inside = ["ip", "-n", self.namespace]
        run(*inside, "addr", "add", self.address + "/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "link", "set", "lo", "up")

    def register(self, api):
        """As a kubelet does."""
        if api.find("/api/v1/nodes/" + self.name) is None:
            api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name,
                       "labels": {"kubernetes.io/hostname": self.name}}})  # fmt: skip
        self.set_ready(api, True)
        # The DaemonSet's Pod, to which the token of its agent is bound.
        pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
        pod = api.create(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "forkd-" + self.name}, "spec": {
            "nodeName": self.name, "serviceAccountName": "forkd-node", "containers": [{"name": "agent", "image": "forkd"}]}})  # fmt: skip
        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        made = api.create(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/forkd-node/token", {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": 86400, "boundObjectRef": bound}})  # fmt: skip
        self.token = made["status"]["token"]
        self.cluster.plane.kubeconfig(self.name, self.token)

    def set_ready(self, api, ready):
        resources = {"cpu": "64", "memory": "64Gi", "pods": "5000"}
        taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
        api.patch(f"/api/v1/nodes/{self.name}", {"spec": {"taints": [] if ready else [taint]}})
        api.patch(
            f"/api/v1/nodes/{self.name}/status",
            {"status": {"capacity": resources, "allocatable": resources,
                        "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown",
                                        "reason": "Test", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
                                        "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}},
        )  # fmt: skip

    def start(self):
        self.daemon.start()
        self.agent.start()

    def call(self, method, path, body=None, timeout=60):
        connection = http.client.HTTPConnection(self.address, 8889, timeout=timeout)
        headers = {"Authorization": "Bearer " + TOKEN, "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        if response.status >= 300:
            raise Refused(response.status, text.decode(), f"{method} {path} of {self.name}")
        return json.loads(text) if text else None

    def exec(self, id, *arguments):
        return self.call("POST", f"/v1/sandboxes/{id}/exec", {"args": list(arguments)})["stdout"]

    def made_of(self, kind):
        """How many sandboxes it has of a kind of resource."""
        return sum(1 for each in self.call("GET", "/v1/sandboxes") if kind_of(each) == kind)

    def vms(self):
        """Processes that have memory of this node's snapshots mapped."""
        found = set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/maps", errors="replace") as maps:
                    if any(self.home in line for line in maps):
                        found.add(int(pid))
            except OSError:
                pass  # It has ended.
        return found

    def kill_all(self):
        """As when the machine is switched off."""
        self.agent.kill()
        self.daemon.kill()
        while left := self.vms():
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)

    def leftovers(self):
        """What a node must not have when no resource is there."""
        store = self.home + "/data/forkd"
        left = [f"{each['id']} ({each.get('name')})" for each in self.call("GET", "/v1/sandboxes")]
        left += [each["tag"] for each in self.call("GET", "/v1/snapshots")]
        left += [each["name"] for each in self.call("GET", "/v1/pools")]
        for folder in ("snapshots", "paused", "live"):
            path = f"{store}/{folder}"
            left += [f"{folder}/{name}" for name in (os.listdir(path) if os.path.isdir(path) else [])
                     if not name.startswith(".lock") and name != ".tap"]  # fmt: skip
        return left

    def close(self):
        self.kill_all()
        shutil.rmtree(self.run_folder, ignore_errors=True)


class Cluster:
    """All of it; everything is gone when it is left."""

    def __init__(self, nodes=3, places=120, operators=1, patience=0, gateways=0, optimised=False, heap="384m"):
        # Java's better compiler takes a while to be worth its time, on two cores and for a dozen processes.
        self.java = "" if optimised else "-XX:TieredStopAtLevel=1"
        self.patience = patience
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.work = tempfile.mkdtemp(prefix="forkd-kubernetes-", dir="/dev/shm")
        # Names of links and namespaces are the machine's: another one ends before.
        self.only = open("/run/forkd-test-cluster.lock", "w")
        fcntl.flock(self.only, fcntl.LOCK_EX)
        self.clean_up()
        run("ip", "link", "add", "forkd-test", "type", "bridge")
        run("ip", "addr", "add", "10.99.0.254/24", "dev", "forkd-test")
        run("ip", "link", "set", "forkd-test", "up")
        self.address = "10.99.0.254"
        self.plane = ControlPlane(self.work, self.address)
        self.registry = None
        self.kubelet = Kubelet(self.plane)
        self.nodes = [Node(self, number, places * GUEST_MIB) for number in range(1, nodes + 1)]
        for node in self.nodes:
            node.make_namespace()
        environment = dict(os.environ, KUBECONFIG=self.plane.kubeconfig("operator"), FORKD_HEAP=heap)
        self.operators = [
            Process(f"operator {number}", [PROGRAM, "operator", "--node-grace", "3", "--lease", "6", "--threads", "32"],
                    f"{self.work}/operator-{number}.log", environment)
            for number in range(operators)
        ]  # fmt: skip

        environment = dict(os.environ, KUBECONFIG=self.plane.kubeconfig("gateway"), FORKD_HEAP="256m",
                           FORKD_JAVA_OPTIONS=self.java)  # fmt: skip
        self.gateways = [
            Process(f"gateway {number}", [PROGRAM, "gateway", "--bind", f"{self.address}:{8890 + number}", "--token-file",
                                          self.work + "/callers", "--daemon-token-file", f"{self.work}/node-1/token"],
                    f"{self.work}/gateway-{number}.log", environment)
            for number in range(gateways)
        ]  # fmt: skip
        self.callers = {}
        for name, role in (("default", "user"), ("other", "user"), ("root", "admin")):
            self.callers[name] = secret = os.urandom(32).hex()
            hashed = hashlib.sha256(secret.encode()).hexdigest()
            with open(os.open(self.work + "/callers", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
                file.write(f"{name} sha256:{hashed} {role}\n")

    @staticmethod
    def clean_up():
        subprocess.run(["ip", "link", "del", "forkd-test"], capture_output=True)
        for line in run("ip", "netns", "list").splitlines():
            if line.startswith("forkd-test-"):
                # A namespace that goes takes its end along, some time later.
                subprocess.run(["ip", "link", "del", "fkt" + line.split()[0].rpartition("-")[2]], capture_output=True)
                subprocess.run(["ip", "netns", "del", line.split()[0]], capture_output=True)

    def start(self, only_plane=False):
        self.plane.start()
        self.api = self.plane.api(patience=self.patience)
        self.apply()
        if only_plane:
            return self
        for node in self.nodes:
            node.register(self.api)
        self.kubelet.start()
        for node in self.nodes:
            node.start()
        for each in [*self.operators, *self.gateways]:
            each.start()
        Restarts([*self.operators, *self.gateways, *(node.agent for node in self.nodes)]).start()
        return self

    def apply(self):
        """The manifests, but for what needs a kubelet."""
        for document in manifests():
            if document["kind"] not in ("Deployment", "DaemonSet", "Service"):
                self.put(document)
        until(lambda: self.api.get(GROUP + "/sandboxes")["items"] == [], 30, "the resources are served")

    def put(self, document):
        group, _, version = document["apiVersion"].rpartition("/")
        base = f"/apis/{group}/{version}" if group else f"/api/{version}"
        kind = document["kind"]
        plural = {"PriorityClass": "priorityclasses", "ValidatingAdmissionPolicy": "validatingadmissionpolicies"}.get(
            kind, kind.lower() + "s"
        )
        namespace = document["metadata"].get("namespace")
        path = f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"
        self.api.create(path, document)

    def start_registry(self):
        """For snapshots, by plain HTTP."""
        with open(self.work + "/registry.yml", "w") as file:
            file.write(
                f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {self.work}/registry}},"
                f' delete: {{enabled: true}}}}\nhttp: {{addr: "{self.address}:5000"}}\n'
            )
        self.registry = Process("registry", ["docker-registry", "serve", self.work + "/registry.yml"], self.work + "/registry.log")
        self.registry.start()
        until(self.registry_answers, 20, "the registry answers")
        return f"{self.address}:5000"

    def registry_answers(self):
        with socket.create_connection((self.address, 5000), 1):
            return True

    def push_snapshot(self, name="py"):
        """A native guest, as a snapshot in the registry."""
        home = self.work + "/source"
        environment = dict(os.environ, XDG_DATA_HOME=home + "/data", XDG_RUNTIME_DIR=home + "/run",
                           FORKD_RUN_CACHE=home + "/cache")  # fmt: skip
        for folder in ("data", "run", "cache"):
            os.makedirs(f"{home}/{folder}", mode=0o700, exist_ok=True)
        run(ROOT + "/tests/native/guests/snapshot", home + "/data", name, env=environment)
        ref = f"{self.address}:5000/team/{name}:1"
        run(ROOT + "/forkd", "push", name, ref, "--insecure-registry", env=environment)
        return ref

    # --- resources ---

    def path(self, plural, name="", namespace="default"):
        return f"{GROUP}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")

    def make(self, kind, name, spec, namespace="default", api=None):
        plural = {"Sandbox": "sandboxes"}.get(kind, kind.lower() + "s")
        return (api or self.api).create(
            self.path(plural, namespace=namespace),
            {"apiVersion": "forkd.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec},
        )

    def status(self, plural, name):
        return self.api.get(self.path(plural, name)).get("status", {})

    def sandbox_is(self, name, phase, seconds=60):
        def seen():
            status = self.status("sandboxes", name)
            return status if status.get("phase") == phase else None

        try:
            return until(seen, seconds, "")
        except AssertionError:
            raise AssertionError(f"sandbox {name} is not {phase} within {seconds} s: {self.status('sandboxes', name)}") from None

    def uid(self, plural, name):
        return self.api.get(self.path(plural, name))["metadata"]["uid"]

    def node(self, name):
        return next(each for each in self.nodes if each.name == name)

    def warm_template(self, name="py", nodes=2, **more):
        ref = self.push_snapshot()
        self.make("SnapshotTemplate", name, {"snapshot": ref, "insecureRegistry": True, "memoryMiB": GUEST_MIB, "warmNodes": nodes, **more})
        until(lambda: self.status("snapshottemplates", name).get("warm") == nodes, 90, "the template is warm")

    def nothing_is_left(self, seconds=60):
        def gone():
            left = []
            for plural in ("sandboxes", "sandboxforks", "warmpools", "snapshottemplates"):
                left += [f"{plural}/{each['metadata']['name']}" for each in self.api.list(f"{GROUP}/{plural}")]
            left += ["pod " + each["metadata"]["name"] for each in self.api.list(RESERVATIONS)]
            for node in self.nodes:
                if node.daemon.is_running():
                    left += [f"{node.name}: {each}" for each in node.leftovers()]
            self.left = left
            return not left

        try:
            until(gone, seconds, "")
        except AssertionError:
            raise AssertionError(f"left after {seconds} s: {self.left}") from None

    def delete_all(self):
        for plural in ("sandboxforks", "sandboxes", "warmpools", "snapshottemplates"):
            for each in self.api.list(f"{GROUP}/{plural}"):
                self.api.delete(self.path(plural, each["metadata"]["name"], each["metadata"]["namespace"]))

    def close(self):
        self.kubelet.is_stopped = True
        for each in [*self.operators, *self.gateways]:
            each.kill()
        for node in self.nodes:
            node.close()
        if self.registry is not None:
            self.registry.kill()
        self.plane.stop()
        self.clean_up()
        if os.environ.get("FORKD_KEEP"):
            print("kept:", self.work)
        else:
            shutil.rmtree(self.work, ignore_errors=True)
        self.only.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Accountant(threading.Thread):
    """Looks all the time whether a node has more sandboxes than places are reserved there, or than it has room for."""

    def __init__(self, cluster, places):
        super().__init__(daemon=True)
        self.cluster, self.places = cluster, places
        self.faults = []
        self.looks = 0
        self.most = {}
        self.is_stopped = False

    def reserved(self, api):
        found = {}
        for pod in api.list(RESERVATIONS):
            node = pod["spec"].get("nodeName")
            if node:
                kind = pod["metadata"]["labels"]["forkd.io/kind"]
                found[pod["metadata"]["uid"]] = (node, kind, int(pod["metadata"]["annotations"]["forkd.io/places"]))
        return found

    def run(self):
        api = self.cluster.plane.api(patience=30)
        while not self.is_stopped:
            try:
                before = self.reserved(api)
                had = {node.name: self.made(node) for node in self.cluster.nodes}
                reservations = {**before, **self.reserved(api)}
            except (OSError, Refused, ValueError):
                time.sleep(0.1)
                continue
            self.looks += 1
            for node, kinds in had.items():
                places = collections.Counter()
                for where, kind, number in reservations.values():
                    places[kind] += number if where == node else 0
                count = sum(kinds.values())
                self.most[node] = max(self.most.get(node, 0), count)
                if count > min(sum(places.values()), self.places):
                    self.faults.append(f"{node} has {dict(kinds)}, and reserved of {self.places} are {dict(places)}")
            time.sleep(0.05)

    @staticmethod
    def made(node):
        """But for those that have a template warmed up for a moment."""
        try:
            return collections.Counter(kind_of(each) for each in node.call("GET", "/v1/sandboxes", timeout=10)
                                       if kind_of(each) and each["state"] != "paused")  # fmt: skip
        except OSError:
            return collections.Counter()


def manifests():
    """The chart's, as documents; the last is not at hand before the first is there."""
    text = run(ROOT + "/tests/kubernetes/helm", "template", "forkd", ROOT + "/packaging/kubernetes/chart", "--namespace", NAMESPACE,
               "--include-crds", "--kube-version", "1.34.4")  # fmt: skip
    # Debian's Python has a parser, and one of an environment of its own has not.
    program = "import json, sys, yaml; json.dump([each for each in yaml.safe_load_all(sys.stdin) if each], sys.stdout)"
    documents = json.loads(run("/usr/bin/python3", "-c", program, input=text))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    return [namespace, *documents]


def seed():
    value = random.randrange(1 << 32)
    random.seed(value)
    print(f"seed {value}", flush=True)
