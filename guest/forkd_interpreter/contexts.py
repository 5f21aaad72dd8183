# SPDX-License-Identifier: Apache-2.0
"""A context is a kernel and its queue of cells, and a thread, which alone uses the kernel and writes to its clients."""

import codecs
import collections
import fcntl
import os
import select
import struct
import termios
import threading
import time
import traceback
import uuid

from forkd_interpreter.kernels import Dead, failure

KEEPALIVE_SECONDS = 5
START_SECONDS = 300  # to import what is warmed takes minutes in an emulated machine
INTERRUPT_SECONDS = 5  # what an interrupted cell gets before its kernel is killed
GENERATION = "/run/forkd/generation"


def generation():
    """Which child of a snapshot this is: docs/snapshots.md, What a child has of its own."""
    try:
        with open(GENERATION) as file:
            return file.read()
    except OSError:
        return ""


def ready(fd, kernel, seconds=None):
    """Which of these can be read: fd, and all that the kernel has; each of them may be None."""
    poller = select.poll()
    for one in {fd, *(kernel.watched if kernel else ())} - {None}:
        poller.register(one, select.POLLIN)
    if kernel and kernel.more:
        seconds = 0
    return [one for one, _ in poller.poll(seconds and 1000 * seconds)]


class Cell:
    """code, for a client: an object with send(event), which raises OSError, gone(), fileno() and shutdown().

    environment is what the kernel's is to have from now on, of variables that are not its own; None leaves it as it is.
    """

    def __init__(self, code, env_vars, environment, client):
        self.code, self.env_vars, self.environment, self.client = code, env_vars, environment, client
        self.begun = threading.Event()
        self.finished = threading.Event()
        self.given_up = False

    def send(self, event):
        if self.given_up:
            return
        try:
            self.client.send(event)
        except OSError:
            self.given_up = True


