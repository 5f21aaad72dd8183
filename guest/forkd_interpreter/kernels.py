# SPDX-License-Identifier: Apache-2.0
"""A kernel is a process that runs cells of one language and keeps their state.

What it prints comes by pipes; what it says of a cell, by a channel of its own. A kernel belongs to one thread, but for
interrupt() and kill().
"""

import importlib.util
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from forkd_interpreter import rich

HERE = os.path.dirname(os.path.abspath(__file__))
# sys.path is as at a prompt again when a cell runs: its own folder comes first, and this one is not in it.
BOOT = (
    "import sys; sys.path[0] = sys.argv[1]; from forkd_interpreter import %s as cells; sys.path[0] = ''; "
    "own = sys.argv[2:]; sys.argv = ['']; cells.main(*own)"
)
FIELDS = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "text/latex": "latex",
    "application/json": "json",
    "application/javascript": "javascript",
    rich.DATA: "data",
    rich.CHART: "chart",
}
MOST_AT_ONCE = 64


class Dead(Exception):
    """The process has ended, or takes no cells any more."""


def result(bundle, is_main):
    """The line of the interface for what a kernel shows, by MIME type."""
    event, extra = {"type": "result", "is_main_result": is_main}, {}
    for kind, content in bundle.items():
        (event if kind in FIELDS else extra)[FIELDS.get(kind, kind)] = content
    text = event.get("text")
    if isinstance(text, str) and len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        event["text"] = text[1:-1]  # a string's text is the string
    if extra:
        event["extra"] = extra
    return event


def failure(name, value, traceback=""):
    return {"type": "error", "name": name, "value": value, "traceback": traceback}


class Kernel:
    by_stdin = False
    more = False  # whether receive() left something, which nothing will tell of

    def __init__(self, cwd):
        self.given = {}  # variables that the environment has got since
        self.control, theirs = socket.socketpair()
        command, environment = self.command(theirs.fileno())
        try:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE if self.by_stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        finally:
            theirs.close()
        self.ended = os.pidfd_open(self.process.pid)
        self.outputs = {self.process.stdout.fileno(): "stdout", self.process.stderr.fileno(): "stderr"}
        self.watched = {self.ended, *self.outputs}  # what to wait for; what has nothing more to say is not in it

    def changes(self, environment):
        """What has to be set, or unset (None), so that the variables are these. A cell's own changes to them stay."""
        if environment is None:
            return {}
        gone = {name: None for name in self.given if name not in environment}
        new = {name: value for name, value in environment.items() if self.given.get(name) != value}
        self.given = environment
        return {**gone, **new}

    def read_output(self, fd, size):
        part = os.read(fd, size)
        if not part:
            self.watched.discard(fd)
        return part

    def interrupt(self):
        self._signal(signal.SIGINT)

    def kill(self):
        self._signal(signal.SIGKILL)

    def _signal(self, number):
        """To its session: what a cell has started is interrupted with it."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def close(self):
        self.kill()
        self.process.wait()
        os.close(self.ended)
        for stream in self.process.stdin, self.process.stdout, self.process.stderr:
            if stream:
                stream.close()
        self.control.close()

    def epitaph(self):
        """The line for a cell during which the process ended, or None where that is no error."""
        # It is not reaped before close(): nobody else can have its number until then, and kill() is safe.
        found = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        how = f"exited with status {status}" if status >= 0 else f"was ended by signal {-status}"
        return failure("KernelDied", f"The kernel {how}. Its variables are lost; the next call starts another one.")


class LineKernel(Kernel):
    """Ours: a JSON object a line, in both directions."""

    def __init__(self, cwd):
        super().__init__(cwd)
        self.control.setblocking(False)
        self.watched.add(self.control.fileno())
        self.read = bytearray()
        self.count = 0

    def submit(self, cell):
        self.count += 1
        self.write(json.dumps(cell).encode() + b"\n")
        return [{"type": "number_of_executions", "execution_count": self.count}]

    def write(self, data):
        self.control.setblocking(True)
        try:
            self.control.sendall(data)
        except OSError as error:
            raise Dead from error
        finally:
            self.control.setblocking(False)

    def receive(self):
        """Lines for the client, MOST_AT_ONCE at most, and whether the cell has ended."""
        events, looked, self.more = [], 0, False
        while True:
            while (end := self.read.find(b"\n", looked)) >= 0:
                line = bytes(self.read[:end])
                del self.read[: end + 1]
                looked = 0
                try:
                    event, ended = self.event(line)
                except (ValueError, KeyError, TypeError, AttributeError):
                    continue  # a cell wrote to the channel
                if event:
                    events.append(event)
                self.more = len(events) >= MOST_AT_ONCE
                if ended or self.more:
                    return events, ended
            looked = len(self.read)  # a line may be long
            try:
                part = self.control.recv(1 << 20)
            except BlockingIOError:
                return events, False
            except OSError:
                part = b""
            if not part:
                # The cell closed it, or executed a program in the kernel's place, whose end is the cell's then.
                self.watched.discard(self.control.fileno())
                return events, False
            self.read += part

    def event(self, line):
        """The line for the client, or None, and whether it is the cell's end."""
        message = json.loads(line)
        if message["type"] == "end":
            return None, True
        return result(message["bundle"], message["is_main_result"]) if message["type"] == "result" else message, False


