# SPDX-License-Identifier: Apache-2.0
"""Machines that have snapshots, as folders of their own, and a real registry between them."""

import os
import socket
import subprocess
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
FORKD = HERE + "/../../forkd"


class Host:
    def __init__(self, work, name):
        self.home = f"{work}/{name}"
        for folder in ("data", "run", "cache"):
            os.makedirs(f"{self.home}/{folder}", mode=0o700)
        self.environment = dict(
            os.environ,
            XDG_DATA_HOME=self.home + "/data",
            XDG_RUNTIME_DIR=self.home + "/run",
            FORKD_RUN_CACHE=self.home + "/cache",
        )
        self.store = self.home + "/data/forkd/snapshots"

    def start(self, *command):
        return subprocess.Popen([FORKD, *command], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def forkd(self, *command):
        done = subprocess.run([FORKD, *command], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, [*command, done.stderr.decode()], done.stdout, done.stderr)
        return done.stdout.decode()

    def boot(self, tag, *options):
        """A snapshot of the guest with an agent that any KVM runs, with the disk data/disk.ext4."""
        subprocess.run(
            [HERE + "/../native/guests/snapshot", self.home + "/data", tag, *options],
            env=self.environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def fetched(self):
        """Chunks that a pull which was interrupted has noted."""
        for name in os.listdir(self.store) if os.path.isdir(self.store) else []:
            journal = f"{self.store}/{name}/done"
            if name.startswith(".pulling-") and os.path.exists(journal):
                return os.path.getsize(journal) // 4
        return 0


class Registry:
    """docker-registry, with what it has in a folder."""

    def __init__(self, work):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with open(work + "/registry.yml", "w") as file:
            file.write(
                f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {work}/registry}}}}\n"
                f'http: {{addr: "127.0.0.1:{port}"}}\n'
            )
        self.address = f"localhost:{port}"
        self.process = subprocess.Popen(
            ["docker-registry", "serve", work + "/registry.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://{self.address}/v2/").close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("docker-registry does not answer")

    def close(self):
        self.process.kill()
        self.process.wait()
