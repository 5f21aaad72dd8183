# SPDX-License-Identifier: Apache-2.0
"""Starts the lab, has its daemon make snapshots, and runs the tests of this folder with that.

main.py HOST ARGUMENTS...      of tests/lab/run
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import run_tests, served

FILES = {"kernel": "vmlinux", "initrd": "initrd.img", "rootfs": "rootfs.ext4"}


def make_snapshots(client):
    """image, of a small one, as a daemon of root makes it; and py, of a Debian, without a network device."""
    machine = {"memory_mib": 512, "vcpus": 1, "boot_wait_secs": 60}
    with client.create_snapshot_stream("image", image="localhost:5000/busybox:1", **machine) as lines:
        steps = [line for line in lines if "step" in line]
    print(steps)
    assert steps and lines.snapshot["status"] == "ready", lines.snapshot
    files = {name: f"/lab/{file}" for name, file in FILES.items()}
    client.create_snapshot("py", **files, **machine)


def show(client):
    make_snapshots(client)
    passed = run_tests(["browser_test", "guest_test"])
    client.delete_snapshot("image")
    client.delete_snapshot("py", cascade=True)  # which ends what is in the lab
    return passed


if __name__ == "__main__":
    sys.exit(served(sys.argv[1:], show))
