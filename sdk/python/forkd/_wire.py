# SPDX-License-Identifier: Apache-2.0
"""What both clients say and understand: addresses, bodies, lines, events, failures."""

from __future__ import annotations

import base64
import functools
import json
import math
import os
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import (
    Any,
    BinaryIO,
    Literal,
    NamedTuple,
    Optional,
    TypedDict,
    Union,
    cast,
)
from urllib.parse import quote, urlencode

import httpx

from .errors import ControllerError, ForkdError, StreamError, TimedOutError, UnreachableError
from .types import SandboxInfo

CHUNK = 64 << 10
MESSAGE = 512 << 10
"""Of a WebSocket; the daemon takes a MiB."""

CONNECTIONS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
"""As many as there are calls; the daemon says when they are too many."""

KEEP_ALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
"""Streams may be silent for long: that the other host is gone, the kernel finds out."""

BranchMode = Literal["full", "diff", "live"]
SandboxId = Union[str, SandboxInfo]
"""A sandbox: its id, its name, or what a call said of it."""

GuestPath = Union[str, bytes]
"""An absolute path in a sandbox; as bytes, where it is no UTF-8."""

Content = Union[str, bytes, BinaryIO, Iterable[bytes]]
"""What is written: at once, or bit by bit."""

AsyncContent = Union[Content, AsyncIterable[bytes]]

Query = dict[str, Union[str, Sequence[str], None]]


class Output(NamedTuple):
    """What a program wrote. A terminal has stdout alone."""

    stream: Literal["stdout", "stderr"]
    data: bytes


class Event(TypedDict, total=False):
    """Something that happened. `id` is what `after` takes to go on behind it."""

    id: str
    time: str
    event: Literal[
        "created",
        "ended",
        "paused",
        "resumed",
        "reset",
        "taken",
        "given_back",
        "branched",
        "snapshot_made",
        "snapshot_removed",
        "lost",
    ]
    sandbox: str
    snapshot: str
    pool: str
    reason: str


class Deleted(TypedDict, total=False):
    """What became of one of several sandboxes that were to be ended."""

    id: str
    success: bool
    error: str


# --- Addresses ---


class Address:
    """Where the daemon is: http://HOST:PORT, https://HOST:PORT or unix:PATH."""

    def __init__(self, url: str, ca: Optional[str]) -> None:
        self.url = url.rstrip("/")
        self.socket: Optional[str] = None
        self.base = self.url
        if url.startswith("unix:"):
            self.socket = url[len("unix:") :]
            self.base = "http://forkd"
        elif not url.startswith(("http://", "https://")):
            raise ValueError(
                f"{url!r} is not a daemon's URL: it must be http://HOST:PORT, https://HOST:PORT or unix:PATH"
            )
        self.secure = url.startswith("https://")
        self.tls = ssl.create_default_context(cafile=ca) if self.secure else system_authorities()


@functools.cache
def system_authorities() -> ssl.SSLContext:
    return ssl.create_default_context()


class Token(httpx.Auth):
    """For the daemon's own host, and no other that a client is led to."""

    def __init__(self, base: str, headers: dict[str, str]) -> None:
        self._base = httpx.URL(base)
        self._headers = headers

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if all(getattr(request.url, part) == getattr(self._base, part) for part in ("scheme", "host", "port")):
            request.headers.update(self._headers)
        yield request


def address(base_url: Optional[str], ca: Optional[str]) -> Address:
    return Address(base_url or os.environ.get("FORKD_URL") or "http://127.0.0.1:8889", ca)


def port_host(base: str, sandbox_id: str, port: int, path: str, domain: str) -> str:
    url = httpx.URL(base)
    own = f":{url.port}" if url.port is not None else ""
    return f"{url.scheme}://{port}-{sandbox_id}.{domain}{own}/{path.lstrip('/')}"


def to_socket(url: str) -> str:
    """The same by WebSocket."""
    return "ws" + url[len("http") :]


def id_of(sandbox: SandboxId) -> str:
    return sandbox if isinstance(sandbox, str) else sandbox["id"]


def sandbox_path(sandbox: SandboxId, rest: str = "") -> str:
    return f"/v1/sandboxes/{segment(id_of(sandbox))}{rest}"


def pool_path(name: str, rest: str = "") -> str:
    return f"/v1/pools/{segment(name)}{rest}"


def segment(text: Union[str, int]) -> str:
    # A path of dots alone would be another path.
    return quote(str(text), safe="").replace(".", "%2E") if str(text).strip(".") == "" else quote(str(text), safe="")


# --- What is sent ---


