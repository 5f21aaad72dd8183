# SPDX-License-Identifier: Apache-2.0
"""The daemon of a lab, at an address of this machine."""

import contextlib
import os
import pathlib
import socket
import subprocess
import time
import unittest

import forkd

HERE = pathlib.Path(__file__).resolve().parent
LAB_DIED = 125
LAB_NOTICES = 240  # seconds at most, until it says that it has died


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def await_daemon(client, lab):
    while lab.poll() is None:
        try:
            client.health()
            return True
        except forkd.UnreachableError:
            time.sleep(0.5)
    return False


def run_tests(modules):
    result = unittest.TextTestRunner(verbosity=2).run(unittest.defaultTestLoader.loadTestsFromNames(modules))
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return result.wasSuccessful()


def served(arguments, use):
    """The exit status of use(client), which is true when all went well, and of the lab, which ends when py is removed.

    arguments are those of tests/lab/run. FORKD_URL says where the daemon is."""
    port = free_port()
    os.environ["FORKD_URL"] = f"http://127.0.0.1:{port}"
    host, *others = arguments
    passed = False
    command = [HERE.parent / "lab/run", host, "--forward", f"{port}:8889", *others]
    with subprocess.Popen(command) as lab, forkd.Controller(timeout=300) as client:
        try:
            passed = await_daemon(client, lab) and use(client)
            lab.wait()
        except forkd.UnreachableError as error:
            print(error)
            with contextlib.suppress(subprocess.TimeoutExpired):
                lab.wait(LAB_NOTICES)
        finally:
            lab.terminate()
    if lab.returncode == LAB_DIED:
        return LAB_DIED
    return 0 if passed and lab.returncode == 0 else 1
