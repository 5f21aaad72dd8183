# SPDX-License-Identifier: Apache-2.0
"""For asyncio. _sync.py, which waits, is made of this by sdk/python/generate."""

from __future__ import annotations

import asyncio
import codecs
import json
import math
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Optional,
    TypeVar,
    Union,
    cast,
)

import httpx

from . import _wire
from ._wire import AsyncContent, BranchMode, Deleted, Event, GuestPath, Output, Program, Query, SandboxId
from .errors import ControllerError, StreamError, UnreachableError
from .types import (
    EvalResponse,
    ExecResponse,
    FileChange,
    FileEntry,
    ForkOptions,
    Health,
    Lifetime,
    MadeDirectory,
    NetworkPolicy,
    Pong,
    Pool,
    PoolOptions,
    Process,
    SandboxInfo,
    SandboxMetrics,
    SandboxOptions,
    SnapshotInfo,
    SnapshotInfoDetail,
    SnapshotLine,
    SnapshotOptions,
    Started,
    TakeOptions,
    Version,
    WorkspaceInfo,
)

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")
StreamType = TypeVar("StreamType", bound="AsyncStream[Any]")
END_BATCH = 100  # ids in a URL
MARGIN = 10.0  # seconds, beyond what the daemon may take
PULL = 3600.0  # seconds, for an image that is pulled and made a disk
BEAT = 30.0  # seconds; a daemon that has no events to tell says so every ten


class AsyncStream(Generic[T]):
    """An answer that goes on: a context manager, and in it an iterator. Who leaves it breaks it off."""

    def __init__(self, http: httpx.AsyncClient, request: httpx.Request, url: str) -> None:
        self._http = http
        self._request = request
        self._url = url
        self._response: Optional[httpx.Response] = None

    async def __aenter__(self: StreamType) -> StreamType:
        with _wire.failures(self._url):
            response = await self._http.send(self._request, stream=True)
            self._response = response
            try:
                if not response.is_success:
                    text = await response.aread()
                    raise _wire.refusal(response.status_code, text, str(self._request.url))
                await self._begin()
            except BaseException:
                await response.aclose()
                raise
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._response is not None:
            await self._response.aclose()

    def __aiter__(self) -> AsyncIterator[T]:
        return self._parts()

    async def _begin(self) -> None:
        """Reads what comes before the first part."""

    def _parts(self) -> AsyncIterator[T]:
        raise NotImplementedError

    async def _chunks(self) -> AsyncIterator[bytes]:
        if self._response is None:
            raise RuntimeError("a stream is used inside of its with statement")
        with _wire.stream_failures():
            async for chunk in self._response.aiter_bytes():
                yield chunk

    async def _lines(self) -> AsyncIterator[bytes]:
        lines = _wire.Lines()
        async for chunk in self._chunks():
            for line in lines.feed(chunk):
                yield line


class AsyncFileReader(AsyncStream[bytes]):
    """A file as it comes: its bytes, piece by piece."""

    @property
    def size(self) -> Optional[int]:
        """How many bytes come; None of a file whose file system does not say, as in /proc."""
        length = None if self._response is None else self._response.headers.get("Content-Length")
        return None if length is None else int(length)

    def _parts(self) -> AsyncIterator[bytes]:
        return self._chunks()


class AsyncObjects(AsyncStream[T]):
    """An object in each line."""

    async def _parts(self) -> AsyncIterator[T]:
        async for line in self._lines():
            yield cast(T, json.loads(line))


class AsyncLog(AsyncStream[str]):
    """What a guest writes to its console, piece by piece. It ends when its sandbox does, or is paused."""

    async def _parts(self) -> AsyncIterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        async for chunk in self._chunks():
            if piece := decoder.decode(chunk):
                yield piece
        if rest := decoder.decode(b"", True):
            yield rest


class AsyncSnapshotStream(AsyncStream[SnapshotLine]):
    """A snapshot that is made: what is done, as it is. The last says what was made; a failure is a ControllerError."""

    snapshot: Optional[SnapshotInfo] = None

    async def _parts(self) -> AsyncIterator[SnapshotLine]:
        async for text in self._lines():
            line = cast(SnapshotLine, json.loads(text))
            if "error" in line:
                raise ControllerError(line.get("status", 500), line, str(self._request.url))
            self.snapshot = line.get("snapshot")
            yield line
            if self.snapshot is not None:
                return
        raise StreamError("nothing more is heard of the snapshot: whether it is made is not known")

    async def wait(self) -> SnapshotInfo:
        """What was made; what is said until then is dropped."""
        async for _ in self:
            pass
        return cast(SnapshotInfo, self.snapshot)


class AsyncEvents(AsyncStream[Event]):
    """What happens, as it does."""

    async def _parts(self) -> AsyncIterator[Event]:
        events = _wire.EventLines()
        async for line in self._lines():
            for event in events.feed(line):
                yield event


