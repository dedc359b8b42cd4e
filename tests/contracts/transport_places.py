"""Where a request may go: addresses, and the proxies on the way."""

from __future__ import annotations

import pytest
import trustme

from llmgw.core.errors import (
    UpstreamUnreachable,
)
from llmgw.ports.transport import Origin, Transport
from tests.contracts.transport_cases import Heard, TransportCases, origin, post
from tests.fakes.upstream import (
    ScriptedUpstream,
    cut,
    json_reply,
    raw,
    tunnel,
)


class PlaceCases(TransportCases):
    """Private addresses, names, proxies."""

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "127.1", "2130706433"])
    async def test_private_address_is_refused(
        self, transport: Transport, upstream: ScriptedUpstream, host: str
    ) -> None:
        """Whatever the spelling, by the address it resolves to (E03)."""
        error = await self.refused(transport, post(origin(upstream, host=host, allow_private=False)))

        assert (type(error), error.phase) == (UpstreamUnreachable, "connect")
        assert upstream.connections == []

    async def test_unknown_name(self, transport: Transport) -> None:
        """A name that resolves to nothing is unreachable, and the message names no host."""
        error = await self.refused(transport, post(Origin("http", "no-such.invalid", 80)), within_s=10)

        assert (type(error), error.phase) == (UpstreamUnreachable, "connect")
        assert "invalid" not in error.message

    async def test_environment_proxies_are_ignored(
        self, transport: Transport, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`HTTP_PROXY` is for somebody else (E06)."""
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        upstream.script(json_reply({}))

        assert (await self.ask(transport, post(origin(upstream)))).ended

    async def test_plain_request_through_a_proxy(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """Absolute form, with our credentials for the proxy."""
        upstream.default(json_reply({}))
        to = Origin("http", "api.example", 8080, proxy=f"http://me:s%40crt@127.0.0.1:{upstream.port}")

        for _ in range(2):
            await self.ask(transport, post(to))

        request = upstream.requests[0]
        assert request.target == "http://api.example:8080/v1/chat"
        assert request.headers["proxy-authorization"] == "Basic bWU6c0BjcnQ="
        assert request.headers["host"] == "up"
        assert len(upstream.connections) == 1

    async def test_tls_through_a_proxy(
        self, transport: Transport, upstream: ScriptedUpstream, ca: trustme.CA, ca_file: str
    ) -> None:
        """A tunnel; the upstream never sees the proxy's credentials."""
        async with self.secure(ca) as secret:
            secret.default(json_reply({"ok": 1}))
            upstream.script(tunnel(secret.port))
            proxy = f"http://me:pw@127.0.0.1:{upstream.port}"
            to = origin(secret, ca=ca_file, proxy=proxy)

            for _ in range(2):
                heard = await self.ask(transport, post(to))
                assert heard.body == b'{"ok": 1}'

            connect = upstream.requests[0]
            assert (connect.method, connect.target) == ("CONNECT", f"127.0.0.1:{secret.port}")
            assert connect.headers["proxy-authorization"] == "Basic bWU6cHc="
            assert "proxy-authorization" not in secret.requests[0].headers
            assert len(upstream.requests) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nextra",
            b"nonsense\r\n\r\n",
            b"x" * 20000,
            b"",
        ],
        ids=["407", "extra", "nonsense", "endless", "closed"],
    )
    async def test_proxy_that_refuses(
        self, transport: Transport, upstream: ScriptedUpstream, answer: bytes, ca_file: str
    ) -> None:
        """Unreachable, and the request was not sent."""
        upstream.script(raw(answer), cut())
        to = Origin("https", "api.example", 443, ca=ca_file, proxy=f"http://127.0.0.1:{upstream.port}")

        heard = Heard()
        call = transport.send(post(to), heard)
        error = await heard.failed()

        assert (type(error), error.phase) == (UpstreamUnreachable, "connect")
        assert not call.dispatched

    async def test_private_address_behind_a_proxy(
        self, transport: Transport, upstream: ScriptedUpstream
    ) -> None:
        """The proxy may be private, what is behind it not."""
        to = Origin("http", "169.254.169.254", 80, proxy=f"http://127.0.0.1:{upstream.port}")

        error = await self.refused(transport, post(to))

        assert isinstance(error, UpstreamUnreachable)
        assert upstream.connections == []

    @pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://", "http://h:99999", "http://[::1"])
    async def test_proxy_address_that_is_none(self, transport: Transport, proxy: str) -> None:
        """Unreachable."""
        error = await self.refused(transport, post(Origin("http", "api.example", 80, proxy=proxy)))

        assert isinstance(error, UpstreamUnreachable)
