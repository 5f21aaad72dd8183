# SPDX-License-Identifier: Apache-2.0
"""Writes down what the SDK asks, on its way to the daemon."""

import contextlib
import json
from typing import NamedTuple
from unittest import mock
from urllib.parse import parse_qs

import forkd
import httpx


class Asked(NamedTuple):
    method: str
    path: str
    parameters: frozenset
    fields: frozenset


asked = set()


def note(method, url, content=b""):
    url = httpx.URL(url)
    try:
        body = json.loads(content)
    except ValueError:
        body = {}
    path = url.raw_path.decode().partition("?")[0]
    asked.add(Asked(method, path, frozenset(parse_qs(url.query.decode(), keep_blank_values=True)), frozenset(body)))


def note_request(request):
    with contextlib.suppress(httpx.RequestNotRead):
        note(request.method, request.url, request.content)
        return
    note(request.method, request.url)


@contextlib.contextmanager
def recording():
    handle, handle_async = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request
    opened = {kind: kind.__init__ for kind in (forkd.Conversation, forkd.AsyncConversation)}

    def noted(transport, request):
        note_request(request)
        return handle(transport, request)

    async def noted_async(transport, request):
        note_request(request)
        return await handle_async(transport, request)

    def noted_conversation(conversation, url, *arguments):
        note("GET", "http" + url[2:])
        opened[type(conversation)](conversation, url, *arguments)

    with contextlib.ExitStack() as stack:
        for kind, name, wrapper in (
            (httpx.HTTPTransport, "handle_request", noted),
            (httpx.AsyncHTTPTransport, "handle_async_request", noted_async),
            (forkd.Conversation, "__init__", noted_conversation),
            (forkd.AsyncConversation, "__init__", noted_conversation),
        ):
            stack.enter_context(mock.patch.object(kind, name, wrapper))
        yield