class AsyncProcessStream(Program, AsyncStream[Output]):
    """A program that is listened to: what it writes, as it does. It goes on when nobody listens any more."""

    def __init__(self, http: httpx.AsyncClient, request: httpx.Request, url: str) -> None:
        Program.__init__(self)
        AsyncStream.__init__(self, http, request, url)

    async def _begin(self) -> None:
        self._rest = self._lines()
        async for line in self._rest:
            self._began(json.loads(line))
            return
        raise StreamError("nothing is heard of the process")

    async def _parts(self) -> AsyncIterator[Output]:
        async for text in self._rest:
            line = json.loads(text)
            output = _wire.output_of_line(line)
            if output is None:
                self._ended(line)
                return
            yield self._wrote(output)
        if self.exit_code is None:
            raise StreamError(f"nothing more is heard of process {self.pid}; it may go on")

    async def wait(self) -> int:
        """Its exit code; what it writes until then is dropped."""
        async for _ in self:
            pass
        return cast(int, self.exit_code)


class AsyncConversation(Program):
    """A program that is talked to: a context manager, and in it an iterator of what the program writes."""

    def __init__(self, url: str, socket: Optional[str], options: dict[str, Any]) -> None:
        super().__init__()
        self._url = url
        self._socket = socket
        self._options = options

    async def __aenter__(self) -> AsyncConversation:
        try:
            from websockets.asyncio import client
            from websockets.exceptions import InvalidStatus, WebSocketException
        except ImportError as e:
            raise ImportError("to talk to programs the package websockets is needed: pip install 'forkd[tty]'") from e
        try:
            if self._socket is not None:
                self._opening: Any = client.unix_connect(self._socket, self._url, **self._options)
            else:
                self._opening = client.connect(self._url, **self._options)
            self._connection = await self._opening.__aenter__()
        except InvalidStatus as e:
            raise _wire.refusal(e.response.status_code, bytes(e.response.body or b""), self._url) from None
        except (OSError, WebSocketException) as e:
            raise UnreachableError(f"cannot reach the daemon at {self._url}: {e or type(e).__name__}") from e
        try:
            self._began(json.loads(await self._receive()))
        except BaseException:
            await self._opening.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self._opening.__aexit__(kind, value, traceback)

    async def __aiter__(self) -> AsyncIterator[Output]:
        while self.exit_code is None:
            message = await self._receive()
            if isinstance(message, str):
                self._ended(json.loads(message))
            else:
                yield self._wrote(_wire.output_of_message(message))

    async def write(self, data: bytes) -> None:
        """Gives it input."""
        for message in _wire.messages(data):
            await self._send(message)

    async def end_input(self) -> None:
        """Tells it that there is no more."""
        await self._send(json.dumps({"end": True}))

    async def resize(self, rows: int, columns: int) -> None:
        """Gives its terminal another size."""
        await self._send(json.dumps({"rows": rows, "columns": columns}))

    async def signal(self, signal: int, group: bool = False) -> None:
        """Sends it a signal; with `group` all processes of its session."""
        await self._send(json.dumps({"signal": int(signal), "group": group}))

    async def wait(self) -> int:
        """Its exit code; what it writes until then is dropped."""
        async for _ in self:
            pass
        return cast(int, self.exit_code)

    async def _receive(self) -> Union[str, bytes]:
        from websockets.exceptions import ConnectionClosed

        try:
            return cast(Union[str, bytes], await self._connection.recv())
        except ConnectionClosed as e:
            raise StreamError(f"the conversation broke off: {e}") from e

    async def _send(self, message: Union[str, bytes]) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(message)
        except ConnectionClosed as e:
            raise StreamError(f"the conversation broke off: {e}") from e


class AsyncSandboxes(list[SandboxInfo]):
    """Sandboxes that were made. As a context manager: they end with it."""

    def __init__(self, controller: AsyncController, sandboxes: list[SandboxInfo]) -> None:
        super().__init__(sandboxes)
        self._controller = controller

    async def __aenter__(self) -> AsyncSandboxes:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        for start in range(0, len(self), END_BATCH):
            for one in await self._controller.delete_sandboxes(self[start : start + END_BATCH]):
                if not one["success"]:
                    with _wire.gone_is_well():
                        await self._controller.kill_sandbox(one["id"])


