# SPDX-License-Identifier: Apache-2.0
"""A page of a guest without a network device, in a browser, with a WebSocket that counts."""

import os
import pathlib
import re
import shutil
import subprocess

import e2b
import forkd
from playwright.sync_api import sync_playwright
from serving import LIMIT, PORT, Bounded, serve

FORKD = pathlib.Path(__file__).resolve().parents[2] / "forkd"
TAG = "py"
MORE = 50  # numbers, from before something until after it


class BrowserTest(Bounded):
    @classmethod
    def setUpClass(cls):
        cls.client = cls.enterClassContext(forkd.Controller(timeout=300))
        with cls.client.spawn_sandboxes(TAG) as [sandbox]:
            cls.answer = serve(cls.client, sandbox)
            cls.serving = cls.enterClassContext(cls.client.branch(sandbox))["tag"]
        playwright = cls.enterClassContext(sync_playwright())
        cls.browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        [self.sandbox] = self.enterContext(self.client.spawn_sandboxes(self.serving, wake=True))

    def url(self, sandbox, path="/"):
        return self.client.port_host_url(sandbox, PORT, path)

    def open(self, sandbox):
        return self.open_url(self.url(sandbox))

    def open_url(self, url):
        page = self.browser.new_page()
        self.addCleanup(page.close)
        page.set_default_timeout(LIMIT * 1000)
        page.goto(url)
        self.assertEqual(page.title(), "Numbers")
        return page

    def assert_goes_on(self, page):
        """On the same connection, with no number lost or twice."""
        before = page.evaluate("seen.next")
        page.wait_for_function(f"seen.heard > {before + MORE}")
        seen = page.evaluate("seen")
        self.assertEqual((seen["wrong"], seen["closed"]), ([], None))

    def test_page_is_for_browsers_by_host_and_for_programs_by_path(self):
        page = self.open(self.sandbox)
        self.assert_goes_on(page)
        self.assertIn("<title>Numbers</title>", self.answer.text)
        self.assertEqual(self.answer.headers["Content-Security-Policy"], "sandbox")
        refused = page.goto(self.client.port_url(self.sandbox, PORT))
        self.assertEqual(refused.status, 403)
        self.assertIn(f"{PORT}-{self.sandbox['id']}.localhost", refused.json()["error"])

    def test_socket_goes_on_while_its_sandbox_is_branched(self):
        page = self.open(self.sandbox)
        self.assert_goes_on(page)
        with self.client.branch(self.sandbox) as branch, self.client.spawn_sandboxes(branch["tag"], n=2) as children:
            self.assert_goes_on(page)
            pages = [self.open(child) for child in children]
            for each in [page, *pages]:
                self.assert_goes_on(each)
        self.assert_goes_on(page)

    def test_socket_goes_on_while_its_sandbox_is_forked(self):
        page = self.open(self.sandbox)
        self.assert_goes_on(page)
        with self.client.fork_sandbox(self.sandbox) as [child]:
            self.assert_goes_on(page)
            self.assert_goes_on(self.open(child))
        self.assert_goes_on(page)

    def test_socket_of_e2bs_sandbox_goes_on_while_that_is_forked(self):
        said = subprocess.run([FORKD, "e2b", "env"], check=True, capture_output=True, text=True).stdout
        os.environ.update(re.findall("^export ([A-Z0-9_]+)=(.*)$", said, re.MULTILINE))
        made = e2b.Sandbox.create(self.serving, timeout=1800, request_timeout=LIMIT)
        self.addCleanup(made.kill)
        page = self.open_url(f"http://{made.get_host(PORT)}/")
        self.assert_goes_on(page)
        [child] = made.fork(count=1, timeout=1800, request_timeout=LIMIT)
        self.addCleanup(child.kill)
        self.assert_goes_on(page)
        self.assert_goes_on(self.open_url(f"http://{child.get_host(PORT)}/"))
        self.assert_goes_on(page)

    def test_pause_ends_the_socket_and_not_the_server(self):
        page = self.open(self.sandbox)
        self.assert_goes_on(page)
        self.assertEqual(self.client.pause_sandbox(self.sandbox)["state"], "paused")
        page.wait_for_function("seen.closed !== null")
        self.assertEqual(page.evaluate("seen.wrong"), [])
        page.reload()  # which wakes it
        self.assert_goes_on(page)
        [server] = self.client.list_processes(self.sandbox)
        self.assertEqual((server["tag"], server["exit_code"]), ("server", None))

    def test_page_has_nothing_to_do_with_daemon_and_other_sandboxes(self):
        page = self.open(self.sandbox)
        [other] = self.enterContext(self.client.spawn_sandboxes(self.serving))
        daemon = f"{os.environ['FORKD_URL']}/v1/sandboxes"
        for url in (daemon, f"{daemon}/{self.sandbox['id']}", self.url(other)):
            self.assertEqual(page.evaluate("url => fetch(url).then(() => 'read', () => 'refused')", url), "refused")
        page.evaluate("url => fetch(url, {method: 'POST', mode: 'no-cors'})", f"{daemon}/{self.sandbox['id']}/pause")
        self.assertEqual(self.client.get_sandbox(self.sandbox)["state"], "running")
        program = f"{daemon}/{self.sandbox['id']}/exec?arg=touch&arg=/touched"
        for url in (program, self.url(other, "/numbers")):
            opened = page.evaluate(
                """url => new Promise(done => {
                    const socket = new WebSocket(url.replace('http', 'ws'));
                    socket.onopen = () => done('opened');
                    socket.onerror = () => done('refused');
                })""",
                url,
            )
            self.assertEqual(opened, "refused", url)
        with self.assertRaises(forkd.ControllerError) as raised:
            self.client.stat_file(self.sandbox, "/touched")
        self.assertEqual(raised.exception.code, "ENOENT")
        self.assert_goes_on(page)
        with page.expect_navigation() as went:
            page.evaluate("url => { location = url }", daemon)
        self.assertEqual(went.value.status, 403)
