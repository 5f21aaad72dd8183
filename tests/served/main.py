# SPDX-License-Identifier: Apache-2.0
"""Starts the lab, has its daemon make snapshots, and runs the tests of this folder with that.

main.py HOST ARGUMENTS...      of tests/lab/run
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import forkd  # noqa: E402

FILES = {"kernel": "vmlinux", "initrd": "initrd.img", "rootfs": "rootfs.ext4"}
MODULES = ["browser_test", "guest_test"]
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


def make_snapshots(client):
    """image, of a small one, as a daemon of root makes it; and py, of a Debian, without a network device."""
    machine = {"memory_mib": 512, "vcpus": 1, "boot_wait_secs": 60}
    with client.create_snapshot_stream("image", image="localhost:5000/busybox:1", **machine) as lines:
        steps = [line for line in lines if "step" in line]
    print(steps)
    assert steps and lines.snapshot["status"] == "ready", lines.snapshot
    files = {name: f"/lab/{file}" for name, file in FILES.items()}
    client.create_snapshot("py", **files, **machine)


def run_tests():
    result = unittest.TextTestRunner(verbosity=2).run(unittest.defaultTestLoader.loadTestsFromNames(MODULES))
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return result.wasSuccessful()


def show(client):
    make_snapshots(client)
    passed = run_tests()
    client.delete_snapshot("image")
    client.delete_snapshot("py", cascade=True)  # which ends what is in the lab
    return passed


def main():
    port = free_port()
    os.environ["FORKD_URL"] = f"http://127.0.0.1:{port}"
    host, *arguments = sys.argv[1:]
    command = [HERE.parent / "lab/run", host, "--forward", f"{port}:8889", *arguments]
    passed = False
    with subprocess.Popen(command) as lab, forkd.Controller(timeout=300) as client:
        try:
            passed = await_daemon(client, lab) and show(client)
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


if __name__ == "__main__":
    sys.exit(main())
