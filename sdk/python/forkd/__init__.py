# SPDX-License-Identifier: Apache-2.0
"""Sandboxes that are forked.

Controller, and AsyncController for asyncio, ask a forkd daemon for all that it can do. Sandbox is one sandbox of the
command line, without a daemon.
"""

from importlib.metadata import PackageNotFoundError, version

from ._async import (
    AsyncController,
    AsyncConversation,
    AsyncEvents,
    AsyncFileReader,
    AsyncLog,
    AsyncObjects,
    AsyncProcessStream,
    AsyncSandboxes,
    AsyncSnapshotStream,
)
from ._sync import (
    Controller,
    Conversation,
    Events,
    FileReader,
    Log,
    Objects,
    ProcessStream,
    Sandboxes,
    SnapshotStream,
)
from ._wire import BranchMode, Deleted, Event, Output
from .errors import ControllerError, ForkdError, StreamError, TimedOutError, UnreachableError
from .sandbox import CommandResult, Sandbox

try:
    __version__ = version("forkd")
except PackageNotFoundError:  # from its source
    __version__ = "0"

__all__ = [
    "AsyncController",
    "AsyncConversation",
    "AsyncEvents",
    "AsyncFileReader",
    "AsyncLog",
    "AsyncObjects",
    "AsyncProcessStream",
    "AsyncSandboxes",
    "AsyncSnapshotStream",
    "BranchMode",
    "CommandResult",
    "Controller",
    "ControllerError",
    "Conversation",
    "Deleted",
    "Event",
    "Events",
    "FileReader",
    "ForkdError",
    "Log",
    "Objects",
    "Output",
    "ProcessStream",
    "Sandbox",
    "Sandboxes",
    "SnapshotStream",
    "StreamError",
    "TimedOutError",
    "UnreachableError",
]
