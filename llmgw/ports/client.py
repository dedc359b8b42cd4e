"""The client's connection, as the engine sees it.

Two bindings, `server/protocol.py` (straight onto the socket) and `server/asgi.py` (raw ASGI),
held to one suite, `tests/contracts/client.py`.
"""

from __future__ import annotations

from typing import Protocol


class Flow(Protocol):
    """Whatever produces bytes for the client, and can be told to wait."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Client(Protocol):
    """One response to one request. Calls after `closed` are accepted and do nothing.

    head: header lines, each ended by CRLF, without framing headers (`content-length`,
        `transfer-encoding`, `connection`) and without the blank line; the binding adds those.
    """

    closed: bool

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """A whole response in one write; ends it."""

    def start(self, status: int, head: bytes) -> None:
        """Begin a response of unknown length. Goes out with the first `write` or `end`."""

    def write(self, data: bytes) -> None:
        """Some body bytes, not empty."""

    def end(self) -> None:
        """The response is complete."""

    def abort(self) -> None:
        """Cut the connection so that the client cannot take what it has for complete."""

    def attach(self, flow: Flow | None) -> None:
        """Who to pause while the client's buffer is full. None detaches."""
