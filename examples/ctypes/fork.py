#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Forks children of a snapshot, and has each run a command: fork.py SNAPSHOT COUNT COMMAND..."""

import sys

from libforkd import ForkdError, Server

if len(sys.argv) < 4 or not sys.argv[2].isdigit():
    sys.exit(f"usage: {sys.argv[0]} SNAPSHOT COUNT COMMAND...")
snapshot, count, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]

try:
    with Server(snapshot) as server:
        children = [server.fork(f"child-{number + 1}") for number in range(count)]
        for child in children:
            status = child.wait()
            print(f"{child.hostname}: process {status.pid}, ready after {status.ready_us / 1000:.1f} ms", file=sys.stderr)
        for child in children:
            print(f"{child.hostname}: {child.exec(*command)['stdout']}", end="")
        for child in children:
            child.close()
except (ForkdError, OSError, ValueError) as error:
    sys.exit(f"{sys.argv[0]}: {error}")
