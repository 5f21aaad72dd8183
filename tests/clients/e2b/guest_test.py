# SPDX-License-Identifier: Apache-2.0
"""What E2B's SDKs for the code interpreter do with real guests: tests/clients/e2b/guest runs it."""

import os
import pathlib
import signal
import subprocess
import time
import unittest
import urllib.error
import urllib.request

import e2b
from e2b import NotFoundException, TimeoutException
from e2b_code_interpreter import Sandbox

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
FRAMEWORKS = sorted(file.stem for file in (HERE / "frameworks").glob("*.py"))
SLOW = 300  # seconds that a call may take
LIMIT = 900  # and a test


def stdout(execution):
    return "".join(execution.logs.stdout)


class Bounded(unittest.TestCase):
    def setUp(self):
        signal.signal(signal.SIGALRM, self.expire)
        signal.alarm(LIMIT)
        self.addCleanup(signal.alarm, 0)

    def expire(self, *_):
        raise TimeoutError(f"{self.id()} has taken {LIMIT} s")


class Interpreter(Bounded):
    def setUp(self):
        super().setUp()
        self.sandbox = self.make(envs={"OF_SANDBOX": "one", "BOTH": "sandbox's"})

    def make(self, **how):
        made = Sandbox.create(timeout=1800, request_timeout=SLOW, **how)
        self.addCleanup(made.kill)
        return made

    def code(self, code, sandbox=None, **how):
        execution = (sandbox or self.sandbox).run_code(code, timeout=SLOW, request_timeout=SLOW, **how)
        self.assertIsNone(execution.error)
        return execution

    def test_kernel_of_the_snapshot_is_each_childs_and_warm(self):
        kernels = set()
        for sandbox in self.sandbox, self.make():
            seen = self.code(
                "import os, sys; os.getpid(), sorted({'numpy', 'pandas', 'matplotlib.pyplot'} - {*sys.modules})",
                sandbox,
            )
            kernels.add(seen.text)
        [kernel] = kernels  # One process, with one number.
        self.assertRegex(kernel, r"^\([0-9]+, \[\]\)$")

    def test_children_have_random_numbers_of_their_own(self):
        code = "import random, numpy; random.random(), numpy.random.rand()"
        children = [self.sandbox, self.make(), *self.sandbox.fork(count=2, timeout=1800, request_timeout=SLOW)]
        for child in children[2:]:
            self.addCleanup(child.kill)
        self.assertEqual(len(children), len({self.code(code, child).text for child in children}))

    def test_variables_of_the_sandbox_are_those_of_its_cells(self):
        show = "import os; print(os.environ.get('OF_SANDBOX'), os.environ.get('BOTH'), os.environ.get('OF_CALL'))"
        self.assertEqual("one sandbox's None\n", stdout(self.code(show)))
        self.assertEqual("one call's 2\n", stdout(self.code(show, envs={"BOTH": "call's", "OF_CALL": "2"})))
        self.assertEqual("one sandbox's None\n", stdout(self.code(show)))
        self.assertEqual("one\n", stdout(self.code("echo $OF_SANDBOX", language="bash")))
        self.assertEqual("None None None\n", stdout(self.code(show, self.make())))

    def test_results_charts_and_errors(self):
        self.assertEqual("42", self.code("x = 41\nx + 1").text)
        frame = self.code("import pandas; pandas.DataFrame({'a': [1, 2]})").results[0]
        self.assertEqual({"a": [1, 2]}, frame.data)
        plot = self.code("import matplotlib.pyplot as plt\nplt.plot([1, 2], [3, 4])\nplt.show()").results[0]
        self.assertEqual("line", plot.chart.type.value)
        self.assertGreater(len(plot.png), 1000)
        error = self.sandbox.run_code("1 / 0", timeout=SLOW, request_timeout=SLOW).error
        self.assertEqual(("ZeroDivisionError", "division by zero"), (error.name, error.value))

    def test_outputs_come_while_it_runs_and_whole(self):
        heard = []
        code = "import time\nprint('first', flush=True)\ntime.sleep(8)\nprint('x' * 3_000_000)"
        execution = self.code(code, on_stdout=lambda message: heard.append((time.monotonic(), len(message.line))))
        self.assertGreater(heard[-1][0] - heard[0][0], 4)
        self.assertEqual("first\n" + "x" * 3_000_000 + "\n", stdout(execution))

    def test_contexts(self):
        context = self.sandbox.create_code_context(cwd="/usr", language="bash", request_timeout=SLOW)
        self.assertEqual("/usr\n", stdout(self.code("kept=1; pwd", context=context)))
        self.assertEqual("1\n", stdout(self.code("echo $kept", context=context)))
        self.assertIn(context.id, [each.id for each in self.sandbox.list_code_contexts()])
        self.sandbox.restart_code_context(context)
        self.assertEqual("\n", stdout(self.code("echo $kept", context=context)))
        self.sandbox.remove_code_context(context)
        with self.assertRaises(NotFoundException):
            self.sandbox.run_code("pwd", context=context)

    def test_a_cell_that_takes_too_long_is_interrupted(self):
        self.code("kept = 8")
        with self.assertRaises(TimeoutException):
            self.sandbox.run_code("import time\ntime.sleep(1000)", timeout=10)
        self.assertEqual("8", self.code("kept").text)

    def test_forks_go_on_with_what_the_kernel_knows(self):
        self.code("import os, pandas; kept = pandas.DataFrame({'a': [7]}); pid = os.getpid()")
        children = self.sandbox.fork(count=2, timeout=1800, request_timeout=SLOW)
        for n, child in enumerate(children):
            self.addCleanup(child.kill)
            self.assertEqual("(7, True)", self.code("int(kept.a[0]), pid == os.getpid()", child).text)
            self.assertEqual("one\n", stdout(self.code("print(os.environ['OF_SANDBOX'])", child)))
            self.code(f"kept = {n}", child)
        self.assertEqual("7", self.code("int(kept.a[0])").text)
        self.assertEqual(["0", "1"], [self.code("kept", child).text for child in children])

    def test_a_paused_one_is_resumed_by_the_next_cell(self):
        sandbox = self.make(lifecycle={"on_timeout": "pause", "auto_resume": True})
        self.code("kept = []", sandbox)
        for n in range(5):
            sandbox.pause(request_timeout=SLOW)
            self.assertEqual("paused", sandbox.get_info().state.value)
            self.assertEqual(str([*range(n + 1)]), self.code(f"kept.append({n}); kept", sandbox).text)

    def test_cells_are_for_who_has_the_sandboxes_token(self):
        other = self.make()

        def execute(**fields):
            request = urllib.request.Request(
                os.environ["E2B_SANDBOX_URL"] + "/execute",
                b'{"code":"1 + 1"}',
                {"E2b-Sandbox-Id": self.sandbox.sandbox_id, "E2b-Sandbox-Port": "49999", **fields},
            )
            try:
                with urllib.request.urlopen(request, timeout=SLOW) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code

        self.assertEqual(401, execute())
        self.assertEqual(401, execute(**{"X-Access-Token": other._envd_access_token}))
        self.assertEqual(200, execute(**{"X-Access-Token": self.sandbox._envd_access_token}))

    def test_one_that_is_gone(self):
        gone = self.make()
        gone.kill()
        with self.assertRaises(Exception) as raised:
            gone.run_code("1", request_timeout=SLOW)
        self.assertRegex(str(raised.exception), "not found|502|timeout")


