# SPDX-License-Identifier: Apache-2.0
"""Waits for what asyncio's client promises, so that one test is of both clients."""

import asyncio
import inspect


class Waiting:
    """Something asynchronous, as if it were not."""

    def __init__(self, loop, inner):
        self.__dict__.update(_loop=loop, _inner=inner)

    def __setattr__(self, name, value):
        setattr(self._inner, name, value)

    def _waited(self, value):
        if inspect.isawaitable(value):
            value = self._loop.run_until_complete(value)
        return Waiting(self._loop, value) if hasattr(value, "__aenter__") or hasattr(value, "__aiter__") else value

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if not callable(value):
            return value
        return lambda *arguments, **named: self._waited(value(*arguments, **named))

    def __enter__(self):
        return self._waited(self._inner.__aenter__())

    def __exit__(self, *why):
        return self._waited(self._inner.__aexit__(*why))

    def __iter__(self):
        if not hasattr(self._inner, "__aiter__"):
            yield from self._inner
            return
        parts = self._inner.__aiter__()
        while True:
            try:
                yield self._loop.run_until_complete(parts.__anext__())
            except StopAsyncIteration:
                return

    def __getitem__(self, index):
        return self._inner[index]

    def __len__(self):
        return len(self._inner)


def waiting(inner):
    loop = asyncio.new_event_loop()
    return loop, Waiting(loop, inner)