def given(**fields: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def options(known: type[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are not None. The daemon overlooks what it does not know; a wrong name is not to be overlooked."""
    for name in fields:
        if name not in known.__annotations__:
            raise TypeError(f"there is no argument {name!r}; there are {', '.join(known.__annotations__)}")
    return given(**fields)


def flag(value: bool) -> Optional[str]:
    return "true" if value else None


def number(value: Optional[int]) -> Optional[str]:
    return None if value is None else str(value)


def labels_query(labels: Optional[Mapping[str, Optional[str]]]) -> list[str]:
    return [key if value is None else f"{key}={value}" for key, value in (labels or {}).items()]


def path_fields(name: str, path: GuestPath) -> dict[str, str]:
    if isinstance(path, bytes):
        return {name + "_base64": base64.b64encode(path).decode()}
    return {name: path}


def query_string(query: Query) -> str:
    return urlencode({name: value for name, value in query.items() if value is not None}, doseq=True)


def question(query: Optional[Query]) -> str:
    text = query_string(query or {})
    return f"?{text}" if text else ""


def patience(timeout: float, read: Optional[float]) -> httpx.Timeout:
    """`timeout` for everything, but for the next that is read, which may take `read` seconds."""
    seconds = timeout if read is None else read
    return httpx.Timeout(timeout, read=None if seconds == math.inf else seconds)


def stdin_fields(stdin: Union[str, bytes, None]) -> dict[str, str]:
    if isinstance(stdin, bytes):
        return {"stdin_base64": base64.b64encode(stdin).decode()}
    return given(stdin=stdin)


def range_header(offset: int, length: Optional[int]) -> dict[str, str]:
    if offset == 0 and length is None:
        return {}
    return {"Range": f"bytes={offset}-{'' if length is None else offset + length - 1}"}


def upload(content: Content) -> Union[bytes, Iterator[bytes]]:
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, bytes):
        return content
    return pieces(content)


def pieces(content: Union[BinaryIO, Iterable[bytes]]) -> Iterator[bytes]:
    read = getattr(content, "read", None)
    if read is None:
        yield from content
        return
    while chunk := read(CHUNK):
        yield chunk


def async_upload(content: AsyncContent) -> Union[bytes, AsyncIterator[bytes]]:
    if isinstance(content, AsyncIterable):
        return content.__aiter__()
    at_once = upload(content)
    return at_once if isinstance(at_once, bytes) else one_by_one(at_once)


async def one_by_one(content: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in content:
        yield chunk


def messages(data: bytes) -> Iterator[bytes]:
    """Input of a program, in messages that the daemon takes."""
    for start in range(0, len(data), MESSAGE):
        yield b"\0" + data[start : start + MESSAGE]


# --- What is answered ---


@contextmanager
def failures(url: str) -> Iterator[None]:
    """What happens to a connection, as one of our exceptions."""
    try:
        yield
    except httpx.TransportError as e:
        if isinstance(e, httpx.TimeoutException):
            raise TimedOutError(f"the daemon at {url} did not answer in time") from e
        raise UnreachableError(f"cannot reach the daemon at {url}: {e or type(e).__name__}") from e


@contextmanager
def stream_failures() -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as e:
        raise StreamError(f"the stream broke off: {e or type(e).__name__}") from e


@contextmanager
def gone_is_well() -> Iterator[None]:
    """For what is to be ended, and may have ended by itself."""
    try:
        yield
    except ControllerError as e:
        if e.status != 404:
            raise


def refusal(status: int, content: bytes, url: str) -> ControllerError:
    try:
        body: Any = json.loads(content) if content else {}
    except ValueError:
        body = content.decode(errors="replace")
    return ControllerError(status, body, url)


def text(response: httpx.Response) -> str:
    if not response.is_success:
        raise refusal(response.status_code, response.content, str(response.request.url))
    return response.text


def answer(response: httpx.Response) -> Any:
    text(response)
    if not response.content:
        return None
    try:
        return json.loads(response.content)
    except ValueError:
        raise ForkdError(f"{response.request.url} does not answer as forkd does: with JSON") from None


class Lines:
    """Lines of bytes that come in pieces. (httpx's own end at more than line feeds, which names of files may have.)"""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return lines


class EventLines:
    """Server-sent events, line by line."""

    def __init__(self) -> None:
        self._id = ""
        self._data = ""

    def feed(self, line: bytes) -> list[Event]:
        """What the line completes."""
        name, _, value = line.decode().partition(": ")
        if name == "id":
            self._id = value
        elif name == "data":
            self._data = value
        elif not line and self._data:
            event = cast(Event, {"id": self._id, **json.loads(self._data)})
            self._data = ""
            return [event]
        return []


class Program:
    """What is known of a program that is listened to.

    pid        its number in the sandbox
    position   how much of its stdout and stderr has been heard: where attach_process can go on
    exit_code  when it has ended; negative of a signal
    timed_out  whether it was ended as its time was over
    """

    pid: int
    exit_code: Optional[int] = None
    timed_out = False

    def __init__(self) -> None:
        self._position = {"stdout": 0, "stderr": 0}

    @property
    def position(self) -> tuple[int, int]:
        return self._position["stdout"], self._position["stderr"]

    def _began(self, line: Mapping[str, Any]) -> None:
        self.pid = line["pid"]
        stdout, stderr = line.get("from", (0, 0))
        self._position = {"stdout": stdout, "stderr": stderr}

    def _wrote(self, output: Output) -> Output:
        self._position[output.stream] += len(output.data)
        return output

    def _ended(self, line: Mapping[str, Any]) -> None:
        if "exit_code" not in line:
            raise StreamError(line.get("error", "the daemon said what nobody understands"))
        self.exit_code = line["exit_code"]
        self.timed_out = line.get("timed_out", False)


def output_of_line(line: Mapping[str, Any]) -> Optional[Output]:
    return Output(line["stream"], base64.b64decode(line["data_base64"])) if "stream" in line else None


def output_of_message(message: bytes) -> Output:
    return Output("stderr" if message[0] == 2 else "stdout", message[1:])
