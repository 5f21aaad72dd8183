# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of this folder, and those of the published SDK, against one daemon.

main.py PUBLISHED [NAME...]      PUBLISHED: the folder with that SDK; names of tests, or all
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE), str(ROOT / "tests/load"), str(ROOT / "tests/clients")]

import recorder  # noqa: E402
from daemon import Daemon  # noqa: E402

# The last holds all that the others have asked against the document.
MODULES = ["client_test", "connection_test", "page_test", "controller_test", "sandbox_test", "document_test"]


def memory_limits(daemon):
    checks = json.loads(daemon.forkd("doctor", "--json").stdout)["checks"]
    [check] = [check for check in checks if check["name"] == "cgroup v2"]
    return "yes" if check["status"] == "pass" or "memory" in check["detail"].partition("; ")[2] else "no"


def main():
    with tempfile.TemporaryDirectory() as images, Daemon({"FORKD_RUN_CACHE": images + "/cache"}) as daemon:
        subprocess.run([ROOT / "tests/sdk/layout", images + "/layout"], check=True)
        daemon.start()
        os.environ.update(
            daemon.environment,
            PATH=f"{ROOT}:{os.environ['PATH']}",
            FORKD_PUBLISHED=sys.argv[1],
            FORKD_URL=f"http://127.0.0.1:{daemon.port}",
            FORKD_TAG="py",
            FORKD_IMAGE=f"oci:{images}/layout:1",
            FORKD_MEMORY_LIMITS=memory_limits(daemon),
        )
        with recorder.recording():
            tests = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[2:] or MODULES)
            # Those of the published SDK, which has nothing to close, close nothing.
            result = unittest.TextTestRunner(warnings="ignore").run(tests)
        if not result.wasSuccessful():
            sys.stderr.write(pathlib.Path(daemon.log).read_text()[-4000:])
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
