# SPDX-License-Identifier: Apache-2.0
"""A client that knows the domain alone: tests/clients/e2b/domain runs it."""

import os
import ssl
import unittest
import urllib.error
import urllib.request

from e2b import NotFoundException, Sandbox, SandboxQuery

DOMAIN = os.environ["E2B_DOMAIN"]


class ByDomain(unittest.TestCase):
    def setUp(self):
        self.sandbox = Sandbox.create("py", timeout=300, metadata={"test": self.id()}, envs={"A": "1"})
        self.addCleanup(self.sandbox.kill)

    def get(self, url, **headers):
        request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=60, context=ssl.create_default_context()) as answer:
                return answer.status, answer.read(1000).decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def test_a_life(self):
        self.assertTrue(self.sandbox.is_running())
        self.assertEqual({"test": self.id()}, self.sandbox.get_info().metadata)
        pages = Sandbox.list(query=SandboxQuery(metadata={"test": self.id()}))
        self.assertEqual([self.sandbox.sandbox_id], [each.sandbox_id for each in pages.next_items()])
        end = self.sandbox.get_info().end_at
        self.sandbox.set_timeout(600)
        self.assertGreater(self.sandbox.get_info().end_at, end)
        self.assertTrue(self.sandbox.kill())
        self.assertFalse(self.sandbox.is_running())
        self.assertFalse(self.sandbox.kill())
        with self.assertRaises(NotFoundException):
            Sandbox.connect(self.sandbox.sandbox_id)

    def test_a_paused_one_is_connected_to(self):
        (getattr(self.sandbox, "pause", None) or self.sandbox.beta_pause)()
        self.assertFalse(self.sandbox.is_running())
        again = Sandbox.connect(self.sandbox.sandbox_id, timeout=100)
        self.assertTrue(again.is_running())
        self.assertEqual("running", again.get_info().state.value)

    def test_what_is_in_it_is_reached_by_its_own_host(self):
        self.sandbox.files.write("/sink", "abc", user="root")
        self.assertEqual([], self.sandbox.commands.list())
        self.assertEqual(f"80-{self.sandbox.sandbox_id}.{DOMAIN}", self.sandbox.get_host(80))
        status, text = self.get(f"https://{self.sandbox.get_host(80)}/page")
        self.assertEqual(200, status, text)
        self.assertIn("hello from the guest: GET /page", text)
        status, text = self.get(f"https://{self.sandbox.get_host(3000)}/")
        self.assertEqual(502, status)
        self.assertIn("port is not open", text)

    def test_a_url_is_good_for_what_it_is_signed_for(self):
        url = self.sandbox.download_url("/pattern", user="root")
        self.assertIn(f"://49983-{self.sandbox.sandbox_id}.{DOMAIN}/files", url)
        self.assertEqual(200, self.get(url)[0])
        self.assertEqual(401, self.get(url.replace("pattern", "other"))[0])

    def test_its_daemon_is_for_who_has_its_token(self):
        other = Sandbox.create("py", timeout=300)
        self.addCleanup(other.kill)
        url = f"https://49983-{self.sandbox.sandbox_id}.{DOMAIN}/files?path=/pattern&username=root"
        for token, status in [("wrong", 401), (other._envd_access_token, 401), (self.sandbox._envd_access_token, 200)]:
            # Fields that name another sandbox do not count where the host names one.
            fields = {"E2b_Sandbox_Id": other.sandbox_id, "E2b_Sandbox_Port": "49983"}
            self.assertEqual(status, self.get(url, X_Access_Token=token, **fields)[0])


if __name__ == "__main__":
    unittest.main(warnings="ignore")  # of connections that the old client leaves open
