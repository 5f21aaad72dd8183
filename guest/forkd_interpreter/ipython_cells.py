# SPDX-License-Identifier: Apache-2.0
"""ipykernel, started as the interpreter needs it.

    CONNECTION-FILE CONTROL

What a cell prints goes to file descriptors 1 and 2, which are pipes, and not over Jupyter's protocol: so it comes in
the order in which it was written, whoever wrote it, nothing of it is dropped when nobody reads, and it holds back who
writes.
CONTROL is a descriptor on which nothing is said: it ends when the interpreter does.
"""

import os
import signal
import sys
import threading
import warnings

import zmq
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from IPython.core.formatters import BaseFormatter
from traitlets import DottedObjectName, ObjectName, Unicode

from forkd_interpreter import rich, steady


class DataFormatter(BaseFormatter):
    format_type = Unicode(rich.DATA)
    print_method = ObjectName("_repr_forkd_data_")
    _return_type = dict

    def __call__(self, value):
        return rich.data(value)


class ChartFormatter(BaseFormatter):
    format_type = Unicode(rich.CHART)
    print_method = ObjectName("_repr_forkd_chart_")
    _return_type = dict

    def __call__(self, value):
        return rich.chart(value)


class App(IPKernelApp):
    outstream_class = DottedObjectName(None, allow_none=True)  # older ones allow no None


class Kernel(IPythonKernel):
    def init_metadata(self, parent):
        self.asked = parent["metadata"]
        return super().init_metadata(parent)


def main(connection, control, *options):
    os.set_inheritable(int(control), False)
    threading.Thread(target=steady.end_with, args=(int(control),), daemon=True).start()
    steady.line_buffered()
    app = App.instance(connection_file=connection, capture_fd_output=False, kernel_class=Kernel, log_level=50)
    app.config.HistoryManager.enabled = False  # in a file, which all kernels would write to
    app.initialize([])
    # A subscriber that has too much to read holds the publisher back, instead of missing something.
    publisher = app.iopub_thread
    publisher.schedule(lambda: publisher.socket.setsockopt(zmq.XPUB_NODROP, 1))

    shell = app.shell
    shell.run_line_magic("colors", "NoColor")
    formats = shell.display_formatter
    for formatter in DataFormatter, ChartFormatter:
        one = formatter(parent=formats)
        formats.formatters[one.format_type] = one
        if one.format_type not in formats.active_types:
            formats.active_types = [*formats.active_types, one.format_type]
    format_whole = formats.format

    def format_limited(value, *arguments, **options):
        sys.stdout.flush()
        bundle, metadata = format_whole(value, *arguments, **options)
        return rich.limited(bundle), metadata

    formats.format = format_limited
    warnings.filterwarnings("ignore", "To exit: use")
    # IPython's own end the kernel, with all that it knows.
    shell.push({name: steady.leave for name in ("exit", "quit")})

    if "warm" in options:
        shell.run_cell("pass", silent=True)
        for sample in steady.warm():
            formats.format(sample)

    cell = steady.Cell()
    shell.events.register("pre_run_cell", lambda info: cell.begin(app.kernel.asked))
    shell.events.register("post_run_cell", lambda result: cell.end())
    # IPython's own reset of it, at the end of its start, would have the first interrupt end the kernel.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    app.start()
