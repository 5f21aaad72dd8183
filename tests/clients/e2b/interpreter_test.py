# SPDX-License-Identifier: Apache-2.0
"""Every row of what E2B's SDK for Python asks of a code interpreter, on one that listens at port 49999."""

import base64
import concurrent.futures
import http.client
import json
import os
import pathlib
import socket
import sys
import time
import unittest

import httpx
from e2b import NotFoundException, SandboxException, TimeoutException
from e2b_code_interpreter import Sandbox

JUPYTER = os.environ["INTERPRETER_KERNEL"] != "bare"
HOME = os.environ["INTERPRETER_HOME"]
PID = int(os.environ["INTERPRETER_PID"])
sandbox = Sandbox.create()
run = sandbox.run_code


def stdout(execution):
    return "".join(execution.logs.stdout)


def stderr(execution):
    return "".join(execution.logs.stderr)


def request(method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", 49999, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def execute(**fields):
    """The lines of an execution."""
    status, body = request("POST", "/execute", json.dumps(fields))
    assert status == 200, body
    return [json.loads(line) for line in body.splitlines()]


def begin(**fields):
    """A connection on which an execution has been asked for."""
    body = json.dumps(fields).encode()
    client = socket.create_connection(("127.0.0.1", 49999))
    client.sendall(b"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return client


def eventually(condition, seconds=15):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never was so"
        time.sleep(0.05)


class Results(unittest.TestCase):
    def test_value_of_the_last_expression_is_the_main_result(self):
        execution = run("x = 20\nx + 1")
        self.assertEqual(execution.text, "21")
        self.assertTrue(execution.results[0].is_main_result)
        self.assertIsNone(execution.error)

    def test_text_of_a_string_is_the_string(self):
        self.assertEqual(run("'it'").text, "it")

    def test_statement_has_no_result(self):
        self.assertEqual(run("y = 1").results, [])

    def test_semicolon_hides_the_result(self):
        self.assertEqual(run("1;").results, [])

    def test_outputs_come_as_they_were_written(self):
        heard = []
        execution = run(
            "import sys, os, subprocess\nprint('one')\nos.system('echo two')\nprint('three')\n"
            "print('err', file=sys.stderr)\n_ = subprocess.run(['echo', 'four'])",
            on_stdout=lambda message: heard.append(message.line),
        )
        self.assertEqual(stdout(execution), "one\ntwo\nthree\nfour\n")
        self.assertEqual("".join(heard), stdout(execution))
        self.assertEqual(stderr(execution), "err\n")

    def test_callbacks_come_while_it_runs(self):
        times = []
        run("import time\nprint(1)\ntime.sleep(1)\nprint(2)", on_stdout=lambda message: times.append(time.monotonic()))
        self.assertGreater(times[-1] - times[0], 0.9)

    def test_each_representation_of_an_object(self):
        execution = run(
            "class Rich:\n"
            "    def __repr__(self): return 'plain'\n"
            "    def _repr_html_(self): return '<b>h</b>'\n"
            "    def _repr_markdown_(self): return '*m*'\n"
            "    def _repr_svg_(self): return '<svg/>'\n"
            "    def _repr_png_(self): return b'png'\n"
            "    def _repr_jpeg_(self): return b'jpeg'\n"
            "    def _repr_pdf_(self): return b'pdf'\n"
            "    def _repr_latex_(self): return '$l$'\n"
            "    def _repr_json_(self): return {'j': [1, 2.5, None]}\n"
            "    def _repr_javascript_(self): return 'alert(1)'\n"
            "Rich()"
        )
        result = execution.results[0]
        coded = {name: base64.b64encode(name.encode()).decode() for name in ("png", "jpeg", "pdf")}
        self.assertEqual(
            (result.text, result.html, result.markdown, result.svg), ("plain", "<b>h</b>", "*m*", "<svg/>")
        )
        self.assertEqual({name: result[name].strip() for name in coded}, coded)
        self.assertEqual((result.latex, result.json, result.javascript), ("$l$", {"j": [1, 2.5, None]}, "alert(1)"))

    def test_other_types_are_extra(self):
        execution = run(
            "class Other:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n"
            "        return {'text/plain': 'o', 'application/vnd.other+json': {'a': 1}}\nOther()"
        )
        self.assertEqual(execution.results[0].extra, {"application/vnd.other+json": {"a": 1}})

    def test_display_is_not_the_main_result(self):
        execution = run("display(1)\ndisplay(2)\n3")
        self.assertEqual(
            [(one.text, one.is_main_result) for one in execution.results], [("1", False), ("2", False), ("3", True)]
        )

    def test_frame_has_text_html_and_its_values(self):
        execution = run(
            "import pandas as pd\n"
            "pd.DataFrame({'a': [1, 2], 'b': [0.5, float('nan')], 'c': ['x', None],"
            " 'd': pd.to_datetime(['2024-01-02', None])})"
        )
        result = execution.results[0]
        self.assertIn("<table", result.html)
        self.assertEqual(result.data["a"], [1, 2])
        self.assertEqual(result.data["b"], [0.5, None])
        self.assertEqual(result.data["c"][0], "x")
        self.assertEqual(result.data["d"], ["2024-01-02T00:00:00", None])

    def test_value_that_is_no_json_is_null(self):
        self.assertEqual(
            run("class N:\n    def _repr_json_(self): return {'n': float('nan')}\nN()").results[0].json, {"n": None}
        )


class Charts(unittest.TestCase):
    def chart(self, code):
        execution = run("import matplotlib.pyplot as plt, datetime\n" + code)
        self.assertIsNone(execution.error)
        self.assertEqual(len(execution.results), 1)
        self.assertTrue(base64.b64decode(execution.results[0].png).startswith(b"\x89PNG"))
        return execution.results[0].chart

    def test_figure_is_shown_at_the_end_and_by_show(self):
        for ending in "", "plt.show()\n":
            execution = run(
                "import matplotlib.pyplot as plt\nfor i in range(2):\n    plt.figure(); plt.plot([i])\n"
                + ending
                + "None"
            )
            self.assertEqual([one.is_main_result for one in execution.results], [False, False])

    def test_svg(self):
        if JUPYTER:
            code = "import matplotlib_inline.backend_inline as b\nb.set_matplotlib_formats({})\n"
        else:
            code = "import matplotlib\nmatplotlib.rcParams['savefig.format'] = {}\n"
        execution = run(code.format("'svg'") + "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.show()")
        self.assertIn("<svg", execution.results[0].svg)
        self.assertIsNone(execution.results[0].png)
        run(code.format("'png'"))

    def test_line(self):
        chart = self.chart(
            "days = [datetime.date(2023, 9, 1 + i) for i in range(5)]\nplt.plot(days, [1, 2, 3, 4, 5], label='up')\n"
            "plt.xlabel('Time (s)'); plt.ylabel('Amplitude [Hz]'); plt.title('Lines'); plt.show()"
        )
        self.assertEqual((chart.type, chart.title), ("line", "Lines"))
        self.assertEqual(
            (chart.x_label, chart.x_unit, chart.y_label, chart.y_unit), ("Time (s)", "s", "Amplitude [Hz]", "Hz")
        )
        self.assertEqual((chart.x_scale, chart.y_scale), ("datetime", "linear"))
        self.assertEqual(chart.elements[0].label, "up")
        self.assertTrue(chart.elements[0].points[0][0].startswith("2023-09-01T00:00:00"))
        self.assertEqual([y for _, y in chart.elements[0].points], [1, 2, 3, 4, 5])
        self.assertEqual(len(chart.x_ticks), len(chart.x_tick_labels))

    def test_scatter_and_scales(self):
        chart = self.chart("plt.scatter([1, 10], ['A', 'B'], label='dots'); plt.xscale('log'); plt.show()")
        self.assertEqual((chart.type, chart.x_scale, chart.y_scale), ("scatter", "log", "categorical"))
        self.assertEqual(chart.elements[0].points, [(1, "A"), (10, "B")])

    def test_bars(self):
        chart = self.chart("plt.bar(['a', 'b'], [3, 4], label='Books'); plt.ylabel('Number'); plt.show()")
        self.assertEqual((chart.type, chart.y_label), ("bar", "Number"))
        self.assertEqual(
            [(one.label, one.group, one.value) for one in chart.elements], [("a", "Books", 3), ("b", "Books", 4)]
        )

    def test_lying_bars(self):
        chart = self.chart("plt.barh(['a', 'b'], [3, 4]); plt.xlabel('Number'); plt.show()")
        self.assertEqual(
            ([(one.label, one.value) for one in chart.elements], chart.y_label), ([("a", 3), ("b", 4)], "Number")
        )

    def test_pie(self):
        chart = self.chart("plt.pie([90, 10], labels=['No', 'Yes'], startangle=90); plt.title('Pie'); plt.show()")
        self.assertEqual((chart.type, chart.title), ("pie", "Pie"))
        self.assertEqual(
            [(one.label, one.angle, one.radius) for one in chart.elements], [("No", 324, 1), ("Yes", 36, 1)]
        )

    def test_boxes(self):
        for options in "", ", patch_artist=True", ", vert=False":
            chart = self.chart(f"plt.boxplot([[1, 2, 3, 4, 5, 50], [2, 3, 4, 5, 6]]{options}); plt.show()")
            self.assertEqual(chart.type, "box_and_whisker", options)
            first, second = chart.elements
            self.assertEqual((first.label, first.min, first.median, first.max, first.outliers), ("1", 1, 3.5, 5, [50]))
            self.assertEqual(
                (second.min, second.first_quartile, second.median, second.third_quartile, second.max), (2, 3, 4, 5, 6)
            )

    def test_several_in_one_figure(self):
        chart = self.chart(
            "_, (a, b) = plt.subplots(1, 2); a.plot([1, 2]); b.bar(['x'], [1]); plt.suptitle('Both'); plt.show()"
        )
        self.assertEqual(
            (chart.type, chart.title, [one.type for one in chart.elements]), ("superchart", "Both", ["line", "bar"])
        )

    def test_what_is_none_of_these_is_unknown(self):
        self.assertEqual(self.chart("plt.imshow([[1, 2], [3, 4]]); plt.show()").type, "unknown")


class Errors(unittest.TestCase):
    def test_error_has_name_value_and_traceback(self):
        execution = run("def f():\n    return 1 / 0\nf()")
        self.assertEqual((execution.error.name, execution.error.value), ("ZeroDivisionError", "division by zero"))
        self.assertIn("return 1 / 0", execution.error.traceback)
        self.assertNotIn("\x1b", execution.error.traceback)
        self.assertNotIn("forkd_interpreter", execution.error.traceback)

    def test_syntax_error(self):
        self.assertEqual(run("if x").error.name, "SyntaxError")

    def test_output_before_an_error_is_there(self):
        execution = run("print('before')\nraise KeyError('k')")
        self.assertEqual((stdout(execution), execution.error.name), ("before\n", "KeyError"))

    def test_exit_ends_the_cell_and_not_the_kernel(self):
        run("kept = 5")
        for code in "import sys; sys.exit(3)", "exit()", "quit()":
            self.assertEqual(run(code).error.name, "SystemExit")
        self.assertEqual(run("kept").text, "5")

    def test_stdin_is_empty(self):
        self.assertIn(run("input()").error.name, ("EOFError", "StdinNotImplementedError"))
        self.assertEqual(run("import sys\nlen(sys.stdin.read())").text, "0")

    def test_process_that_a_cell_forks_is_no_second_kernel(self):
        run("import os\nkept = 6")
        execution = run("if os.fork() == 0:\n    print('child')\nelse:\n    print('ended', os.wait()[1])")
        self.assertEqual(stdout(execution), "child\nended 0\n")
        self.assertEqual(run("kept").text, "6")

    def test_workers(self):
        code = (
            "import multiprocessing\ndef f(x): return x * x\n"
            "with multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(f, [1, 2]))"
        )
        self.assertEqual(stdout(run(code)), "[1, 4]\n")

    def test_program_in_the_kernels_place(self):
        context = sandbox.create_code_context()
        execution = run("import os\nos.execvp('sh', ['sh', '-c', 'echo executed; exit 7'])", context=context)
        self.assertEqual(stdout(execution), "executed\n")
        self.assertEqual(execution.error.name, "KernelDied")
        self.assertIn("status 7", execution.error.value)
        self.assertEqual(run("1 + 1", context=context).text, "2")
        sandbox.remove_code_context(context)

    def test_kernel_that_dies_is_an_error_and_another_one_starts(self):
        context = sandbox.create_code_context()
        run("kept = 1", context=context)
        lines = execute(
            code="import os, signal\nprint('last')\nos.kill(os.getpid(), signal.SIGKILL)", context_id=context.id
        )
        self.assertEqual("".join(one["text"] for one in lines if one["type"] == "stdout"), "last\n")
        self.assertEqual([one["type"] for one in lines][-2:], ["error", "unexpected_end_of_execution"])
        self.assertIn("signal 9", lines[-2]["value"])
        self.assertEqual(run("'kept' in globals()", context=context).text, "False")
        sandbox.remove_code_context(context)

    def test_kernel_that_dies_between_cells(self):
        context = sandbox.create_code_context()
        pid = int(
            run("import os, threading\nthreading.Timer(0.2, os._exit, [1]).start()\nos.getpid()", context=context).text
        )
        eventually(lambda: not os.path.exists(f"/proc/{pid}"))
        self.assertEqual(run("2 + 2", context=context).text, "4")
        sandbox.remove_code_context(context)


class Protocol(unittest.TestCase):
    def test_count_goes_up(self):
        first = run("1").execution_count
        self.assertEqual(run("1").execution_count, first + 1)

    def test_order_of_the_lines(self):
        lines = execute(code="print('out')\n5", context_id=None, language=None, env_vars=None)
        self.assertEqual(lines[-1], {"type": "end_of_execution"})
        kinds = {one["type"] for one in lines}
        self.assertEqual(kinds, {"stdout", "result", "number_of_executions", "end_of_execution"})
        self.assertAlmostEqual(
            next(one for one in lines if one["type"] == "stdout")["timestamp"] / 1e9, time.time(), delta=60
        )

    def test_keepalive(self):
        kinds = [one["type"] for one in execute(code="import time\ntime.sleep(11)")]
        self.assertEqual(kinds.count("keepalive"), 2)

    def test_keepalive_while_it_waits_for_another(self):
        other = begin(code="import time\ntime.sleep(6)")
        time.sleep(0.3)
        kinds = [one["type"] for one in execute(code="1")]
        self.assertEqual(kinds.count("keepalive"), 1)
        other.close()

    def test_unicode_that_was_cut(self):
        code = (
            "import os, time\nfor part in (b'\\xe2', b'\\x82', b'\\xac'):\n    os.write(1, part)\n    time.sleep(0.2)"
        )
        self.assertEqual(stdout(run(code)), "\u20ac")
        self.assertEqual(stdout(run("import os\n_ = os.write(1, b'a\\xff\\xe2')")), "a\ufffd\ufffd")
        self.assertEqual(run("'\u2028\x85\\x0b \U0001f600'").text, "\\u2028\\x85\\x0b \U0001f600")
        self.assertEqual(stdout(run("print('\u2028 \U0001f600')")), "\u2028 \U0001f600\n")

    def test_flood_is_whole(self):
        count = 3_000_000
        execution = run(f"import sys\nfor i in range({count}): print(i)")
        self.assertEqual(stdout(execution), "".join(f"{i}\n" for i in range(count)))

    def test_reader_that_is_slow_misses_nothing(self):
        client = begin(code="for i in range(5000): display(str(i) + 'x' * 2000)")
        time.sleep(5)
        data = b""
        while b"end_of_execution" not in data[-100:]:
            part = client.recv(1 << 20)
            self.assertTrue(part)
            data += part
        client.close()
        self.assertEqual(data.count(b'"is_main_result": false'), 5000)

    def test_what_is_written_between_cells_is_nobodys_and_holds_nobody_back(self):
        run("import subprocess\nflood = subprocess.Popen(['sh', '-c', 'sleep 0.2; head -c 1000000 /dev/zero'])")
        time.sleep(1)
        self.assertEqual(run("flood.poll()").text, "0")

    def test_text_that_is_too_large_is_cut(self):
        self.assertEqual(len(run("'x' * (40 << 20)").text), (32 << 20) + 3)


class Contexts(unittest.TestCase):
    def test_state_is_kept_and_is_each_contexts_own(self):
        context = sandbox.create_code_context()
        run("mine = 1")
        run("mine = 2", context=context)
        self.assertEqual((run("mine").text, run("mine", context=context).text), ("1", "2"))
        sandbox.remove_code_context(context)

    def test_default_context_is_at_home(self):
        self.assertEqual(run("import os\nos.getcwd()").text, HOME)

    def test_folder_of_a_context(self):
        context = sandbox.create_code_context(cwd="/usr", language="bash")
        self.assertEqual((context.cwd, context.language), ("/usr", "bash"))
        self.assertEqual(stdout(run("pwd", context=context)), "/usr\n")
        sandbox.remove_code_context(context)
        with self.assertRaisesRegex(SandboxException, "no such directory"):
            sandbox.create_code_context(cwd="/nowhere")

    def test_list_remove_and_restart(self):
        context = sandbox.create_code_context(language="python")
        self.assertIn(context.id, [one.id for one in sandbox.list_code_contexts()])
        run("x = 1", context=context)
        sandbox.restart_code_context(context)
        self.assertEqual(run("x", context=context).error.name, "NameError")
        sandbox.remove_code_context(context)
        self.assertNotIn(context.id, [one.id for one in sandbox.list_code_contexts()])
        for call in sandbox.remove_code_context, sandbox.restart_code_context:
            with self.assertRaises(NotFoundException):
                call(context)
        with self.assertRaises(NotFoundException):
            run("1", context=context)

    def test_restart_and_remove_end_what_runs(self):
        for end in sandbox.restart_code_context, sandbox.remove_code_context:
            context = sandbox.create_code_context()
            with concurrent.futures.ThreadPoolExecutor() as pool:
                running = pool.submit(run, "while True: pass", context=context)
                time.sleep(0.5)
                end(context)
                self.assertEqual(running.result(10).error.name, "KernelRestarted")

    def test_remove_does_not_wait_for_a_client_that_reads_nothing(self):
        context = sandbox.create_code_context()
        client = begin(code="while True: print('x' * 10000)", context_id=context.id)
        time.sleep(1)
        sandbox.remove_code_context(context)
        client.close()

    def test_removed_default_context_is_made_anew(self):
        run("gone = 1")
        default = next(one for one in sandbox.list_code_contexts() if one.language == "python")
        sandbox.remove_code_context(default)
        self.assertEqual(run("gone").error.name, "NameError")

    def test_many(self):
        contexts = [sandbox.create_code_context(language="bash") for _ in range(40)]
        for at, context in enumerate(contexts):
            run(f"number={at}", context=context)
        for at, context in enumerate(contexts):
            self.assertEqual(stdout(run("echo $number", context=context)), f"{at}\n")
        more = []
        with self.assertRaisesRegex(SandboxException, "429.*limit"):
            for _ in range(40):
                more.append(sandbox.create_code_context(language="bash"))
        before = len(os.listdir(f"/proc/{PID}/fd"))
        for context in contexts + more:
            sandbox.remove_code_context(context)
        self.assertLess(len(os.listdir(f"/proc/{PID}/fd")), before - 3 * 40)

    def test_context_and_language(self):
        default = sandbox.list_code_contexts()[0]
        body = json.dumps({"code": "1", "context_id": default.id, "language": "python"})
        self.assertEqual(request("POST", "/execute", body)[0], 400)

    def test_language_that_is_not_there(self):
        with self.assertRaisesRegex(SandboxException, "400.*no kernel for r; there are: python, bash"):
            run("1", language="r")

    def test_variables_are_the_cells(self):
        self.assertEqual(
            run("import os\nos.environ['A'] + os.environ['HOME']", envs={"A": "b c", "HOME": "/h"}).text, "b c/h"
        )
        self.assertEqual(run("os.environ.get('A'), os.environ['HOME']").text, f"(None, '{HOME}')")
        self.assertEqual(stdout(run("os.system('echo $A')", envs={"A": "sub"})), "sub\n")
        with self.assertRaisesRegex(SandboxException, "400"):
            run("1", envs={"A=B": "c"})

    def test_variables_of_the_sandbox_stay(self):
        def told(variables, code, language="python"):
            said = {"X-Forkd-Environment": base64.b64encode(json.dumps(variables).encode()).decode()}
            status, body = request("POST", "/execute", json.dumps({"code": code, "language": language}), said)
            self.assertEqual(status, 200, body)
            return "".join(one["text"] for one in map(json.loads, body.splitlines()) if one["type"] == "stdout")

        show = {
            "python": "import os; print(os.environ.get('S'), os.environ.get('T'))",
            "bash": "echo ${S-None} ${T-None}",
            "javascript": "console.log(process.env.S ?? 'None', process.env.T ?? 'None')",
        }
        change = {
            "python": "os.environ['S'] = 'own'",
            "bash": "export S=own",
            "javascript": "process.env.S = 'own'",
        }
        for language, code in show.items():
            self.assertEqual(told({"S": "a 'b'\n", "no name": "x", "UID": "7"}, code, language).split(), ["a", "'b'", "None"])
            self.assertEqual(stdout(run(code, language=language)).split(), ["a", "'b'", "None"])  # nobody says anything
            self.assertEqual(stdout(run(code, language=language, envs={"S": "cell"})), "cell None\n")
            told({"S": "a 'b'\n", "T": "t"}, change[language], language)
            self.assertEqual(told({"S": "a 'b'\n", "T": "t"}, code, language), "own t\n")
            self.assertEqual(told({"S": "new"}, code, language), "new None\n")
            self.assertEqual(told({}, code, language), "None None\n")
        for wrong in "x", base64.b64encode(b'{"A":1}').decode():
            answer = request("POST", "/execute", '{"code":"1"}', {"X-Forkd-Environment": wrong})
            self.assertEqual(answer[0], 400, wrong)


class Interrupts(unittest.TestCase):
    def test_cell_is_interrupted_when_its_client_goes_away(self):
        for code in (
            "import time\ntime.sleep(1000)",
            "while True: pass",
            "import subprocess\nsubprocess.run(['sleep', '1000'])",
        ):
            run("kept = 8")
            with self.assertRaises(TimeoutException):
                run(code, timeout=1)
            started = time.monotonic()
            self.assertEqual(run("kept").text, "8")
            self.assertLess(time.monotonic() - started, 4)

    def test_cell_that_cannot_be_interrupted_is_ended_with_its_kernel(self):
        with self.assertRaises(TimeoutException):
            run("while True:\n    try:\n        while True: pass\n    except BaseException: pass", timeout=1)
        self.assertEqual(run("1 + 2").text, "3")

    def test_cell_that_waits_is_not_run_when_its_client_has_gone(self):
        running = begin(code="import time\ntime.sleep(3)")
        time.sleep(0.3)
        waiting = begin(code="never = 1")
        time.sleep(0.3)
        waiting.close()
        self.assertEqual(run("'never' in globals()").text, "False")
        running.close()

    def test_bash_and_its_variables_go_on(self):
        for code in "while :; do sleep 1; done", "while :; do :; done", "cat /dev/zero >/dev/null":
            run("kept=9", language="bash")
            with self.assertRaises(TimeoutException):
                run(code, language="bash", timeout=1)
            self.assertEqual(stdout(run("echo $kept", language="bash")), "9\n")

    def test_javascript_and_its_variables_go_on(self):
        for code in "await new Promise((resolve) => setTimeout(resolve, 1e6))", "for (;;);":
            run("kept = 10", language="javascript")
            with self.assertRaises(TimeoutException):
                run(code, language="javascript", timeout=1)
            self.assertEqual(run("kept", language="javascript").text, "10")


class Bash(unittest.TestCase):
    def test_state_is_kept(self):
        run('x=1; cd /usr; f() { echo "f $1"; }; export y=2', language="bash")
        execution = run("echo $x $PWD; f a\nsh -c 'echo $y'", language="bash")
        self.assertEqual(stdout(execution), "1 /usr\nf a\n2\n")
        self.assertEqual(execution.execution_count, run(":", language="bash").execution_count - 1)

    def test_status_is_an_error(self):
        execution = run("echo out; echo err >&2; false", language="bash")
        self.assertEqual((stdout(execution), stderr(execution)), ("out\n", "err\n"))
        self.assertEqual((execution.error.name, execution.error.value), ("ExitStatus", "1"))
        self.assertIsNone(run("true", language="bash").error)

    def test_code_that_is_not_complete(self):
        self.assertIn("syntax error", stderr(run("if true", language="bash")))
        self.assertEqual(stdout(run("echo 'it''s'; cat <<END\n$((1 + 1))!\nEND", language="bash")), "its\n2!\n")

    def test_stdin_is_empty(self):
        self.assertEqual(stdout(run("cat; read x || echo none", language="bash")), "none\n")

    def test_variables_are_the_cells(self):
        self.assertEqual(
            stdout(run('echo "$A"; sh -c \'echo "$A"\'', language="bash", envs={"A": "b 'c'"})), "b 'c'\n" * 2
        )
        self.assertEqual(stdout(run('echo "[$A]"', language="bash")), "[]\n")

    def test_exit_ends_the_shell_and_the_next_is_another(self):
        run("gone=1", language="bash")
        execution = run("echo last; exit 4", language="bash")
        self.assertEqual((stdout(execution), stderr(execution), execution.error.value), ("last\n", "", "4"))
        self.assertEqual(stdout(run("echo [$gone]", language="bash")), "[]\n")
        self.assertIsNone(run("exit 0", language="bash").error)


class Javascript(unittest.TestCase):
    def test_state_results_and_outputs(self):
        execution = run(
            "const a = { b: [1, 2] }; let n = 3; console.log('out'); console.error('err'); a", language="javascript"
        )
        self.assertEqual((execution.text, stdout(execution), stderr(execution)), ("{ b: [ 1, 2 ] }", "out\n", "err\n"))
        self.assertEqual(run("n + a.b.length", language="js").text, "5")
        self.assertEqual(run("await Promise.resolve('waited')", language="javascript").text, "waited")
        self.assertEqual(
            run("require('path').basename(process.cwd())", language="javascript").text, os.path.basename(HOME)
        )
        self.assertEqual(run("undefined", language="javascript").results, [])

    def test_errors(self):
        for code in "throw new TypeError('no')", "await Promise.reject(new TypeError('no'))":
            error = run(code, language="javascript").error
            self.assertEqual((error.name, error.value), ("TypeError", "no"))
            self.assertNotIn("node_cells", error.traceback)
        self.assertEqual(run("let x = {", language="javascript").error.name, "SyntaxError")

    def test_variables_are_the_cells(self):
        self.assertEqual(run("process.env.A", language="javascript", envs={"A": "b"}).text, "b")
        self.assertEqual(run("process.env.A", language="javascript").results, [])

    def test_display(self):
        result = run("display({ html: '<b>' })", language="javascript").results[0]
        self.assertEqual((result.html, result.is_main_result), ("<b>", False))


class BadRequests(unittest.TestCase):
    def test_each_has_its_status_and_the_next_is_answered(self):
        for status, method, path, body in (
            (400, "POST", "/execute", "{"),
            (400, "POST", "/execute", "[]"),
            (400, "POST", "/execute", "{}"),
            (400, "POST", "/execute", '{"code":1}'),
            (400, "POST", "/execute", '{"code":"\\ud800"}'),
            (400, "POST", "/execute", '{"code":"1","env_vars":[1]}'),
            (400, "POST", "/execute", '{"code":"1","env_vars":{"A":"\\u0000"}}'),
            (400, "POST", "/execute", "[" * 100_000),
            (404, "POST", "/execute", '{"code":"1","context_id":"none"}'),
            (400, "POST", "/contexts", '{"cwd":5}'),
            (404, "GET", "/nothing", None),
            (404, "DELETE", "/contexts/none", None),
            (404, "POST", "/contexts/none/restart", None),
            (200, "GET", "/health", None),
        ):
            self.assertEqual(request(method, path, body)[0], status, (path, body and body[:50]))

    def test_bodies_are_bounded(self):
        client = socket.create_connection(("127.0.0.1", 49999))
        client.sendall(b"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        self.assertIn(b" 413 ", client.recv(1000))
        client.close()
        for length in b"-1", b"x", b"9" * 30:
            client = socket.create_connection(("127.0.0.1", 49999))
            client.sendall(b"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n")
            self.assertIn(b" 400 ", client.recv(1000))
            client.close()

    def test_body_in_chunks(self):
        with httpx.Client() as client:
            answer = client.post("http://127.0.0.1:49999/execute", content=iter([b'{"code":', b'"6 * 7"}']))
        self.assertIn('"text": "42"', answer.text)
        for chunks in b"zz\r\n", b"5\r\nabc", b"fffffffff\r\n", b"3\r\n{}\n--":
            client = socket.create_connection(("127.0.0.1", 49999))
            client.sendall(b"POST /execute HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
            client.shutdown(socket.SHUT_WR)
            self.assertIn(b" 400 ", client.recv(1000))
            client.close()

    def test_connections_that_say_nothing(self):
        silent = [socket.create_connection(("127.0.0.1", 49999)) for _ in range(200)]
        self.assertEqual(run("1").text, "1")
        for client in silent:
            client.close()

    def test_clients_that_die_leave_nothing(self):
        threads = len(os.listdir(f"/proc/{PID}/task"))
        for _ in range(50):
            begin(code="print('x' * 100000)").close()
        self.assertEqual(run("5").text, "5")
        eventually(lambda: len(os.listdir(f"/proc/{PID}/task")) <= threads + 1)


class Snapshots(unittest.TestCase):
    def test_nothing_runs_while_nobody_asks(self):
        def ticks():
            children = pathlib.Path(f"/proc/{PID}/task").glob("*/children")
            pids = [PID, *(int(pid) for one in children for pid in one.read_text().split())]
            stats = [pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in pids]
            return sum(int(one[11]) + int(one[12]) for one in stats)

        run("1")
        time.sleep(1)
        before = ticks()
        time.sleep(3)
        self.assertLess(ticks() - before, 10)  # of 300


class Lines(unittest.TextTestResult):
    def addSuccess(self, test):
        print(f"ok: {test.id().partition('.')[2]}, {os.environ['INTERPRETER_KERNEL']}", flush=True)

    def addError(self, test, error):
        super().addError(test, error)
        print(f"FAILED: {test.id().partition('.')[2]}, {os.environ['INTERPRETER_KERNEL']}", flush=True)

    addFailure = addError


if __name__ == "__main__":
    unittest.main(testRunner=unittest.TextTestRunner(resultclass=Lines, stream=sys.stdout, verbosity=0))
