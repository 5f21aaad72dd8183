# SPDX-License-Identifier: Apache-2.0
"""server.py PORT: in a guest, page.html, and at /numbers a WebSocket (RFC 6455) that counts.

Each message is the next number, and how many the client has sent back. One that it does not send back in turn ends it.
"""

import base64
import hashlib
import http.server
import pathlib
import struct
import sys
import threading
import time

PAGE = pathlib.Path(__file__).with_name("page.html").read_bytes()
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT = 0x81
AHEAD = 100  # numbers that have not come back


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/numbers":
            self.count()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def count(self):
        key = self.headers["Sec-WebSocket-Key"].encode()
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key + GUID).digest()).decode())
        self.end_headers()
        self.close_connection = True
        self.heard = 0
        listener = threading.Thread(target=self.listen)
        listener.start()
        number = 0
        while listener.is_alive():
            if number < self.heard + AHEAD:
                message = f"{number} {self.heard}".encode()
                self.wfile.write(struct.pack("BB", TEXT, len(message)) + message)
                number += 1
            time.sleep(0.02)

    def listen(self):
        """Until it hears something else than the next number."""
        while (head := self.rfile.read(2)) and head[0] == TEXT:
            mask = self.rfile.read(4)
            data = self.rfile.read(head[1] & 0x7F)
            if bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)) != str(self.heard).encode():
                return
            self.heard += 1

    def log_message(self, *what):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
