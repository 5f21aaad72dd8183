# SPDX-License-Identifier: Apache-2.0
"""How a daemon is reached, and what is said when it is not."""

import http.server
import os
import pathlib
import re
import secrets
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import forkd

ROOT = pathlib.Path(__file__).resolve().parents[3]
TAG = os.environ["FORKD_TAG"]


class UnixSocketTest(unittest.TestCase):
    def test_everything_goes_over_a_unix_socket(self):
        path = os.environ["XDG_RUNTIME_DIR"] + "/forkd/daemon.sock"
        with forkd.Controller(f"unix:{path}") as client, client.spawn_sandboxes(TAG) as [sandbox]:
            self.assertEqual(client.exec_command(sandbox, ["echo", "hi"])["stdout"], "hi\n")
            with client.exec_stream(sandbox, ["echo", "hi"]) as run:
                self.assertEqual(list(run), [("stdout", b"hi\n")])
            with client.talk_to_process(sandbox, ["cat"]) as cat:
                cat.write(b"hi")
                cat.end_input()
                self.assertEqual(list(cat), [("stdout", b"hi")])
            with client.port_client(sandbox, 80) as web:
                self.assertIn("hello", web.get("/").text)


class TlsTest(unittest.TestCase):
    """A daemon with a certificate and a token."""

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="sdk-tls-")
        cls.addClassCleanup(directory.cleanup)
        work = pathlib.Path(directory.name)
        cls.token = secrets.token_hex(16)
        (work / "token").write_text(cls.token)
        for name in ("ours", "others"):
            subprocess.run(
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost "
                f"-addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.pem".split(),
                cwd=work,
                check=True,
                stderr=subprocess.DEVNULL,
            )
        cls.ours, cls.others = str(work / "ours.pem"), str(work / "others.pem")
        environment = {**os.environ, "XDG_DATA_HOME": str(work / "data"), "XDG_RUNTIME_DIR": str(work)}
        options = ["--token-file", "token", "--tls-cert", "ours.pem", "--tls-key", "ours.key", "--state", "state.json"]
        with open(work / "log", "wb") as log:
            process = subprocess.Popen(
                [ROOT / "forkd", "daemon", "--bind", "127.0.0.1:0", "--audit-log", "audit.log", *options],
                cwd=work,
                env=environment,
                stderr=log,
            )
        cls.addClassCleanup(process.wait)
        cls.addClassCleanup(process.kill)
        deadline = time.monotonic() + 60
        while (found := re.search(r"https?://(127[0-9.]+:[0-9]+)", (work / "log").read_text())) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((work / "log").read_text())
            time.sleep(0.05)
        cls.url = "https://" + found[1]

    def client(self, token, ca):
        client = forkd.Controller(self.url + "/", token, ca=ca)
        self.addCleanup(client.close)
        return client

    def refused(self, status, method, *arguments):
        with self.assertRaises(forkd.ControllerError) as raised:
            method(*arguments)
        self.assertEqual(raised.exception.status, status)
        return raised.exception

    def test_who_has_the_token_and_trusts_the_certificate_is_answered(self):
        client = self.client(self.token, self.ours)
        self.assertEqual(client.list_sandboxes(), [])
        self.refused(404, client.exec_stream("nosuch", ["true"]).__enter__)
        self.refused(404, client.talk_to_process("nosuch", ["true"]).__enter__)
        with client.port_client("nosuch", 80) as web:
            self.assertEqual(web.get("/").status_code, 404)

    def test_token_goes_nowhere_else(self):
        heard = []

        class Elsewhere(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                heard.append(self.headers["Authorization"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *what):
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
            threading.Thread(target=server.handle_request, daemon=True).start()
            with self.client(self.token, self.ours).port_client("nosuch", 80) as web:
                web.get(f"http://127.0.0.1:{server.server_port}/elsewhere")
        self.assertEqual(heard, [None])

    def test_another_token_is_refused(self):
        for token in ("", "0123456789abcdef0"):
            client = self.client(token, self.ours)
            self.assertEqual(client.health(), {"ok": True})
            self.refused(401, client.list_sandboxes)
            self.refused(401, client.exec_stream("nosuch", ["true"]).__enter__)
            self.refused(401, client.talk_to_process("nosuch", ["true"]).__enter__)

    def test_another_certificate_is_not_trusted(self):
        for ca in (None, self.others):
            client = self.client(self.token, ca)
            with self.assertRaisesRegex(forkd.UnreachableError, "certificate"):
                client.list_sandboxes()
            with self.assertRaisesRegex(forkd.UnreachableError, "certificate"):
                client.talk_to_process("nosuch", ["true"]).__enter__()


class NoDaemonTest(unittest.TestCase):
    def setUp(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def client(self, timeout):
        client = forkd.Controller(self.url, timeout=timeout)
        self.addCleanup(client.close)
        return client

    def test_no_daemon(self):
        self.listener.close()
        client = self.client(60)
        for call in (
            client.version,
            client.exec_stream("sb", ["true"]).__enter__,
            client.talk_to_process("sb").__enter__,
        ):
            with self.assertRaisesRegex(forkd.UnreachableError, re.escape(self.url.partition("://")[2])) as raised:
                call()
            self.assertIsInstance(raised.exception, OSError)

    def test_daemon_that_does_not_answer(self):
        with self.assertRaises(forkd.TimedOutError) as raised:
            self.client(0.2).version()
        self.assertIsInstance(raised.exception, TimeoutError)
        self.assertIsInstance(raised.exception, forkd.ForkdError)

    def test_address_that_is_none(self):
        with self.assertRaisesRegex(ValueError, "unix:PATH"):
            forkd.Controller("127.0.0.1:8889")

    def test_something_else_that_answers(self):
        with forkd.Controller(os.environ["FORKD_URL"] + "/v1") as client, self.assertRaises(forkd.ControllerError):
            client.version()
