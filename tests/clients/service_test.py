# SPDX-License-Identifier: Apache-2.0
"""forkd-controller, which unit files start, and the units that forkd comes with."""

import concurrent.futures
import http.client
import json
import os
import pathlib
import queue
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

import forkd

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTROLLER = ROOT / "forkd-controller"
UNITS = ROOT / "packaging/systemd"


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class ServiceTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="service-")
        self.addCleanup(directory.cleanup)
        self.work = pathlib.Path(directory.name)

    def environment(self, **more):
        return {
            **os.environ,
            "XDG_RUNTIME_DIR": str(self.work),
            "FORKD_STATE": str(self.work / "state/state.json"),
            "FORKD_AUDIT_LOG": str(self.work / "log/audit.log"),
            **more,
        }

    def start(self, *arguments, descriptors=None, ignored=None, **environment):
        limit = ["prlimit", f"--nofile={descriptors}", "--"] if descriptors else []
        ignoring = ["env", f"--ignore-signal={ignored}"] if ignored else []
        process = subprocess.Popen(
            [*limit, *ignoring, CONTROLLER, "serve", *arguments],
            env=self.environment(**environment), stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    @staticmethod
    def url(process):
        return next(word for word in process.stderr.readline().split() if word.startswith("http://"))

    @staticmethod
    def stopped(process):
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def manager(self):
        """The socket that a service manager listens at, and what it hears there."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(str(self.work / "notify"))
        listener.settimeout(0.1)
        told, closed = queue.Queue(), threading.Event()

        def listen():
            with listener:
                while not closed.is_set():
                    try:
                        # Descriptors that come along are closed: so whoever waits for that learns that it was heard.
                        told.put(listener.recv(4096).decode().split("\n"))
                    except TimeoutError:
                        pass

        thread = threading.Thread(target=listen)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(closed.set)
        return told

    def test_ready_is_told_when_it_serves(self):
        manager = self.manager()
        process = self.start("--bind", "127.0.0.1:0", NOTIFY_SOCKET=str(self.work / "notify"))
        told = manager.get(timeout=60)
        self.assertIn("READY=1", told)
        self.assertIn(f"MAINPID={process.pid}", told)
        url = self.url(process)
        with urllib.request.urlopen(url + "/healthz", timeout=60) as answer:
            self.assertEqual(json.load(answer), {"ok": True})
        self.assertEqual(self.stopped(process), 0, "a stop is no failure")

    def test_nothing_is_told_of_one_that_cannot_start(self):
        manager = self.manager()
        process = self.start("--bind", "0.0.0.0:0", NOTIFY_SOCKET=str(self.work / "notify"))
        self.assertEqual(process.wait(60), 1)
        self.assertIn("token", process.stderr.read())
        self.assertTrue(manager.empty())

    def test_a_hangup_opens_the_audit_log_again(self):
        self.hangup()

    def test_a_hangup_is_heard_by_one_that_was_started_by_nohup(self):
        self.hangup(ignored="HUP")

    def hangup(self, **how):
        process = self.start("--bind", "127.0.0.1:0", **how)
        url = self.url(process)
        log = self.work / "log/audit.log"
        urllib.request.urlopen(url + "/healthz", timeout=60).close()
        log.rename(self.work / "log/audit.log.1")
        process.send_signal(signal.SIGHUP)
        # Lines are written behind the answers: when the new file has this one, it was opened in time.
        deadline = time.monotonic() + 60
        while not (log.exists() and '"/version"' in log.read_text()):
            self.assertLess(time.monotonic(), deadline)
            urllib.request.urlopen(url + "/version", timeout=60).close()

    def test_rust_log_sets_what_is_logged(self):
        for setting, logged in (("warn,forkd_controller=debug", True), ("debug", True), ("debug,forkd=info", False)):
            with self.subTest(setting):
                process = self.start("--bind", "127.0.0.1:0", RUST_LOG=setting)
                controller = forkd.Controller(self.url(process), token="")
                for sandbox in controller.spawn_sandboxes(os.environ["FORKD_TAG"]):
                    controller.kill_sandbox(sandbox["id"])
                self.assertEqual(self.stopped(process), 0)
                line = r"(?m)^[0-9-]+T[0-9:.]+\S* .* DEBUG .*forking 1 sandboxes$"
                (self.assertRegex if logged else self.assertNotRegex)(process.stderr.read(), line)

    def test_a_stop_lets_calls_end(self):
        process = self.start("--bind", "127.0.0.1:0")
        url = self.url(process)
        controller = forkd.Controller(url, token="")
        [sandbox] = controller.spawn_sandboxes(os.environ["FORKD_TAG"])
        with concurrent.futures.ThreadPoolExecutor() as pool:
            script = "echo begun > state; sleep 12; echo done"
            answer = pool.submit(controller.exec_command, sandbox["id"], ["sh", "-c", script])
            while not controller.exec_command(sandbox["id"], ["cat", "state"])["stdout"]:
                pass
            process.send_signal(signal.SIGTERM)
            self.assertEqual(answer.result(60)["stdout"], "done\n")
        self.assertEqual(process.wait(60), 0)
        self.assertRaises(OSError, urllib.request.urlopen, url, timeout=60)
        # The sandbox goes on, and the next one finds it.
        controller = forkd.Controller(self.url(self.start("--bind", "127.0.0.1:0")), token="")
        self.assertEqual(controller.exec_command(sandbox["id"], ["cat", "state"])["stdout"], "begun\n")
        controller.kill_sandbox(sandbox["id"])

    def test_connections_leave_descriptors_for_what_is_asked(self):
        process = self.start("--bind", "127.0.0.1:0", descriptors=1024)
        url = self.url(process)
        host, port = url.removeprefix("http://").split(":")
        idle = []
        mine = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (mine[1], mine[1]))
        try:
            for _ in range(1100):
                idle.append(socket.create_connection((host, int(port)), timeout=60))
            client = Unix(self.work / "forkd/daemon.sock")
            client.request("POST", "/v1/sandboxes", json.dumps({"snapshot_tag": os.environ["FORKD_TAG"]}),
                           {"Content-Type": "application/json"})
            answer = client.getresponse()
            made = json.load(answer)
            self.assertEqual(answer.status, 201, made)
            client.request("DELETE", "/v1/sandboxes/" + made[0]["id"])
            self.assertEqual(client.getresponse().status, 204)
            client.close()
        finally:
            for each in idle:
                each.close()

    def test_version(self):
        told = subprocess.run([CONTROLLER, "--version"], capture_output=True, text=True, check=True).stdout
        self.assertRegex(told, r"^forkd-controller [0-9]+\.[0-9]+\.[0-9]+\n$")

    def test_it_has_no_other_subcommand(self):
        for arguments in ([], ["spawn"]):
            self.assertEqual(subprocess.run([CONTROLLER, *arguments], capture_output=True, check=False).returncode, 2)

    def test_the_units_are_valid(self):
        for unit, manager in (("forkd.service", "--system"), ("user/forkd.service", "--user")):
            # Its program is looked for, too.
            text = (UNITS / unit).read_text().replace("/usr/local/bin/forkd", str(ROOT / "forkd"))
            copy = self.work / "forkd.service"
            copy.write_text(text)
            checked = subprocess.run(
                ["systemd-analyze", manager, "--man=no", "verify", copy], capture_output=True, text=True, check=False)
            self.assertEqual((checked.returncode, checked.stderr), (0, ""), unit)

    def test_networks_that_it_makes_are_there_for_others(self):
        text = (UNITS / "forkd.service").read_text()
        self.assertNotRegex(text, r"(?m)^(Protect|Private|ReadOnly|Inaccessible|TemporaryFileSystem|Bind|Root|Mount)\w*=")


if __name__ == "__main__":
    unittest.main()