class Context(threading.Thread):
    def __init__(self, language, cwd, kernel):
        super().__init__(daemon=True, name=f"context {language}")
        self.id, self.language, self.cwd = str(uuid.uuid4()), language, cwd
        self._make = kernel
        self._kernel = None
        self._cells = collections.deque()
        self._running = None
        self._lock = threading.Lock()
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._restarts = collections.deque()
        self._closing = False
        self._failure = None
        self._ready = threading.Event()
        self.start()

    # --- what other threads call ---

    def described(self):
        return {"id": self.id, "language": self.language, "cwd": self.cwd}

    def wait_started(self):
        """Why there is no kernel, or None."""
        self._ready.wait()
        return self._failure

    def submit(self, cell):
        """False when the context is being removed."""
        with self._lock:
            if not self._closing:
                self._cells.append(cell)
                self._tell()
            return not self._closing

    def withdraw(self, cell):
        """False when it has begun."""
        with self._lock:
            if cell in self._cells:
                self._cells.remove(cell)
                return True
            return False

    def restart(self):
        """Ends the cell that runs; those that wait run in the new kernel."""
        done = threading.Event()
        with self._lock:
            if self._closing:
                return
            self._restarts.append(done)
            self._end_cell()
        self._wait(done)

    def remove(self):
        done = threading.Event()
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._restarts.append(done)
            self._end_cell()
        self._wait(done)

    def _end_cell(self):
        if self._kernel:
            self._kernel.kill()
        self._tell()

    def _tell(self):
        try:
            os.write(self._wake, b"w")
        except BlockingIOError:
            pass  # it is full of what says the same

    def _wait(self, done):
        if not done.wait(2):
            with self._lock:
                if self._running:
                    self._running.client.shutdown()  # a client that does not read what it asked for
            done.wait()

    # --- the thread ---

    def run(self):
        while not self._closing:
            done = self._restarts.popleft() if self._restarts else None
            if self._kernel is None or done:
                self._start()
                self._ready.set()
                if done:
                    done.set()
            cell = self._next()
            if cell:
                cell.begun.set()
                try:
                    self._execute(cell)
                except Exception:  # ours: the context goes on, with another kernel
                    traceback.print_exc()
                    self._drop()
                    cell.send(failure("KernelDied", "The interpreter failed in this; its log says where."))
                with self._lock:
                    self._running = None
                cell.finished.set()
        self._drop()
        self._ready.set()
        for cell in self._cells:
            cell.begun.set()
            cell.send(failure("ContextRemoved", "The context was removed before this ran."))
            cell.finished.set()
        for done in self._restarts:
            done.set()
        os.close(self._woken)
        with self._lock:
            os.close(self._wake)

    def _drop(self):
        with self._lock:
            kernel, self._kernel = self._kernel, None
            if kernel:
                kernel.close()

    def _start(self):
        self._drop()
        self._failure = None
        self._generation = generation()
        said = b""
        try:
            kernel = self._make(self.cwd)
        except Exception as error:  # an installation that is not whole has any
            self._failure = f"no {self.language} kernel in {self.cwd}: {error}"
            return
        with self._lock:
            self._kernel = kernel
        until, ended = time.monotonic() + START_SECONDS, False
        while not ended and time.monotonic() < until and not self._closing:
            for fd in ready(None, kernel, 1):
                if fd in kernel.outputs:
                    said = (said + kernel.read_output(fd, 1 << 16))[-4096:]
                elif fd == kernel.ended:
                    until = 0
            ended = kernel.receive()[1]
        if not ended:
            self._failure = f"no {self.language} kernel: it did not start. {said.decode('utf-8', 'replace')}".strip()
            self._drop()

    def _next(self):
        """The next cell, or None when there is something else to do. What is written between cells is thrown away."""
        while True:
            with self._lock:
                if self._restarts or self._closing:
                    return None
                if self._cells:
                    self._running = self._cells.popleft()
                    return self._running
            kernel = self._kernel
            for fd in ready(self._woken, kernel):
                if fd == self._woken:
                    os.read(fd, 1 << 16)
                elif fd in kernel.outputs:
                    kernel.read_output(fd, 1 << 16)
                elif fd == kernel.ended:
                    self._drop()
                    break
            else:
                if kernel:
                    kernel.receive()

    def _execute(self, cell):
        if self._kernel is None:
            self._start()
        kernel = self._kernel
        if kernel is None:
            cell.send(failure("KernelDied", self._failure))
            cell.send({"type": "unexpected_end_of_execution"})
            return
        now = generation()
        try:
            asked = {"code": cell.code, "env_vars": cell.env_vars, "reseed": now != self._generation}
            asked["changes"] = kernel.changes(cell.environment)
            for event in kernel.submit(asked):
                cell.send(event)
        except Dead:
            kernel.kill()
        self._generation = now
        if self._until_end(cell, kernel):
            cell.send({"type": "end_of_execution"})
            return
        # It has died, or was ended.
        if self._restarts:
            event = failure("KernelRestarted", "The context was removed or restarted while this ran.")
        else:
            event = kernel.epitaph()
        self._drop()
        if event:
            cell.send(event)
        cell.send({"type": "unexpected_end_of_execution" if event else "end_of_execution"})

    def _until_end(self, cell, kernel):
        """Passes on what the cell gives; False when the kernel died."""
        decoders = {fd: codecs.getincrementaldecoder("utf-8")("replace") for fd in kernel.outputs}

        def write(fd, part, final=False):
            text = decoders[fd].decode(part, final)
            if text:
                cell.send({"type": kernel.outputs[fd], "text": text, "timestamp": time.time_ns()})

        def write_until_now(final=False):
            """Not more than there is: a program in the background may write without end."""
            for fd in kernel.outputs:
                left = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]
                while left > 0:
                    part = kernel.read_output(fd, min(left, 1 << 16))
                    left -= len(part)
                    write(fd, part)
                if final:
                    write(fd, b"", final=True)

        client, died = cell.client.fileno(), False
        kept_alive, again, until = time.monotonic(), 0, None  # until: when an interrupt has not helped
        while True:
            events, ended = kernel.receive()
            if events:
                write_until_now()
                for event in events:
                    cell.send(event)
            if ended or died:
                write_until_now(final=True)
                return ended
            now = time.monotonic()
            if cell.given_up and now >= again:
                # Once a second: a shell that is just starting a program may miss it.
                client, again = None, now + 1
                until = until or now + INTERRUPT_SECONDS
                kernel.interrupt() if now < until else kernel.kill()
            elif now - kept_alive >= KEEPALIVE_SECONDS:
                kept_alive = now
                cell.send({"type": "keepalive"})
            for fd in ready(client, kernel, 1 if cell.given_up else KEEPALIVE_SECONDS):
                if fd in kernel.outputs:
                    write(fd, kernel.read_output(fd, 1 << 16))
                elif fd == kernel.ended:
                    died = True
                elif fd == client:
                    cell.given_up, client = cell.given_up or cell.client.gone(), None
