# SPDX-License-Identifier: Apache-2.0
"""The code interpreter of E2B's interface: docs/e2b-images.md.

    python3 forkd_interpreter [--port N] [--cwd DIR]

Listens when the default context of Python is warm, so that a snapshot can be taken as soon as GET /health is answered.
"""

import argparse
import os
import signal
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from forkd_interpreter.server import Contexts, Refusal, Server  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog="forkd_interpreter", description="Runs code for E2B's SDKs, on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=49999)
    parser.add_argument("--cwd", default=os.path.expanduser("~"), help="folder of the contexts (default: HOME)")
    options = parser.parse_args()
    # Who was started in the background by a shell ignores interrupts, and so would the kernels.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    contexts = Contexts(os.path.abspath(options.cwd))
    try:
        contexts.default("python", "warm")
    except Refusal as refusal:
        sys.exit(f"Error: {refusal}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Server(options.port, contexts) as server:
        try:
            server.serve_forever(poll_interval=None)
        finally:
            for context in contexts.all():
                context.remove()  # a cell that runs would go on


try:
    main()
except KeyboardInterrupt:
    pass
