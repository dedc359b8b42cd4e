"""Hands JSON to a webhook, trying again when it does not take it.

The HTTP client is imported at the first delivery, in a thread: 150 ms and 9 MiB that a gateway
without alerts does not pay. Neither environment proxies nor redirects are followed.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llmgw.telemetry.events import Events

if TYPE_CHECKING:
    from httpx2 import AsyncClient

PAUSES_S = (1.0, 5.0)
"""Before the second and the third try."""
TIMEOUT_S = 10.0
_HEADERS = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "llmgw"}
_SLACK_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class Webhook:
    """url: http or https, None to deliver nothing. May be set: the next try goes there."""

    def __init__(
        self,
        url: str | None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.url = url
        self._sleep = sleep
        self._timeout_s = timeout_s
        self._client: AsyncClient | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port: all that may be logged, since services keep the secret in the path."""
        parts = urlsplit(self.url or "")
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    async def deliver(self, body: bytes) -> str | None:
        """What went wrong with every try, None when it took it."""
        trouble: str | None = None
        for pause_s in (0.0, *PAUSES_S):
            if pause_s:
                await self._sleep(pause_s)
            trouble = await self._post(body)
            if trouble is None:
                break
        return trouble

    async def tell(self, body: bytes, events: Events, fields: Mapping[str, object]) -> bool:
        """Whether it took it; if not, an event says so. fields: of that event, what was to be told."""
        trouble = await self.deliver(body)
        if trouble is not None:
            events.log_event(
                "error",
                "alert_webhook_failed",
                webhook=self.origin,
                error=trouble,
                tries=1 + len(PAUSES_S),
                **fields,
            )
        return trouble is None

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def _post(self, body: bytes) -> str | None:
        """What went wrong, None when it took it. Its answer is not read beyond the status."""
        try:
            if self._client is None:
                self._client = await asyncio.to_thread(_open_client)
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("POST", self.url or "", content=body, headers=_HEADERS) as answer,
            ):
                return None if answer.is_success else f"status {answer.status_code}"
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"
        except Exception as error:
            # The next try or the line after the last one is the answer. Only the kind of error and the
            # system's own words are told: others may repeat the URL.
            return f"{type(error).__name__}{_system_words(error)}"


def chat_text(text: str) -> str:
    """Fit for chat services: no line of its own, no link, no mention of a channel."""
    return " ".join(text.split()).translate(_SLACK_ESCAPES)


def _open_client() -> AsyncClient:
    """A client that follows nothing and logs nothing. Blocks for 150 ms."""
    import anyio
    import httpx2

    # It logs every URL it asks for, whole.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    # Loads what the first request would load on the event loop, and hold it up for 18 ms.
    anyio.run(anyio.sleep, 0)
    return httpx2.AsyncClient(
        verify=ssl.create_default_context(), trust_env=False, follow_redirects=False, timeout=None
    )


def _system_words(error: BaseException | None) -> str:
    """What the operating system or the TLS library said, of an error and what caused it."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return f": {error.strerror}"
        error = error.__cause__ or error.__context__
    return ""
