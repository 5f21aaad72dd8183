# SPDX-License-Identifier: Apache-2.0
"""Carries TCP connections to the agent of a child that has no network device, so that a client which knows only an
address and a port reaches it: the bytes are the client's and the agent's own."""

import pathlib
import socket
import threading
import time

AGENT_PORT = 8888


class Relay:
    """Listens once there is a child, as the port of a guest would, and while `directory` has its socket."""

    def __init__(self, directory):
        self._directory = pathlib.Path(directory)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self):
        self._closed.set()
        self._thread.join()

    def child(self):
        """The socket of the child of a `forkd fork`, or None."""
        return next(self._directory.glob("fork-*/*.vsock"), None)

    def _run(self):
        while not self._closed.is_set() and self.child() is None:
            time.sleep(0.02)
        with socket.create_server(("127.0.0.1", self.port)) as server:
            server.settimeout(0.05)
            while not self._closed.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                self._serve(connection)

    def _serve(self, client):
        with client, socket.socket(socket.AF_UNIX) as agent:
            client.settimeout(60)
            agent.settimeout(60)
            agent.connect(str(self.child()))
            agent.sendall(f"CONNECT {AGENT_PORT}\n".encode())
            answer = b""
            while not answer.endswith(b"\n"):
                answer += agent.recv(1)
            assert answer.startswith(b"OK "), answer
            back = threading.Thread(target=_copy, args=(agent, client))
            back.start()
            _copy(client, agent)
            back.join()


def _copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
