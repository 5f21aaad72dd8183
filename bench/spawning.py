# SPDX-License-Identifier: Apache-2.0
"""What benchmarks of the daemon share."""

import os
import subprocess
import sys
import time


def timed(job):
    """How many milliseconds it takes, and what it returns."""
    start = time.perf_counter()
    result = job()
    return (time.perf_counter() - start) * 1000, result


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, len(values) * percent // 100)]


class Floor:
    """Forks through the library, on a daemon's own fork server, with the program bench-spawn; with a question that its guest
    answers, until then."""

    def __init__(self, program, run, *question):
        """`run` is the daemon's XDG_RUNTIME_DIR."""
        self.directory = run + "/floor"
        os.makedirs(self.directory)
        server = next(e.path for e in os.scandir(run + "/forkd/servers") if e.is_dir())
        self.process = subprocess.Popen(
            [program, server + "/control.sock", self.directory, *question],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )

    def fork(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the benchmark spawn failed")
        return float(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
