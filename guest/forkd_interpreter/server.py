# SPDX-License-Identifier: Apache-2.0
"""The interface over HTTP: docs/e2b-images.md, The interpreter's interface."""

import base64
import http.server
import json
import os
import re
import socket
import socketserver
import sys
import threading

from forkd_interpreter.contexts import KEEPALIVE_SECONDS, Cell, Context
from forkd_interpreter.kernels import failure, languages

MOST_BODY = 32 << 20
MOST_CONTEXTS = 64
MOST_CONNECTIONS = 512
IDLE_SECONDS = 310  # clients keep a connection for 300
ENVIRONMENT = "X-Forkd-Environment"
VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"
NAMES = {"js": "javascript", "python3": "python", "sh": "bash"}


class Refusal(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Contexts:
    def __init__(self, cwd):
        self.cwd = cwd
        self.languages = languages()
        self._lock = threading.Lock()
        self._contexts = {}
        self._defaults = {}

    def all(self):
        with self._lock:
            return list(self._contexts.values())

    def get(self, id):
        with self._lock:
            if id not in self._contexts:
                raise Refusal(404, f"Context {id} not found")
            return self._contexts[id]

    def create(self, language, cwd):
        language = self._language(language)
        if not os.path.isdir(cwd):
            raise Refusal(400, f"cwd {cwd}: there is no such directory")
        with self._lock:
            context = self._add(language, cwd, self.languages[language])
        return self._started(context)

    def default(self, language, *options):
        """The context of those who name none, which is there from its first use on."""
        language = self._language(language)
        with self._lock:
            context = self._contexts.get(self._defaults.get(language))
            if not context:
                kernel = self.languages[language]
                context = self._add(language, self.cwd, (lambda cwd: kernel(cwd, *options)) if options else kernel)
                self._defaults[language] = context.id
        return self._started(context)

    def remove(self, id):
        with self._lock:
            context = self._contexts.pop(id, None)
        if not context:
            raise Refusal(404, f"Context {id} not found")
        context.remove()

    def _language(self, language):
        name = (language or "python").strip().lower()
        name = NAMES.get(name, name)
        if name not in self.languages:
            raise Refusal(400, f"There is no kernel for {language}; there are: {', '.join(self.languages)}")
        return name

    def _add(self, language, cwd, kernel):
        if len(self._contexts) >= MOST_CONTEXTS:
            raise Refusal(429, f"There are {MOST_CONTEXTS} contexts, which is the limit: remove one")
        context = Context(language, cwd, kernel)
        self._contexts[context.id] = context
        return context

    def _started(self, context):
        why = context.wait_started()
        if why:
            with self._lock:
                self._contexts.pop(context.id, None)
            context.remove()
            raise Refusal(500, why)
        return context


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.sending = threading.Lock()

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self._answer()

    do_POST = do_DELETE = do_GET

    # --- a client of a cell ---

    def send(self, event):
        # ASCII: some clients take what Unicode calls a line's end for one. JSON has no NaN.
        try:
            line = json.dumps(event, allow_nan=False)
        except ValueError:
            line = json.dumps(finite(event))
        data = line.encode() + b"\n"
        with self.sending:
            self.connection.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def gone(self):
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def fileno(self):
        return self.connection.fileno()

    def shutdown(self):
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    # --- requests ---

    def _answer(self):
        try:
            self._route(self.path.partition("?")[0].rstrip("/"), self._body())
        except Refusal as refusal:
            self._reply(refusal.status, str(refusal).encode(errors="replace"), "text/plain; charset=utf-8")

    def _route(self, path, body):
        contexts = self.server.contexts
        named = re.fullmatch(r"/contexts/([^/]+)(/restart)?", path)
        route = (self.command, "/contexts/{id}" + (named[2] or "") if named else path)
        if route == ("GET", "/health"):
            self._reply(200)
        elif route == ("POST", "/execute"):
            self._execute(contexts, self._object(body))
        elif route == ("GET", "/contexts"):
            self._reply_json(200, [one.described() for one in contexts.all()])
        elif route == ("POST", "/contexts"):
            asked = self._object(body)
            created = contexts.create(text(asked, "language"), text(asked, "cwd") or contexts.cwd)
            self._reply_json(201, created.described())
        elif route == ("POST", "/contexts/{id}/restart"):
            contexts.get(named[1]).restart()
            self._reply(204)
        elif route == ("DELETE", "/contexts/{id}"):
            contexts.remove(named[1])
            self._reply(204)
        else:
            raise Refusal(404, f"There is no {self.command} {self.path}")

    def _execute(self, contexts, asked):
        code, id, language = text(asked, "code"), text(asked, "context_id"), text(asked, "language")
        if code is None:
            raise Refusal(400, "code is missing")
        if id and language:
            raise Refusal(400, "Only one of context_id and language can be given")
        variables = asked.get("env_vars") or {}
        if not isinstance(variables, dict):
            raise Refusal(400, "env_vars is no object")
        for name in variables:
            if not re.fullmatch(VARIABLE, name) or "\0" in (text(variables, name) or "\0"):
                raise Refusal(400, f"env_vars: {name!r} is no name of a variable, or its value no text")
        context = contexts.get(id) if id else contexts.default(language)
        self._stream(context, Cell(code, variables, self._environment(), self))

    def _environment(self):
        """The sandbox's variables, as forkd's daemon says them; None when nobody does."""
        said = self.headers.get(ENVIRONMENT)
        if said is None:
            return None
        try:
            variables = json.loads(base64.b64decode(said, validate=True))
            pairs = [(name, text(variables, name) or "") for name in variables]
        except (ValueError, AttributeError, RecursionError) as error:
            raise Refusal(400, f"{ENVIRONMENT} is no object in base64: {error}") from error
        # There may be names that are none for a shell: programs get them, and cells do not.
        return {name: value for name, value in pairs if re.fullmatch(VARIABLE, name) and "\0" not in value}

    def _stream(self, context, cell):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.connection.settimeout(None)  # a client may read as slowly as it likes
        if context.submit(cell):
            self._wait(context, cell)
        else:
            cell.send(failure("ContextRemoved", "The context was removed before this ran."))
        if cell.given_up:
            self.close_connection = True
            return
        self.connection.settimeout(IDLE_SECONDS)
        self.wfile.write(b"0\r\n\r\n")

    def _wait(self, context, cell):
        waited = 0
        while not cell.begun.wait(0.5):
            waited += 0.5
            if waited % KEEPALIVE_SECONDS == 0:
                cell.send({"type": "keepalive"})
            if self.gone():
                cell.given_up = True
            if cell.given_up and context.withdraw(cell):
                return
        cell.finished.wait()

    def _object(self, body):
        try:
            found = json.loads(body or b"{}")
        except (ValueError, RecursionError) as error:
            raise Refusal(400, f"The body is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise Refusal(400, "The body is no JSON object")
        return found

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunks()
        length = self.headers.get("Content-Length", "0")
        if not re.fullmatch("[0-9]{1,18}", length) or "Transfer-Encoding" in self.headers:
            raise self._broken(400, "The length of the body is not known")
        return self._read(int(length), 0)

    def _chunks(self):
        body = bytearray()
        while True:
            size = re.fullmatch(rb"([0-9A-Fa-f]{1,8})[ \t]*(;[^\r\n]*)?\r?\n", self.rfile.readline(1024))
            if not size:
                raise self._broken(400, "The body's chunks are broken")
            part = self._read(int(size[1], 16), len(body))
            if not part:
                while (line := self.rfile.readline(1024)) not in (b"\r\n", b"\n"):
                    if not line.endswith(b"\n"):
                        raise self._broken(400, "The body's end is broken")
                return bytes(body)
            body += part
            if self.rfile.readline(3) not in (b"\r\n", b"\n"):
                raise self._broken(400, "The body's chunks are broken")

    def _read(self, size, before):
        if size + before > MOST_BODY:
            raise self._broken(413, f"The body is longer than {MOST_BODY} bytes")
        part = self.rfile.read(size)
        if len(part) < size:
            raise self._broken(400, "The body is shorter than was said")
        return part

    def _broken(self, status, message):
        self.close_connection = True  # what comes is no request
        return Refusal(status, message)

    def _reply(self, status, body=b"", kind="text/plain"):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _reply_json(self, status, value):
        self._reply(status, json.dumps(value).encode(), "application/json")


def text(asked, name):
    value = asked.get(name)
    if value is None:
        return None
    try:
        value.encode()
    except (AttributeError, UnicodeEncodeError) as error:
        raise Refusal(400, f"{name} is no text") from error
    return value


def finite(value):
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and value - value != 0 else value


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, contexts):
        self.contexts = contexts
        self._free = threading.Semaphore(MOST_CONNECTIONS)
        super().__init__(("127.0.0.1", port), Handler)

    def process_request(self, request, client):
        self._free.acquire()
        super().process_request(request, client)

    def process_request_thread(self, request, client):
        try:
            super().process_request_thread(request, client)
        finally:
            self._free.release()

    def handle_error(self, request, client):
        if not isinstance(sys.exc_info()[1], OSError):  # a client that went away
            super().handle_error(request, client)

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks for this host's name
