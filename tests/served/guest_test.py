# SPDX-License-Identifier: Apache-2.0
"""What the SDKs' clients do with a guest whose agent can all: the guest of the SDKs' other tests cannot."""

import pathlib
import signal
import subprocess

import forkd
from serving import Bounded
from waiting import waiting

TAG = "py"
CHANGES = 1000


class Tests:
    @classmethod
    def setUpClass(cls):
        cls.client = cls.make_client()
        made = cls.client.spawn_sandboxes(TAG)
        cls.addClassCleanup(made.__exit__, None, None, None)
        cls.sandbox = made[0]

    def run_in_it(self, *command, **options):
        done = self.client.exec_command(self.sandbox, list(command), **options)
        self.assertEqual(done["exit_code"], 0, done)
        return done["stdout"]

    def refused(self, status, code, method, *arguments, **named):
        with self.assertRaises(forkd.ControllerError) as raised:
            method(self.sandbox, *arguments, **named)
        self.assertEqual((raised.exception.status, raised.exception.code), (status, code), raised.exception)

    def test_each_change_is_told_or_said_to_be_lost(self):
        self.client.make_directory(self.sandbox, "/watched/below", parents=True)
        script = f"i=0; while [ $i -lt {CHANGES} ]; do : >/watched/below/$i; i=$((i + 1)); done; mkdir /watched/end"
        told, lost = set(), False
        with self.client.watch_files(self.sandbox, "/watched", recursive=True) as changes:
            self.run_in_it("sh", "-c", script, timeout_secs=300)
            for change in changes:
                lost = lost or change["change"] == "lost"
                if change["change"] == "create":
                    told.add(change["path"])
                if lost or "/watched/end" in told:
                    break
        self.assertTrue(lost or told == {f"/watched/below/{i}" for i in range(CHANGES)} | {"/watched/end"}, told)

    def test_program_has_a_terminal(self):
        with self.client.talk_to_process(self.sandbox, ["sh"], rows=24, columns=80, env={"PS1": ""}) as shell:
            parts = iter(shell)

            def expect(text):
                seen = b""
                while text not in seen:
                    seen += next(parts).data

            shell.write(b"stty size\n")
            expect(b"24 80")
            shell.resize(50, 132)
            shell.write(b"stty size\n")
            expect(b"50 132")
            shell.write(b"sh -c 'echo now; exec sleep 1000'\n")
            expect(b"\nnow")
            shell.write(b"\x03")
            shell.write(b"echo after=$?\n")
            expect(b"after=130")
            shell.write(b"exit 7\n")
            self.assertEqual(shell.wait(), 7)

    def test_log_of_its_console(self):
        self.run_in_it("sh", "-c", "echo first line >/dev/console")
        with self.client.follow_log(self.sandbox) as log:
            parts = iter(log)
            heard = ""
            while "first line" not in heard:
                heard += next(parts)
            self.run_in_it("sh", "-c", "echo second line >/dev/console")
            while "second line" not in heard:
                heard += next(parts)
        self.assertEqual(self.client.read_log(self.sandbox, tail=1).strip(), "second line")


class AsyncControllerTest(Tests, Bounded):
    @classmethod
    def make_client(cls):
        loop, client = waiting(forkd.AsyncController(timeout=300))
        cls.addClassCleanup(loop.close)
        cls.addClassCleanup(client.close)
        return client


class ControllerTest(Tests, Bounded):
    @classmethod
    def make_client(cls):
        return cls.enterClassContext(forkd.Controller(timeout=300))

    def test_snapshot_of_an_image(self):
        script = "echo $(hello) $(id -u) $(pwd) $GREETING"
        with self.client.spawn_sandboxes("image") as [one]:
            done = self.client.exec_command(one, ["sh", "-c", script])
        self.assertEqual(done["stdout"], "musl 1000 /home/app hello\n")

    def test_files_are_moved(self):
        self.client.write_file(self.sandbox, "/d/from", "text", parents=True, mode=0o640)
        self.client.make_directory(self.sandbox, "/d/in")
        self.client.move_file(self.sandbox, "/d/from", b"/d/in/\xff")
        self.assertEqual(self.run_in_it("sh", "-c", "cat /d/in/*; ls /d"), "textin\n")
        self.client.move_file(self.sandbox, b"/d/in/\xff", "/d/to")
        self.assertEqual(self.client.stat_file(self.sandbox, "/d/to")["mode"], "0640")
        self.refused(404, "ENOENT", self.client.move_file, "/d/from", "/d/to")
        self.refused(403, "EACCES", self.client.move_file, "/d/to", "/d/mine", user="nobody")
        self.client.write_file(self.sandbox, "/d/in/file", "")
        self.client.make_directory(self.sandbox, "/d/other")
        self.refused(409, "ENOTEMPTY", self.client.move_file, "/d/other", "/d/in")

    def test_group_of_a_program_is_signalled(self):
        script = "sleep 1000 & echo $!; wait"
        with self.client.exec_stream(self.sandbox, ["sh", "-c", script], tag="job") as job:
            parts = iter(job)
            below = next(parts).data.decode().strip()
            self.client.signal_process(self.sandbox, "job", signal.SIGKILL, group=True)
            self.assertEqual(job.wait(), -9)
        self.assertNotEqual(self.client.exec_command(self.sandbox, ["kill", "-0", below])["exit_code"], 0)

    def test_metrics_are_of_its_kernel(self):
        figures = self.client.sandbox_metrics(self.sandbox, guest=True)["guest"]
        self.assertEqual(figures["cpus"], 1)
        self.assertGreater(figures["memory_bytes"], 400 << 20, figures)

    def test_paused_it_keeps_its_programs_and_files(self):
        self.client.start_process(self.sandbox, ["sh", "-c", "echo $$ >/pid; exec sleep 1000"], tag="sleeper")
        self.client.write_file(self.sandbox, "/kept", "text")
        self.client.pause_sandbox(self.sandbox)
        self.client.resume_sandbox(self.sandbox)
        self.assertEqual(self.client.read_file(self.sandbox, "/kept"), b"text")
        [process] = [each for each in self.client.list_processes(self.sandbox) if each["tag"] == "sleeper"]
        self.assertIsNone(process["exit_code"])
        self.assertEqual(self.run_in_it("cat", "/pid"), f"{process['pid']}\n")


class TypeScriptTest(Bounded):
    def test_typescript_sdk(self):
        subprocess.run(["node", "--test", pathlib.Path(__file__).with_name("guest.test.mjs")], check=True)