class AsyncController:
    """A forkd daemon.

    base_url  http://HOST:PORT, https://HOST:PORT or unix:PATH; otherwise $FORKD_URL, or http://127.0.0.1:8889
    token     otherwise $FORKD_TOKEN, or none
    timeout   how many seconds the daemon may be silent; what is to take longer by its own arguments, may
    ca        a file of certificates: the authorities to trust in place of the system's

    Answers are dicts, as forkd.types describes them. A sandbox is named by its id, its name, or such a dict.
    """

    def __init__(
        self,
        base_url: Optional[str] = None,
        token: Optional[str] = None,
        timeout: float = 60.0,
        *,
        ca: Optional[str] = None,
    ) -> None:
        self._address = _wire.address(base_url, ca)
        self.base_url = self._address.url
        self.token = token if token is not None else os.environ.get("FORKD_TOKEN")
        self.timeout = timeout
        self._http = self._client(self._address.base)

    async def close(self) -> None:
        """Closes its connections. Sandboxes go on."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncController:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.close()

    # --- the daemon

    async def health(self) -> Health:
        """Whether it serves. Needs no token."""
        return cast(Health, await self._ask("GET", "/healthz"))

    async def version(self) -> Version:
        return cast(Version, await self._ask("GET", "/version"))

    async def metrics(self) -> str:
        """Numbers and times, as Prometheus reads them."""
        return _wire.text(await self._send("GET", "/metrics"))

    async def openapi(self) -> dict[str, Any]:
        """The document that describes its routes."""
        return cast(dict[str, Any], await self._ask("GET", "/openapi.json"))

    def events(self, after: Optional[str] = None, *, follow: bool = True) -> AsyncEvents:
        """What happens to sandboxes and snapshots: from now on, or behind the event whose id is `after`.

        Without `follow`, only what has happened already.
        """
        query: Query = {"after": after, "follow": None if follow else "false"}
        return AsyncEvents(*self._stream("GET", "/v1/events", query=query, read=max(self.timeout, BEAT)))

    # --- snapshots

    async def list_snapshots(self) -> list[SnapshotInfo]:
        return cast(list[SnapshotInfo], await self._ask("GET", "/v1/snapshots"))

    async def create_snapshot(self, tag: str, **options: Unpack[SnapshotOptions]) -> SnapshotInfo:
        """Boots a guest, of files of the host or of a container image, waits until it is ready, and writes it down."""
        body = {"tag": tag, **_wire.options(SnapshotOptions, options)}
        read = self.timeout + (PULL if "image" in body else body.get("boot_wait_secs", MARGIN))
        return cast(SnapshotInfo, await self._ask("POST", "/v1/snapshots", body, read=read))

    def create_snapshot_stream(self, tag: str, **options: Unpack[SnapshotOptions]) -> AsyncSnapshotStream:
        """The same, and listens to how it goes on. Who leaves before the end gives it up."""
        body = {"tag": tag, **_wire.options(SnapshotOptions, options)}
        return AsyncSnapshotStream(*self._stream("POST", "/v1/snapshots", body, query={"progress": "true"}))

    async def snapshot_info(self, tag: str) -> SnapshotInfoDetail:
        """Its sizes, its ancestors, and what depends on it."""
        return cast(SnapshotInfoDetail, await self._ask("GET", f"/v1/snapshots/{_wire.segment(tag)}/info"))

    async def compact_snapshot(self, tag: str, to: str) -> SnapshotInfo:
        """Makes another that restores to the same and depends on nothing."""
        path = f"/v1/snapshots/{_wire.segment(tag)}/compact"
        return cast(SnapshotInfo, await self._ask("POST", path, {"to": to}))

    async def delete_snapshot(self, tag: str, *, cascade: bool = False, force: bool = False) -> None:
        """Removes it; with `cascade`, all that depend on it, too; with `force`, although they do."""
        query: Query = {"cascade": _wire.flag(cascade), "force": _wire.flag(force)}
        await self._ask("DELETE", f"/v1/snapshots/{_wire.segment(tag)}", query=query)

    # --- sandboxes

    async def spawn_sandboxes(
        self,
        snapshot_tag: str,
        n: int = 1,
        per_child_netns: bool = False,
        memory_limit_mib: Optional[int] = None,
        prewarm: bool = False,
        live_fork: bool = False,
        hugepages: bool = False,
        **options: Unpack[SandboxOptions],
    ) -> AsyncSandboxes:
        """Forks sandboxes of a snapshot: all of them, or none. As a context manager, the list ends them."""
        body: dict[str, Any] = {"snapshot_tag": snapshot_tag, "n": n, "per_child_netns": per_child_netns}
        body.update(_wire.given(memory_limit_mib=memory_limit_mib))
        body.update(_wire.given(prewarm=prewarm or None, live_fork=live_fork or None, hugepages=hugepages or None))
        body.update(_wire.options(SandboxOptions, options))
        return AsyncSandboxes(self, await self._ask("POST", "/v1/sandboxes", body))

    async def list_sandboxes(
        self, labels: Optional[Mapping[str, Optional[str]]] = None, *, ask: bool = False
    ) -> list[SandboxInfo]:
        """All, or those that have all of the labels; a value of None stands for any.

        With `ask` each is asked how it is, which takes longer.
        """
        query: Query = {"label": _wire.labels_query(labels), "ask": _wire.flag(ask)}
        return cast(list[SandboxInfo], await self._ask("GET", "/v1/sandboxes", query=query))

    async def get_sandbox(self, sandbox_id: SandboxId, *, ask: bool = False) -> SandboxInfo:
        query: Query = {"ask": _wire.flag(ask)}
        return cast(SandboxInfo, await self._ask("GET", _wire.sandbox_path(sandbox_id), query=query))

    async def kill_sandbox(self, sandbox_id: SandboxId) -> None:
        """Ends it."""
        await self._ask("DELETE", _wire.sandbox_path(sandbox_id))

    async def delete_sandboxes(
        self, sandbox_ids: Sequence[SandboxId] = (), labels: Optional[Mapping[str, Optional[str]]] = None
    ) -> list[Deleted]:
        """Ends those that are named, and those that have all of the labels, and says of each what became of it."""
        query: Query = {"id": [_wire.id_of(each) for each in sandbox_ids], "label": _wire.labels_query(labels)}
        return cast(list[Deleted], await self._ask("DELETE", "/v1/sandboxes", query=query))

    async def wait_sandbox(self, sandbox_id: SandboxId, timeout: Optional[float] = None, interval: float = 0.2) -> bool:
        """Waits until it has ended: True. False when it has not in `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        known = (await self.get_sandbox(sandbox_id))["id"]  # its name may be another's by then
        while True:
            try:
                await self.get_sandbox(known)
            except ControllerError as e:
                if e.status == 404:
                    return True
                raise
            if deadline is not None and time.monotonic() + interval > deadline:
                return False
            await asyncio.sleep(interval)

    async def ping_sandbox(self, sandbox_id: SandboxId) -> Pong:
        """Asks the agent in it."""
        return cast(Pong, await self._ask("POST", _wire.sandbox_path(sandbox_id, "/ping")))

    async def sandbox_metrics(self, sandbox_id: SandboxId, *, guest: bool = False) -> SandboxMetrics:
        """What it takes of the host; with `guest` its guest is asked, too, which uses it."""
        query: Query = {"guest": _wire.flag(guest)}
        return cast(SandboxMetrics, await self._ask("GET", _wire.sandbox_path(sandbox_id, "/metrics"), query=query))

    async def read_log(self, sandbox_id: SandboxId, *, tail: Optional[int] = None) -> str:
        """What its guest has written to its console, or its last lines. The guest is not asked."""
        query: Query = {"tail": _wire.number(tail)}
        return _wire.text(await self._send("GET", _wire.sandbox_path(sandbox_id, "/logs"), query=query))

    def follow_log(self, sandbox_id: SandboxId, *, tail: Optional[int] = None) -> AsyncLog:
        """The same, and what the guest goes on to write, until the sandbox ends or is paused."""
        query: Query = {"tail": _wire.number(tail), "follow": "true"}
        return AsyncLog(*self._stream("GET", _wire.sandbox_path(sandbox_id, "/logs"), query=query))

    async def pause_sandbox(self, sandbox_id: SandboxId) -> SandboxInfo:
        """Writes it down, and ends its process, until it is resumed."""
        return cast(SandboxInfo, await self._ask("POST", _wire.sandbox_path(sandbox_id, "/pause")))

    async def resume_sandbox(self, sandbox_id: SandboxId) -> SandboxInfo:
        return cast(SandboxInfo, await self._ask("POST", _wire.sandbox_path(sandbox_id, "/resume")))

    async def reset_sandbox(self, sandbox_id: SandboxId) -> SandboxInfo:
        """Puts it back to its snapshot: what its guest did is gone, and what is open to it ends."""
        return cast(SandboxInfo, await self._ask("POST", _wire.sandbox_path(sandbox_id, "/reset")))

    async def set_timeout(self, sandbox_id: SandboxId, **lifetime: Unpack[Lifetime]) -> SandboxInfo:
        """How long it goes on by itself, from now on; what is not said it has no more."""
        body = _wire.options(Lifetime, lifetime)
        return cast(SandboxInfo, await self._ask("PUT", _wire.sandbox_path(sandbox_id, "/timeout"), body))

    async def set_network(self, sandbox_id: SandboxId, network: NetworkPolicy) -> SandboxInfo:
        """What it may reach, from now on."""
        path = _wire.sandbox_path(sandbox_id, "/network")
        return cast(SandboxInfo, await self._ask("PUT", path, {"network": network}))

    async def rename_sandbox(self, sandbox_id: SandboxId, name: Optional[str]) -> SandboxInfo:
        """Gives it a name, or another one, or none."""
        return cast(SandboxInfo, await self._ask("PUT", _wire.sandbox_path(sandbox_id, "/name"), {"name": name}))

    async def label_sandbox(self, sandbox_id: SandboxId, labels: Mapping[str, Optional[str]]) -> SandboxInfo:
        """Gives it labels, beside those that it has; takes away those that are None."""
        path = _wire.sandbox_path(sandbox_id, "/labels")
        return cast(SandboxInfo, await self._ask("PUT", path, {"labels": dict(labels)}))

    async def branch_sandbox(
        self,
        sandbox_id: SandboxId,
        tag: Optional[str] = None,
        diff: bool = False,
        measure_diff: bool = False,
        mode: Optional[BranchMode] = None,
        wait: bool = True,
        *,
        parent_tag: Optional[str] = None,
    ) -> SnapshotInfo:
        """Makes a snapshot of it, as it is now. It goes on.

        Of `mode` and its older form `diff`, `mode` counts. `wait=False`, with mode "live", does not wait until it
        is written: list_snapshots tells when its status is "ready".
        """
        body = _wire.given(tag=tag, mode=mode, parent_tag=parent_tag)
        if diff and mode is None:
            body["diff"] = True
        if measure_diff:
            body["measure_diff"] = True
        if not wait:
            body["wait"] = False
        return cast(SnapshotInfo, await self._ask("POST", _wire.sandbox_path(sandbox_id, "/branch"), body))

    @asynccontextmanager
    async def branch(
        self, sandbox_id: SandboxId, tag: Optional[str] = None, mode: Optional[BranchMode] = None
    ) -> AsyncIterator[SnapshotInfo]:
        """A branch that is there as long as the with statement goes on."""
        snapshot = await self.branch_sandbox(sandbox_id, tag, mode=mode)
        try:
            yield snapshot
        finally:
            with _wire.gone_is_well():
                await self.delete_snapshot(snapshot["tag"])

    async def fork_sandbox(self, sandbox_id: SandboxId, n: int = 1, **options: Unpack[ForkOptions]) -> AsyncSandboxes:
        """Forks sandboxes of one that runs, as it is now. It goes on. As a context manager, the list ends them."""
        body = {"n": n, **_wire.options(ForkOptions, options)}
        return AsyncSandboxes(self, await self._ask("POST", _wire.sandbox_path(sandbox_id, "/fork"), body))

    # --- programs

    async def exec_command(
        self,
        sandbox_id: SandboxId,
        args: Sequence[str],
        timeout_secs: int = 30,
        *,
        stdin: Union[str, bytes, None] = None,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
        user: Optional[str] = None,
    ) -> ExecResponse:
        """Runs a program to its end: {"stdout": .., "stderr": .., "exit_code": ..}."""
        body = self._program(args, stdin, env, cwd, user, timeout_secs, None)
        read = max(self.timeout, timeout_secs + MARGIN)
        return cast(ExecResponse, await self._ask("POST", _wire.sandbox_path(sandbox_id, "/exec"), body, read=read))

    def exec_stream(
        self,
        sandbox_id: SandboxId,
        args: Sequence[str],
        timeout_secs: Optional[int] = None,
        *,
        stdin: Union[str, bytes, None] = None,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
        user: Optional[str] = None,
        tag: Optional[str] = None,
        detach: bool = False,
    ) -> AsyncProcessStream:
        """Runs a program and listens. It does not end with who listens.

        When nobody does, it waits, or with `detach` goes on, and the oldest of what it writes is forgotten.
        """
        body = self._program(args, stdin, env, cwd, user, timeout_secs, tag)
        body["stream"] = True
        if detach:
            body["detach"] = True
        return AsyncProcessStream(*self._stream("POST", _wire.sandbox_path(sandbox_id, "/exec"), body))

    async def start_process(
        self,
        sandbox_id: SandboxId,
        args: Sequence[str],
        timeout_secs: Optional[int] = None,
        *,
        stdin: Union[str, bytes, None] = None,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
        user: Optional[str] = None,
        tag: Optional[str] = None,
    ) -> Started:
        """Starts a program, and does not wait for it."""
        body = self._program(args, stdin, env, cwd, user, timeout_secs, tag)
        body["detach"] = True
        return cast(Started, await self._ask("POST", _wire.sandbox_path(sandbox_id, "/exec"), body))

    def attach_process(
        self,
        sandbox_id: SandboxId,
        process: Union[int, str],
        *,
        stdout: Optional[int] = None,
        stderr: Optional[int] = None,
    ) -> AsyncProcessStream:
        """Listens to a program, by its number or tag: to what is kept of what it wrote, or from these bytes on."""
        path = _wire.sandbox_path(sandbox_id, f"/processes/{_wire.segment(process)}/attach")
        query: Query = {"stdout": _wire.number(stdout), "stderr": _wire.number(stderr)}
        return AsyncProcessStream(*self._stream("POST", path, query=query))

    def talk_to_process(
        self,
        sandbox_id: SandboxId,
        args: Sequence[str] = (),
        timeout_secs: Optional[int] = None,
        *,
        attach: Union[int, str, None] = None,
        rows: Optional[int] = None,
        columns: Optional[int] = None,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[str] = None,
        user: Optional[str] = None,
        tag: Optional[str] = None,
        detach: bool = False,
    ) -> AsyncConversation:
        """Runs a program, or attaches to one, and talks to it; with rows and columns it has a terminal.

        Needs the package websockets: pip install 'forkd[tty]'.
        """
        query: Query = {
            "arg": list(args),
            "attach": None if attach is None else str(attach),
            "stdin": None if attach is not None or rows is not None else "true",
            "rows": _wire.number(rows),
            "columns": _wire.number(columns),
            "env": [f"{name}={value}" for name, value in (env or {}).items()],
            "cwd": cwd,
            "user": user,
            "timeout_secs": _wire.number(timeout_secs),
            "tag": tag,
            "detach": _wire.flag(detach),
        }
        path = _wire.sandbox_path(sandbox_id, "/exec")
        url = f"{_wire.to_socket(self._address.base)}{path}?{_wire.query_string(query)}"
        options: dict[str, Any] = {
            "additional_headers": self._headers(),
            "open_timeout": self.timeout,
            "max_size": None,
            "compression": None,
            "ping_interval": None,  # who does not listen for a while hears no answers to pings either
        }
        if self._address.secure:
            options["ssl"] = self._address.tls
        return AsyncConversation(url, self._address.socket, options)

    async def list_processes(self, sandbox_id: SandboxId) -> list[Process]:
        """Those that were started by exec_stream, start_process or talk_to_process, and are kept."""
        return cast(list[Process], await self._ask("GET", _wire.sandbox_path(sandbox_id, "/processes")))

    async def signal_process(
        self, sandbox_id: SandboxId, process: Union[int, str], signal: int, *, group: bool = False
    ) -> None:
        """Sends a signal to one of them, by its number or tag; with `group`, to all processes of its session."""
        path = _wire.sandbox_path(sandbox_id, f"/processes/{_wire.segment(process)}/signal")
        await self._ask("POST", path, {"signal": int(signal), "group": group})

    async def eval_code(self, sandbox_id: SandboxId, code: str, *, timeout_secs: Optional[int] = None) -> EvalResponse:
        """Evaluates an expression in the warm interpreter: {"result": .., "error": .., "exit_code": ..}."""
        body = {"code": code, **_wire.given(timeout_secs=timeout_secs)}
        read = max(self.timeout, (timeout_secs or 0) + MARGIN)
        return cast(EvalResponse, await self._ask("POST", _wire.sandbox_path(sandbox_id, "/eval"), body, read=read))

    # --- files

    def open_file(
        self,
        sandbox_id: SandboxId,
        path: GuestPath,
        *,
        offset: int = 0,
        length: Optional[int] = None,
        user: Optional[str] = None,
    ) -> AsyncFileReader:
        """A file of any size, piece by piece, or a part of it."""
        query: Query = {**_wire.path_fields("path", path), "user": user}
        headers = _wire.range_header(offset, length)
        request = self._stream(
            "GET", _wire.sandbox_path(sandbox_id, "/files"), query=query, headers=headers, read=self.timeout
        )
        return AsyncFileReader(*request)

    async def read_file(
        self,
        sandbox_id: SandboxId,
        path: GuestPath,
        *,
        offset: int = 0,
        length: Optional[int] = None,
        user: Optional[str] = None,
    ) -> bytes:
        """A file at once, or a part of it."""
        async with self.open_file(sandbox_id, path, offset=offset, length=length, user=user) as file:
            return b"".join([chunk async for chunk in file])

    async def write_file(
        self,
        sandbox_id: SandboxId,
        path: GuestPath,
        content: AsyncContent,
        *,
        mode: Optional[int] = None,
        parents: bool = False,
        uid: Optional[int] = None,
        gid: Optional[int] = None,
        mtime_ms: Optional[int] = None,
        user: Optional[str] = None,
    ) -> FileEntry:
        """Writes a file of any size: text, bytes, a file that is open, or an iterator of bytes.

        It is there when all of it has come. With `parents` missing directories are made.
        """
        query: Query = {
            **_wire.path_fields("path", path),
            "mode": None if mode is None else f"{mode:o}",
            "parents": _wire.flag(parents),
            "uid": _wire.number(uid),
            "gid": _wire.number(gid),
            "mtime_ms": _wire.number(mtime_ms),
            "user": user,
        }
        headers = {"Content-Type": "application/octet-stream"}
        request = self._request(
            "PUT",
            _wire.sandbox_path(sandbox_id, "/files"),
            content=_wire.async_upload(content),
            query=query,
            headers=headers,
        )
        with _wire.failures(self.base_url):
            return cast(FileEntry, _wire.answer(await self._http.send(request)))

    async def list_files(
        self, sandbox_id: SandboxId, path: GuestPath, *, depth: Optional[int] = None, user: Optional[str] = None
    ) -> list[FileEntry]:
        """What is in a directory, and with `depth` below it."""
        query: Query = {**_wire.path_fields("path", path), "depth": _wire.number(depth), "user": user}
        stream = self._stream("GET", _wire.sandbox_path(sandbox_id, "/files/list"), query=query, read=self.timeout)
        entries: AsyncObjects[FileEntry] = AsyncObjects(*stream)
        async with entries:
            return [entry async for entry in entries]

    async def stat_file(
        self, sandbox_id: SandboxId, path: GuestPath, *, follow: bool = True, user: Optional[str] = None
    ) -> FileEntry:
        """What is there; of a link, unless `follow` is False, what it leads to."""
        query: Query = {**_wire.path_fields("path", path), "follow": None if follow else "false", "user": user}
        return cast(FileEntry, await self._ask("GET", _wire.sandbox_path(sandbox_id, "/files/stat"), query=query))

    async def remove_file(
        self, sandbox_id: SandboxId, path: GuestPath, *, recursive: bool = False, user: Optional[str] = None
    ) -> None:
        """Removes a file or a directory; with `recursive`, with all that is in it."""
        query: Query = {**_wire.path_fields("path", path), "recursive": _wire.flag(recursive), "user": user}
        await self._ask("DELETE", _wire.sandbox_path(sandbox_id, "/files"), query=query)

    async def make_directory(
        self,
        sandbox_id: SandboxId,
        path: GuestPath,
        *,
        mode: Optional[int] = None,
        parents: bool = False,
        uid: Optional[int] = None,
        gid: Optional[int] = None,
        mtime_ms: Optional[int] = None,
        user: Optional[str] = None,
    ) -> MadeDirectory:
        """Makes a directory; with `parents` those above it, too, and one that is there is no error."""
        body: dict[str, Any] = {**_wire.path_fields("path", path), "parents": parents}
        body.update(_wire.given(mode=None if mode is None else f"{mode:o}", uid=uid, gid=gid))
        body.update(_wire.given(mtime_ms=mtime_ms, user=user))
        return cast(MadeDirectory, await self._ask("POST", _wire.sandbox_path(sandbox_id, "/files/mkdir"), body))

    async def move_file(
        self, sandbox_id: SandboxId, source: GuestPath, target: GuestPath, *, user: Optional[str] = None
    ) -> None:
        """Moves it, as rename(2) does."""
        body = {**_wire.path_fields("from", source), **_wire.path_fields("to", target), **_wire.given(user=user)}
        await self._ask("POST", _wire.sandbox_path(sandbox_id, "/files/move"), body)

    def watch_files(
        self, sandbox_id: SandboxId, path: GuestPath, *, recursive: bool = False, user: Optional[str] = None
    ) -> AsyncObjects[FileChange]:
        """What happens to files, as it does."""
        query: Query = {**_wire.path_fields("path", path), "recursive": _wire.flag(recursive), "user": user}
        return AsyncObjects(*self._stream("GET", _wire.sandbox_path(sandbox_id, "/files/watch"), query=query))

    # --- ports

    def port_url(self, sandbox_id: SandboxId, port: int, path: str = "/") -> str:
        """Where programs reach what listens at a port in it, with the daemon's token. A browser is refused there."""
        return self._address.base + _wire.sandbox_path(sandbox_id, f"/ports/{port}/") + path.lstrip("/")

    def port_host_url(self, sandbox_id: SandboxId, port: int, path: str = "/", domain: str = "localhost") -> str:
        """Where a browser reaches it; `domain` is what the daemon has as --proxy-domain."""
        return _wire.port_host(self._address.base, _wire.id_of(sandbox_id), port, path, domain)

    def port_client(self, sandbox_id: SandboxId, port: int) -> httpx.AsyncClient:
        """A client of what listens at a port in it, whose paths are the guest's."""
        return self._client(self.port_url(sandbox_id, port), _wire.Token(self._address.base, self._headers()))

    # --- pools

    async def put_pool(self, name: str, snapshot_tag: str, size: int = 1, **options: Unpack[PoolOptions]) -> Pool:
        """Keeps so many sandboxes of a snapshot ready. Answered before they are there; `ready` tells how many are."""
        body = {"snapshot_tag": snapshot_tag, "size": size, **_wire.options(PoolOptions, options)}
        return cast(Pool, await self._ask("PUT", _wire.pool_path(name), body))

    async def list_pools(self) -> list[Pool]:
        return cast(list[Pool], await self._ask("GET", "/v1/pools"))

    async def get_pool(self, name: str, *, owner: Optional[str] = None) -> Pool:
        """One's own; administrators may name a user whose it is."""
        query: Query = {"owner": owner}
        return cast(Pool, await self._ask("GET", _wire.pool_path(name), query=query))

    async def delete_pool(self, name: str, *, owner: Optional[str] = None) -> None:
        """Those that are ready end; those that have been taken go on."""
        query: Query = {"owner": owner}
        await self._ask("DELETE", _wire.pool_path(name), query=query)

    async def take_sandbox(self, pool: str, **options: Unpack[TakeOptions]) -> SandboxInfo:
        """One that is ready, at once; when there is none, one that is forked now."""
        body = _wire.options(TakeOptions, options)
        return cast(SandboxInfo, await self._ask("POST", _wire.pool_path(pool, "/take"), body))

    async def give_back_sandbox(self, sandbox_id: SandboxId) -> None:
        """Has one that was taken be reset, and ready for the next who takes one. Its id is to be used no more."""
        await self._ask("POST", _wire.sandbox_path(sandbox_id, "/give-back"))

    @asynccontextmanager
    async def taken(self, pool: str, **options: Unpack[TakeOptions]) -> AsyncIterator[SandboxInfo]:
        """One that is taken for as long as the with statement goes on."""
        sandbox = await self.take_sandbox(pool, **options)
        try:
            yield sandbox
        finally:
            with _wire.gone_is_well():
                await self.give_back_sandbox(sandbox)

    # --- workspaces

    async def list_workspaces(self) -> list[WorkspaceInfo]:
        return cast(list[WorkspaceInfo], await self._ask("GET", "/v1/workspaces"))

    async def create_workspace(
        self,
        name: str,
        snapshot_tag: str,
        *,
        per_child_netns: bool = False,
        memory_limit_mib: Optional[int] = None,
    ) -> WorkspaceInfo:
        """Makes a sandbox with a name that sleeps and wakes."""
        body = {"name": name, "snapshot_tag": snapshot_tag, "per_child_netns": per_child_netns}
        body.update(_wire.given(memory_limit_mib=memory_limit_mib))
        return cast(WorkspaceInfo, await self._ask("POST", "/v1/workspaces", body))

    async def get_workspace(self, name: str) -> WorkspaceInfo:
        return cast(WorkspaceInfo, await self._ask("GET", f"/v1/workspaces/{_wire.segment(name)}"))

    async def delete_workspace(self, name: str) -> None:
        """Ends its sandbox, and removes what it was suspended as."""
        await self._ask("DELETE", f"/v1/workspaces/{_wire.segment(name)}")

    async def suspend_workspace(self, name: str, *, diff: bool = False) -> WorkspaceInfo:
        """Writes its sandbox down and ends it."""
        path = f"/v1/workspaces/{_wire.segment(name)}/suspend"
        return cast(WorkspaceInfo, await self._ask("POST", path, {"diff": diff}))

    async def resume_workspace(self, name: str) -> WorkspaceInfo:
        """Makes a sandbox of what it was last suspended as, or of its source."""
        return cast(WorkspaceInfo, await self._ask("POST", f"/v1/workspaces/{_wire.segment(name)}/resume"))

    # --- internals

    def _client(self, base: str, auth: Optional[httpx.Auth] = None) -> httpx.AsyncClient:
        here = self._address.socket is not None
        transport = httpx.AsyncHTTPTransport(
            verify=self._address.tls,
            uds=self._address.socket,
            limits=_wire.CONNECTIONS,
            socket_options=_wire.KEEP_ALIVE,
        )
        # The environment names proxies.
        return httpx.AsyncClient(
            base_url=base, auth=auth, timeout=self.timeout, transport=transport, trust_env=not here
        )

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @staticmethod
    def _program(
        args: Sequence[str],
        stdin: Union[str, bytes, None],
        env: Optional[Mapping[str, str]],
        cwd: Optional[str],
        user: Optional[str],
        timeout_secs: Optional[int],
        tag: Optional[str],
    ) -> dict[str, Any]:
        variables = None if env is None else dict(env)
        fields = _wire.given(env=variables, cwd=cwd, user=user, timeout_secs=timeout_secs, tag=tag)
        return {"args": list(args), **_wire.stdin_fields(stdin), **fields}

    def _request(
        self,
        method: str,
        path: str,
        body: Optional[Mapping[str, Any]] = None,
        *,
        content: Any = None,
        query: Optional[Query] = None,
        headers: Optional[dict[str, str]] = None,
        read: Optional[float] = None,
    ) -> httpx.Request:
        return self._http.build_request(
            method,
            f"{self._address.base}{path}{_wire.question(query)}",
            json=body,
            content=content,
            headers={**self._headers(), **(headers or {})},
            timeout=_wire.patience(self.timeout, read),
        )

    def _stream(
        self,
        method: str,
        path: str,
        body: Optional[Mapping[str, Any]] = None,
        *,
        query: Optional[Query] = None,
        headers: Optional[dict[str, str]] = None,
        read: float = math.inf,
    ) -> tuple[httpx.AsyncClient, httpx.Request, str]:
        request = self._request(method, path, body, query=query, headers=headers, read=read)
        return self._http, request, self.base_url

    async def _send(
        self,
        method: str,
        path: str,
        body: Optional[Mapping[str, Any]] = None,
        *,
        query: Optional[Query] = None,
        read: Optional[float] = None,
    ) -> httpx.Response:
        with _wire.failures(self.base_url):
            return await self._http.send(self._request(method, path, body, query=query, read=read))

    async def _ask(
        self,
        method: str,
        path: str,
        body: Optional[Mapping[str, Any]] = None,
        *,
        query: Optional[Query] = None,
        read: Optional[float] = None,
    ) -> Any:
        return _wire.answer(await self._send(method, path, body, query=query, read=read))
