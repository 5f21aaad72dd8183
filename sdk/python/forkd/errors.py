# SPDX-License-Identifier: Apache-2.0
"""What goes wrong: every exception of this package is a ForkdError."""

from __future__ import annotations

import json
from typing import Any, Optional


class ForkdError(RuntimeError):
    """Something that was asked of forkd did not happen."""


class ControllerError(ForkdError):
    """The daemon refused: an answer that is not 2xx.

    status   of HTTP: 404, there is no such thing; 409, something is in the way; 503, try again later
    body     of the answer, decoded if it is JSON
    message  the daemon's sentence
    code     what a guest said, as the name of an errno: "ENOENT"; None if it was not the guest
    """

    def __init__(self, status: int, body: Any, url: str) -> None:
        self.status = status
        self.body = body
        self.url = url
        fields = body if isinstance(body, dict) else {}
        self.message: str = fields.get("error") or (body if isinstance(body, str) else json.dumps(body))
        self.code: Optional[str] = fields.get("code")
        super().__init__(f"controller {url}: HTTP {status}: {self.message}")


class UnreachableError(ForkdError, OSError):
    """The daemon could not be asked, or its answer was lost: whether it did what it was asked is not known then."""


class TimedOutError(UnreachableError, TimeoutError):
    """There was no answer in time."""


class StreamError(ForkdError):
    """What was listened to broke off before its end. A program in a sandbox goes on, and can be attached to."""