class PythonKernel(LineKernel):
    def __init__(self, cwd, *options):
        self.options = options
        super().__init__(cwd)

    def command(self, control):
        return [sys.executable, "-c", BOOT % "python_cells", os.path.dirname(HERE), str(control), *self.options], {}


class NodeKernel(LineKernel):
    def command(self, control):
        return [shutil.which("node"), os.path.join(HERE, "node_cells.js"), str(control)], {}


class BashKernel(LineKernel):
    """An interactive one, since only that goes on with its next line after an interrupt, all its variables kept."""

    by_stdin = True

    def command(self, control):
        self.number = control
        names = "--norc", "--noprofile", "--noediting", "-i"
        return ["bash", *names], {"PS1": "", "PS2": "", "PROMPT_COMMAND": ""}

    def __init__(self, cwd):
        super().__init__(cwd)
        self.write(
            b"PS1= PS2=; unset PROMPT_COMMAND HISTFILE; set +o history +H\n"
            b'exit() { builtin exit "$@" 2>/dev/null; }\n'  # which says so on stderr
            b"echo 0 >&%d\n" % self.number
        )

    def write(self, data):
        try:
            while data:
                data = data[self.process.stdin.write(data) :]
        except OSError as error:
            raise Dead from error

    def submit(self, cell):
        self.count += 1
        variables = "".join(f"{name}={shlex.quote(value)} " for name, value in cell["env_vars"].items())
        set_ = "".join(
            f"unset {name}\n" if value is None else f"export {name}={shlex.quote(value)} 2>/dev/null\n"  # or readonly
            for name, value in cell["changes"].items()
        )
        seed = f"RANDOM={int.from_bytes(os.urandom(2), 'little')}\n" if cell["reseed"] else ""
        run = f"{variables}eval {shlex.quote(cell['code'])} </dev/null {self.number}>&-\n"
        # A line of its own: an interrupt throws away that which is being run.
        self.write(f"{set_}{seed}{run}echo $? >&{self.number}\n".encode("utf-8", "replace"))
        return [{"type": "number_of_executions", "execution_count": self.count}]

    def event(self, line):
        status = int(line)
        return failure("ExitStatus", str(status)) if status else None, True

    def epitaph(self):
        """exit is the end of a shell, and of its variables, but no accident."""
        found = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        if found.si_code != os.CLD_EXITED:
            return super().epitaph()
        return failure("ExitStatus", str(found.si_status)) if found.si_status else None


