# SPDX-License-Identifier: Apache-2.0
"""What both Python kernels do around a cell, in their own process."""

import os
import sys


def line_buffered():
    for stream in sys.stdout, sys.stderr:
        stream.reconfigure(line_buffering=True, write_through=False, encoding="utf-8", errors="backslashreplace")


def flush():
    for stream in sys.stdout, sys.stderr:
        try:
            stream.flush()
        except Exception:
            pass  # the cell closed it, or put something of its own there


def end_with(control):
    """Ends this process when the other end of the channel is closed: nobody would end it otherwise."""
    while os.read(control, 1):
        pass
    os._exit(1)


def warm():
    """What the first cells will want, before a snapshot: a child's import of it would take seconds."""
    for name in "numpy", "pandas", "matplotlib.pyplot":
        try:
            __import__(name)
        except Exception:
            continue  # not there, or not whole, which is for cells to find
    samples = []
    if "pandas" in sys.modules:
        samples.append(sys.modules["pandas"].DataFrame({"a": [1]}))
    if "matplotlib" in sys.modules:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure()
        FigureCanvasAgg(figure)
        figure.add_subplot().plot([1, 2], [1, 2])
        samples.append(figure)
    return samples


def leave(code=None):
    """exit() of a cell: the cell's end, not the kernel's."""
    raise SystemExit(code)


def reseed():
    """A child of a snapshot has the generators of all other children of it."""
    if "random" in sys.modules:
        sys.modules["random"].seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if "ssl" in sys.modules:
        sys.modules["ssl"].RAND_add(os.urandom(64), 64)


def put(name, value):
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


class Cell:
    """The variables that a cell is given are there while it runs."""

    def __init__(self):
        self.pid = os.getpid()
        self.before = {}

    def begin(self, asked):
        if asked.get("reseed"):
            reseed()
        for name, value in (asked.get("changes") or {}).items():
            put(name, value)
        for name, value in (asked.get("env_vars") or {}).items():
            self.before[name] = os.environ.get(name)
            os.environ[name] = value

    def end(self):
        flush()
        if os.getpid() != self.pid:
            os._exit(0)  # a process that the cell forked and that did not end: there is one kernel
        for name, value in self.before.items():
            put(name, value)
        self.before = {}
