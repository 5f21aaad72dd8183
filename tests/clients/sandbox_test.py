# SPDX-License-Identifier: Apache-2.0
"""forkd.Sandbox, as published. It asks no daemon: it runs `forkd fork`, speaks to the agent over TCP, and ends the
command by SIGTERM. A guest without a network device has no address that it could connect to; a relay is one."""

import os
import pathlib
import signal
import unittest

import forkd
from relay import Relay

TAG = os.environ["FORKD_TAG"]
RUNTIME = pathlib.Path(os.environ["XDG_RUNTIME_DIR"], "forkd")


def runs():
    return list(RUNTIME.glob("fork-*"))


class SandboxTest(unittest.TestCase):
    def setUp(self):
        self.assertEqual(runs(), [])
        self.relay = Relay(RUNTIME)
        self.addCleanup(self.relay.close)

    def create(self, **options):
        sandbox = forkd.Sandbox.create(TAG, f"127.0.0.1:{self.relay.port}", **options)
        self.addCleanup(sandbox.kill)
        self.addCleanup(lambda process: process and process.stderr.close(), sandbox._fork_proc)
        return sandbox

    def test_ping_commands_and_eval(self):
        with self.create() as sandbox:
            self.assertIs(sandbox.ping()["pong"], True)
            done = sandbox.commands.run("echo out; echo err >&2; exit 3")
            self.assertEqual((done.stdout, done.stderr, done.exit_code), ("out\n", "err\n", 3))
            self.assertEqual(sandbox.commands.run(["echo", "two words"]).stdout, "two words\n")
            self.assertEqual(sandbox.eval("6 * 7"), "42")
            with self.assertRaisesRegex(RuntimeError, "because"):
                sandbox.eval("raise ValueError('because')")

    def test_a_command_that_cannot_run_and_one_that_takes_too_long(self):
        with self.create() as sandbox:
            missing = sandbox.commands.run(["nosuch"])
            self.assertEqual(missing.exit_code, 1)
            self.assertIn("nosuch", missing.stderr)
            slow = sandbox.commands.run(["sleep", "600"], timeout=1)
            self.assertNotEqual(slow.exit_code, 0)

    def test_kill_ends_the_child_and_leaves_nothing(self):
        sandbox = self.create()
        process = sandbox._fork_proc
        self.assertEqual(len(runs()), 1)
        sandbox.kill()
        self.assertEqual(process.returncode, 128 + signal.SIGTERM, "ended in time, not killed after 5 s")
        self.assertEqual(runs(), [])

    def test_what_fork_says_when_it_fails_is_passed_on(self):
        with self.assertRaisesRegex(RuntimeError, "nosuch"):
            forkd.Sandbox("nosuch", f"127.0.0.1:{self.relay.port}")

    def test_attaching_to_a_child_that_runs(self):
        sandbox = self.create()
        attached = forkd.Sandbox(target=sandbox.target, spawn=False)
        self.assertIs(attached.ping()["pong"], True)
        attached.kill()
        self.assertIs(sandbox.ping()["pong"], True)


if __name__ == "__main__":
    unittest.main()