class Files(Bounded):
    def test_users_have_directories_in_the_root_of_their_own(self):
        sandbox = e2b.Sandbox.create(timeout=1800, request_timeout=SLOW)
        self.addCleanup(sandbox.kill)
        files = sandbox.files
        self.assertTrue(files.make_dir("/workspace"))
        self.assertFalse(files.make_dir("/workspace"))
        files.write("/work/below/file", "text")
        files.rename("/work/below/file", "/moved/to/file")
        for path in "/workspace", "/work", "/work/below", "/moved/to", "/moved/to/file":
            self.assertEqual("user", files.get_info(path).owner)
        done = sandbox.commands.run("cat /moved/to/file >/workspace/copy; cat /workspace/copy", timeout=SLOW)
        self.assertEqual("text", done.stdout)
        for path in "/file", "/etc/file", "/usr/new/file", "/root/file":
            with self.assertRaises(e2b.SandboxException):
                files.write(path, "text")
            self.assertFalse(files.exists("/file") or files.exists("/usr/new"))


class OfNpm(Bounded):
    def test_the_same_by_the_other_client(self):
        folder = ROOT / "build/e2b/node"
        (folder / "guest.mjs").write_bytes((HERE / "guest.mjs").read_bytes())
        subprocess.run(["node", "guest.mjs"], cwd=folder, check=True, timeout=LIMIT)


class Frameworks(Bounded):
    """Each is a script of its own, with a package of its own, which the first line of it says."""


def framework(name):
    def test(self):
        # Without the script's own folder in its path, where it has the name of a package.
        command = [ROOT / "build/frameworks" / name / "bin/python", "-P", HERE / "frameworks" / f"{name}.py"]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        subprocess.run(command, env=environment, check=True, timeout=LIMIT)

    return test


for name in FRAMEWORKS:
    setattr(Frameworks, f"test_{name}", framework(name))
