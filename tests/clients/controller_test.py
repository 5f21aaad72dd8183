# SPDX-License-Identifier: Apache-2.0
"""Every method of forkd.Controller, as published, against the daemon at FORKD_URL."""

import os
import pathlib
import re
import time
import unittest

import forkd

TAG = os.environ["FORKD_TAG"]
MEMORY_LIMITS = os.environ["FORKD_MEMORY_LIMITS"] == "yes"
ABSENT = "sb-0-0000"
SANDBOX_FIELDS = {
    "id", "snapshot_tag", "guest_addr", "netns", "created_at_unix", "pid", "memory_limit_mib", "has_branched",
    "last_branch_memory_path", "branch_count",
}


def ended(pid):
    """Whether it has, and may only have to be waited for by its parent."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


class ControllerTest(unittest.TestCase):
    def setUp(self):
        self.controller = forkd.Controller()
        self.sandbox = self.spawn()[0]
        self.id = self.sandbox["id"]

    def spawn(self, tag=TAG, **options):
        sandboxes = self.controller.spawn_sandboxes(tag, **options)
        for sandbox in sandboxes:
            self.addCleanup(self.kill, sandbox["id"])
        return sandboxes

    def kill(self, sandbox_id):
        try:
            self.controller.kill_sandbox(sandbox_id)
        except forkd.ControllerError as e:
            self.assertEqual(e.status, 404)

    def branch(self, **options):
        branch = self.controller.branch_sandbox(self.id, **options)
        self.addCleanup(self.controller.delete_snapshot, branch["tag"])
        self.assertEqual(branch["branched_from"], self.id)
        self.assertIsInstance(branch["pause_ms"], int)
        return branch

    def run_in(self, sandbox_id, script):
        return self.controller.exec_command(sandbox_id, ["sh", "-c", script])

    def refused(self, status, method, *arguments, **options):
        with self.assertRaises(forkd.ControllerError) as raised:
            method(*arguments, **options)
        self.assertEqual(raised.exception.status, status)
        self.assertIsInstance(raised.exception.body["error"], str)
        return raised.exception.body["error"]

    def snapshot(self, tag):
        found = [s for s in self.controller.list_snapshots() if s["tag"] == tag]
        self.assertLessEqual(len(found), 1, "a tag is listed once")
        return found[0] if found else None

    # --- sandboxes

    def test_spawn_answers_with_every_field(self):
        self.assertLessEqual(SANDBOX_FIELDS, set(self.sandbox))
        self.assertRegex(self.id, r"^sb-[0-9a-f]+-[0-9a-f]{4,}$")
        self.assertEqual(self.sandbox["snapshot_tag"], TAG)
        self.assertEqual(self.sandbox["guest_addr"], "10.42.0.2:8888")
        self.assertIsNone(self.sandbox["netns"])
        self.assertIsNone(self.sandbox["memory_limit_mib"])
        self.assertFalse(self.sandbox["has_branched"])
        self.assertEqual(self.sandbox["branch_count"], 0)
        os.kill(self.sandbox["pid"], 0)
        self.assertLess(abs(self.sandbox["created_at_unix"] - time.time()), 60)

    def test_spawn_many_with_every_option(self):
        options = {"prewarm": True, "live_fork": True, "hugepages": True}
        if MEMORY_LIMITS:
            many = self.spawn(n=5, memory_limit_mib=256, **options)
        else:
            why = self.refused(500, self.controller.spawn_sandboxes, TAG, n=5, memory_limit_mib=256, **options)
            self.assertIn("memory_limit_mib cannot be put in place", why)
            many = self.spawn(n=5, **options)
        self.assertEqual(len({sandbox["id"] for sandbox in many}), 5)
        names = {self.run_in(sandbox["id"], "hostname")["stdout"] for sandbox in many}
        self.assertEqual(len(names), 5, "no two have the same name")

    def test_spawn_of_what_is_not_there(self):
        self.assertIn("nosuch", self.refused(404, self.controller.spawn_sandboxes, "nosuch"))
        self.refused(400, self.controller.spawn_sandboxes, TAG, n=0)
        self.refused(400, self.controller.spawn_sandboxes, TAG, n=1001)
        self.refused(400, self.controller.spawn_sandboxes, "../" + TAG)

    def test_list_and_get(self):
        other = self.spawn()[0]["id"]
        ids = [sandbox["id"] for sandbox in self.controller.list_sandboxes()]
        self.assertEqual(ids, sorted(ids))
        self.assertLessEqual({self.id, other}, set(ids))
        self.assertEqual(self.controller.get_sandbox(self.id), self.sandbox)

    def test_kill_ends_the_process(self):
        self.assertIsNone(self.controller.kill_sandbox(self.id))
        self.assertTrue(ended(self.sandbox["pid"]))
        self.assertNotIn(self.id, [sandbox["id"] for sandbox in self.controller.list_sandboxes()])
        for method in (self.controller.kill_sandbox, self.controller.get_sandbox, self.controller.ping_sandbox):
            self.assertIn(self.id, self.refused(404, method, self.id))

    # --- what is asked of a guest

    def test_ping(self):
        answer = self.controller.ping_sandbox(self.id)
        self.assertIs(answer["pong"], True)
        self.assertLessEqual({"numpy_version", "pid", "agent_lang", "warmup_ready"}, set(answer))

    def test_exec(self):
        self.assertEqual(
            self.run_in(self.id, "echo out; echo err >&2; exit 3"),
            {"stdout": "out\n", "stderr": "err\n", "exit_code": 3})

    def test_exec_of_what_cannot_run(self):
        answer = self.controller.exec_command(self.id, ["nosuch"])
        self.assertNotEqual(answer["exit_code"], 0)
        self.assertIn("nosuch", answer["stderr"])
        self.refused(400, self.controller.exec_command, self.id, [])

    def test_exec_that_takes_too_long(self):
        began = time.monotonic()
        answer = self.controller.exec_command(self.id, ["sleep", "600"], timeout_secs=1)
        self.assertLess(time.monotonic() - began, 60)
        self.assertNotEqual(answer["exit_code"], 0)
        self.assertIn("1 s", answer["stderr"])

    def test_exec_of_much_output(self):
        answer = self.controller.exec_command(self.id, ["write", str(4 << 20)])
        self.assertEqual(len(answer["stdout"]), 4 << 20)

    def test_eval(self):
        self.assertEqual(
            self.controller.eval_code(self.id, "6 * 7"), {"result": "42", "error": None, "exit_code": 0})

    def test_eval_that_raises_is_no_failed_request(self):
        answer = self.controller.eval_code(self.id, "raise ValueError('because')")
        self.assertIsNone(answer["result"])
        self.assertEqual(answer["exit_code"], 1)
        self.assertIn("because", answer["error"])

    def test_eval_keeps_what_the_snapshot_had(self):
        self.assertEqual(self.controller.eval_code(self.id, "count")["result"], "1")
        self.assertEqual(self.controller.eval_code(self.id, "count")["result"], "2")
        other = self.spawn()[0]["id"]
        self.assertEqual(self.controller.eval_code(other, "count")["result"], "1", "a sibling has its own memory")

    # --- branches

    def test_branches_have_what_their_source_had(self):
        self.run_in(self.id, "echo half way > work")
        branch = self.branch()
        self.assertTrue(re.fullmatch(rf"branch-{self.id}-[0-9]+-[0-9a-f]{{4}}", branch["tag"]), branch["tag"])
        self.run_in(self.id, "echo further > work")
        for child in self.spawn(branch["tag"], n=3):
            self.assertEqual(self.run_in(child["id"], "cat work")["stdout"], "half way\n")
        self.assertEqual(self.run_in(self.id, "cat work")["stdout"], "further\n")
        self.kill(self.id)
        late = self.spawn(branch["tag"])[0]["id"]
        self.assertEqual(self.run_in(late, "cat work")["stdout"], "half way\n", "it outlives its source")

    def test_branch_in_every_mode(self):
        for options in ({"mode": "full"}, {"mode": "live"}, {"mode": "diff"}, {"diff": True}, {"measure_diff": True}):
            with self.subTest(options):
                branch = self.branch(**options)
                self.assertEqual(branch["status"], "ready")
                self.assertIs(branch["bootable"], True)
                measured = options.get("mode") == "diff" or "diff" in options or "measure_diff" in options
                for field in ("diff_ms", "diff_physical_bytes", "diff_logical_bytes"):
                    self.assertEqual(field in branch, measured, field)
                self.assertEqual(self.controller.ping_sandbox(self.spawn(branch["tag"])[0]["id"])["pong"], True)
        self.assertGreaterEqual(self.controller.get_sandbox(self.id)["branch_count"], 5)

    def test_branch_that_nobody_waits_for(self):
        branch = self.branch(tag="not-awaited", mode="live", wait=False)
        self.assertEqual(branch["tag"], "not-awaited")
        self.assertEqual((branch["status"], branch["bootable"]), ("writing", False))
        deadline = time.monotonic() + 60
        while self.snapshot("not-awaited")["status"] == "writing" and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(self.snapshot("not-awaited")["status"], "ready")
        self.spawn("not-awaited")

    def test_branches_that_are_refused(self):
        branch = self.controller.branch_sandbox
        self.refused(404, branch, ABSENT)
        self.refused(409, branch, self.id, tag=TAG)
        self.refused(400, branch, self.id, tag="no/tag")
        self.refused(400, branch, self.id, mode="full", wait=False)
        self.refused(400, branch, self.id, mode="diff", measure_diff=True)
        self.refused(422, branch, self.id, mode="nosuch")

    # --- snapshots

    def test_list_snapshots(self):
        listed = self.snapshot(TAG)
        self.assertEqual((listed["status"], listed["bootable"]), ("ready", True))
        self.assertTrue(os.path.isfile(os.path.join(listed["dir"], "memory.bin")))
        tags = [snapshot["tag"] for snapshot in self.controller.list_snapshots()]
        self.assertEqual(tags, sorted(tags))

    def test_delete_snapshot(self):
        tag = self.controller.branch_sandbox(self.id)["tag"]
        directory = self.snapshot(tag)["dir"]
        self.assertIsNone(self.controller.delete_snapshot(tag))
        self.assertFalse(os.path.exists(directory))
        self.assertIsNone(self.snapshot(tag))
        self.refused(404, self.controller.delete_snapshot, tag)

    def test_a_parent_is_not_deleted(self):
        self.branch(tag="own-parent")
        self.controller.branch_sandbox(self.spawn("own-parent")[0]["id"], tag="dependent", mode="diff")
        self.addCleanup(self.controller.delete_snapshot, "dependent")
        self.assertIn("dependent", self.refused(409, self.controller.delete_snapshot, "own-parent"))

    # --- the token

    @unittest.skipUnless(os.environ.get("FORKD_TOKEN"), "of the daemon with a token")
    def test_a_wrong_token_is_refused(self):
        self.refused(401, forkd.Controller(token="").list_snapshots)
        self.refused(401, forkd.Controller(token="0123456789abcdef0").list_snapshots)


if __name__ == "__main__":
    unittest.main()
