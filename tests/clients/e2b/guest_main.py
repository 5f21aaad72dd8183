# SPDX-License-Identifier: Apache-2.0
"""Starts the lab, has its daemon make the templates that E2B's SDKs ask for, and runs tests with these.

guest_main.py HOST ARGUMENTS...      of tests/lab/run
"""

import os
import pathlib
import re
import subprocess
import sys

from lab import run_tests, served

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
INTERPRETER = ROOT / "guest/forkd_interpreter"
SLOW = 900  # seconds that Python may take to import all that is warmed, in an emulated guest


def make_templates(client):
    """As guest/e2b-images does, of a root that has the packages already."""
    files = {"kernel": "/lab/vmlinux", "initrd": "/lab/initrd.img", "rootfs": "/lab/code.ext4"}
    client.create_snapshot("py", **files, memory_mib=1024, vcpus=1, boot_wait_secs=60)
    with client.spawn_sandboxes("py") as [sandbox]:

        def run(*command):
            done = client.exec_command(sandbox, list(command), timeout_secs=SLOW)
            assert done["exit_code"] == 0, done

        run("useradd", "--create-home", "--shell", "/bin/bash", "user")
        client.branch_sandbox(sandbox, "base")
        for file in INTERPRETER.iterdir():
            if file.is_file():
                client.write_file(sandbox, f"/opt/{INTERPRETER.name}/{file.name}", file.read_bytes(), parents=True)
        command = ["python3", f"/opt/{INTERPRETER.name}"]
        client.start_process(sandbox, command, tag="code-interpreter", user="user", cwd="/home/user")
        run("bash", "-c", "until : </dev/tcp/127.0.0.1/49999; do sleep 0.2; done 2>/dev/null")
        client.branch_sandbox(sandbox, "code-interpreter-v1")


def show(client):
    make_templates(client)
    said = subprocess.run([ROOT / "forkd", "e2b", "env"], check=True, capture_output=True, text=True).stdout
    os.environ.update(re.findall("^export ([A-Z0-9_]+)=(.*)$", said, re.MULTILINE))
    passed = run_tests(["guest_test"])
    for tag in "code-interpreter-v1", "base":
        client.delete_snapshot(tag)
    client.delete_snapshot("py", cascade=True)  # which ends what is in the lab
    return passed


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(served(sys.argv[1:], show))
