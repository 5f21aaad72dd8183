# SPDX-License-Identifier: Apache-2.0
"""E2B's clients, each version in an environment of its own below build/."""

import contextlib
import fcntl
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))


@contextlib.contextmanager
def alone():
    """Others may be at it."""
    with open(f"{ROOT}/build/e2b.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def python(version):
    """The interpreter that has that version."""
    home = f"{ROOT}/build/e2b-{version}"
    with alone():
        if not os.path.exists(home + "/done"):
            subprocess.run(["python3", "-m", "venv", "--clear", home], check=True)
            pip = [home + "/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, f"e2b=={version}"], check=True)
            open(home + "/done", "w").close()
    return home + "/bin/python"


def javascript(version):
    """A script that talks to the daemon, beside the client of that version."""
    home = f"{ROOT}/build/e2b-node"
    os.makedirs(home, exist_ok=True)
    with alone():
        if not os.path.exists(home + "/done"):
            with open(home + "/package.json", "w") as file:
                file.write("{}")
            npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", f"e2b@{version}"]
            subprocess.run(npm, cwd=home, check=True)
            open(home + "/done", "w").close()
    return shutil.copy(HERE + "/native.mjs", home)
