# SPDX-License-Identifier: Apache-2.0
"""One sandbox without a daemon: a child of the command `forkd fork`, and the agent in it, over TCP."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Optional, Union, cast
from urllib.parse import urlsplit

from .errors import ForkdError, TimedOutError

START_SECS = 30.0
POLL_SECS = 0.1
CONNECT_SECS = 5.0
MARGIN_SECS = 5.0  # beyond what a command may take
KILL_SECS = 5.0
LIFE_SECS = 3600


@dataclass
class CommandResult:
    """What a command wrote, and how it ended."""

    stdout: str
    stderr: str
    exit_code: int


class Commands:
    """`sandbox.commands`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def run(self, cmd: Union[str, Sequence[str]], timeout: int = 30) -> CommandResult:
        """Runs a program with its arguments, or a line of a shell, to its end."""
        args = ["/bin/sh", "-c", cmd] if isinstance(cmd, str) else list(cmd)
        reply = self._sandbox._ask({"action": "exec", "args": args, "timeout": timeout})
        if "stdout" not in reply and "error" in reply:
            return CommandResult("", reply["error"], 1)
        return CommandResult(reply.get("stdout", ""), reply.get("stderr", ""), int(reply.get("exit_code", -1)))


class Sandbox:
    """A sandbox that lives as long as this object, or its with statement.

    tag      of the snapshot; otherwise $FORKD_TAG, or pyagent
    target   HOST:PORT of its agent; otherwise $FORKD_TARGET, or 10.42.0.2:8888
    timeout  how many seconds the agent may be silent
    spawn    False: of a sandbox that runs already, which kill() leaves alone
    """

    DEFAULT_TAG = os.environ.get("FORKD_TAG", "pyagent")
    DEFAULT_TARGET = os.environ.get("FORKD_TARGET", "10.42.0.2:8888")

    def __init__(
        self, tag: Optional[str] = None, target: Optional[str] = None, timeout: int = 30, *, spawn: bool = True
    ) -> None:
        self.tag = tag or self.DEFAULT_TAG
        self.target = target or self.DEFAULT_TARGET
        self.timeout = timeout
        self.commands = Commands(self)
        self._fork_proc: Optional[subprocess.Popen[bytes]] = None
        if spawn:
            self._spawn()

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> Sandbox:
        """The same as Sandbox(...)."""
        return cls(*args, **kwargs)

    def eval(self, code: str) -> object:
        """Evaluates an expression in the warm interpreter: Python's repr() of its value, or of Node the value."""
        reply = self._ask({"action": "eval", "code": code})
        if "error" in reply:
            raise ForkdError(f"eval failed: {reply['error']}")
        return json.loads(reply["result_json"]) if "result_json" in reply else reply.get("result")

    def ping(self) -> dict[str, Any]:
        """What the agent says of itself."""
        return self._ask({"action": "ping"})

    def kill(self) -> None:
        """Ends the sandbox, if this object made it."""
        process, self._fork_proc = self._fork_proc, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(KILL_SECS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.kill()

    def _spawn(self) -> None:
        forkd = shutil.which("forkd")
        if forkd is None:
            raise ForkdError("there is no command forkd: put it in a folder that PATH names")
        command = [forkd, "fork", "--tag", self.tag, "-n", "1", "--settle-secs", str(LIFE_SECS)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._fork_proc = process
        deadline = time.monotonic() + START_SECS
        while True:
            try:
                self.ping()
                return
            except (OSError, ForkdError) as e:
                if process.poll() is not None:
                    said = process.stderr.read() if process.stderr is not None else b""
                    self._fork_proc = None
                    raise ForkdError(f"forkd fork failed: {said.decode(errors='replace').strip()}") from None
                if time.monotonic() > deadline:
                    self.kill()
                    raise TimedOutError(f"no agent answers at {self.target}: {e}") from e
            time.sleep(POLL_SECS)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        where = urlsplit(f"//{self.target}")
        if not where.hostname or where.port is None:
            raise ValueError(f"{self.target!r} is no address of an agent: it must be HOST:PORT")
        with socket.create_connection((where.hostname, where.port), CONNECT_SECS) as connection:
            connection.settimeout(self.timeout + MARGIN_SECS)
            connection.sendall(json.dumps(request).encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            try:
                with connection.makefile("rb") as replies:
                    reply = replies.read()
            except socket.timeout as e:
                raise TimedOutError(f"the agent at {self.target} did not answer in time") from e
        if not reply:
            raise ForkdError(f"the agent at {self.target} did not answer, and closed the connection")
        return cast(dict[str, Any], json.loads(reply))
