# SPDX-License-Identifier: Apache-2.0
"""What the tests share: a bound, and a web server in a sandbox."""

import pathlib
import signal
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
PORT = 8000
LIMIT = 900  # seconds, in an emulated machine


class Bounded(unittest.TestCase):
    """Fails when it takes too long, whatever it waits for."""

    def run(self, result=None):
        signal.signal(signal.SIGALRM, self.expire)
        signal.alarm(LIMIT)
        try:
            return super().run(result)
        finally:
            signal.alarm(0)

    def expire(self, *_):
        raise TimeoutError(f"{self.id()} has taken {LIMIT} s")


def serve(client, sandbox):
    for name in ("server.py", "page.html"):
        client.write_file(sandbox, f"/srv/{name}", (HERE / name).read_bytes())
    client.start_process(sandbox, ["python3", "/srv/server.py", str(PORT)], tag="server")
    with client.port_client(sandbox, PORT) as web:
        while (answer := web.get("/")).status_code == 502:
            [server] = client.list_processes(sandbox)
            assert server["exit_code"] is None, server
            time.sleep(0.2)
    return answer