class JupyterKernel(Kernel):
    """ipykernel, over sockets in a folder of its own."""

    def __init__(self, cwd, *options):
        import zmq
        from jupyter_client.session import Session

        self.zmq = zmq
        self.options = options
        self.folder = tempfile.mkdtemp(prefix="forkd-kernel-")
        self.session = Session(key=secrets.token_bytes(32).hex().encode(), signature_scheme="hmac-sha256")
        super().__init__(cwd)
        self.shell = zmq.Context.instance().socket(zmq.DEALER)
        self.iopub = zmq.Context.instance().socket(zmq.SUB)
        self.iopub.subscribe(b"")
        for number, one in (1, self.shell), (2, self.iopub):
            one.linger = 0
            one.connect(f"ipc://{self.folder}/socket-{number}")
        # These say that there is something new, once: receive() takes all that is there.
        self.watched |= {self.shell.getsockopt(zmq.FD), self.iopub.getsockopt(zmq.FD)}
        self.heard = False
        self._send("kernel_info_request", {})

    def command(self, control):
        connection = {"transport": "ipc", "ip": f"{self.folder}/socket", "key": self.session.key.decode()}
        for number, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1):
            connection[f"{name}_port"] = number
        file = os.path.join(self.folder, "connection.json")
        with open(file, "w") as out:
            json.dump({**connection, "signature_scheme": "hmac-sha256"}, out)
        return [
            sys.executable,
            "-c",
            BOOT % "ipython_cells",
            os.path.dirname(HERE),
            file,
            str(control),
            *self.options,
        ], {}

    def _send(self, kind, content, **metadata):
        self.idle = self.replied = False
        self.asked = self.session.send(self.shell, kind, content, metadata=metadata)["header"]["msg_id"]

    def submit(self, cell):
        content = {"code": cell["code"], "silent": False, "store_history": True, "user_expressions": {}}
        content.update(allow_stdin=False, stop_on_error=False)
        self._send("execute_request", content, **{name: cell[name] for name in ("env_vars", "reseed", "changes")})
        return []

    def receive(self):
        """Lines for the client, MOST_AT_ONCE at most of each kind, and whether the cell has ended."""
        events, self.more = [], False
        for source in self.iopub, self.shell:
            for _ in range(MOST_AT_ONCE):
                try:
                    parts = source.recv_multipart(self.zmq.NOBLOCK)
                    message = self.session.deserialize(self.session.feed_identities(parts)[1])
                except self.zmq.Again:
                    break
                except ValueError:
                    continue  # not signed: nothing of the kernel's
                self.heard |= source is self.iopub
                if message["parent_header"].get("msg_id") == self.asked:
                    events += self._event(message["msg_type"], message["content"])
            else:
                self.more = True
        if self.replied and not self.heard:
            # What the kernel publishes is lost until it knows of its subscriber.
            self._send("kernel_info_request", {})
        return events, self.idle and self.replied

    def _event(self, kind, content):
        if kind == "execute_input":
            yield {"type": "number_of_executions", "execution_count": content["execution_count"]}
        elif kind in ("execute_result", "display_data"):
            yield result(content["data"], kind == "execute_result")
        elif kind == "error":
            yield failure(content["ename"], content["evalue"], "\n".join(content["traceback"]))
        elif kind == "stream":
            yield {"type": content["name"], "text": content["text"]}
        elif kind == "status":
            self.idle |= content["execution_state"] == "idle"
        elif kind.endswith("_reply"):
            self.replied = True

    def close(self):
        super().close()
        self.shell.close()
        self.iopub.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def languages():
    """The kernels that this machine has programs for, by language, the default one first."""
    found = {"python": JupyterKernel if importlib.util.find_spec("ipykernel") else PythonKernel, "bash": BashKernel}
    if shutil.which("node"):
        found["javascript"] = NodeKernel
    return found
