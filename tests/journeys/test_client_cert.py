"""Client certificates as clients and proxies bring them: real TLS, both parsers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from llmgw.server.bounded import httptools_parser
from llmgw.server.h11_parser import H11Parser
from tests.fakes.gateway import RunningGateway
from tests.fakes.pki import Authority, Issued
from tests.fakes.process import GatewayProcess, key_for, rows, within
from tests.fakes.raw_client import Answer, RawClient, chat, request
from tests.fakes.upstream import ScriptedUpstream, json_reply

ACME = ("uri", "spiffe://example.com/acme/web")
RIVAL = ("uri", "spiffe://example.com/rival/web")
STRANGER = ("uri", "spiffe://example.com/stranger")
MAP = (
    '{"spiffe://example.com/acme/*": {tenant: acme, user: web},'
    ' "spiffe://example.com/rival/*": {tenant: rival}}'
)
OK = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}
PATHS = ["/v1/chat/completions", "/v1/chat/completions?by=asgi"]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "Acme CA")


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply(OK))
        yield up


@pytest.fixture(params=[httptools_parser, H11Parser], ids=["httptools", "h11"])
def parser(request: pytest.FixtureRequest) -> Callable[[object], Any]:
    made: Callable[[object], Any] = request.param
    return made


def running(
    upstream: ScriptedUpstream,
    ca: Authority,
    parser: Callable[[object], Any] = httptools_parser,
    *,
    asked: str = "optional",
    tls: str = "",
    server: str = "",
    settings: str = "",
    names: str = MAP,
    more: str = "",
) -> RunningGateway:
    """tls, server, settings: more members of `server.tls`, `server`, `auth.client_cert`. more: sections."""
    ours = ca.issue(("dns", "localhost"), ("ip", "127.0.0.1"))
    ask = f", client_ca: {ca.file}, client_auth: {asked}" if asked != "none" else ""
    extra = (
        f"server: {{tls: {{cert: {ours.file}, key: {ours.file}{ask}{tls}}}{server}}}\n"
        f"auth: {{client_cert: {{enabled: true, map: {names}{settings}}}}}\n{more}"
    )
    return RunningGateway(upstream, extra=extra, make_parser=parser)


async def asked(
    gateway: RunningGateway, ca: Authority, shown: Issued | None, *requests: bytes
) -> list[Answer]:
    """The answers to requests on one connection. Raises OSError when it is cut."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", gateway.port, ssl=ca.trusting(shown), server_hostname="localhost"
    )
    client = RawClient(reader, writer)
    try:
        answers = []
        for one in requests:
            await client.send(one)
            answers.append(await client.read_answer())
        return answers
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError from error
    finally:
        writer.transport.abort()


async def ask(
    gateway: RunningGateway, ca: Authority, shown: Issued | None, *, key: str | None = None, **how: Any
) -> Answer:
    (answer,) = await asked(gateway, ca, shown, request(chat(), key=key, **how))
    return answer


@pytest.mark.parametrize("path", PATHS)
async def test_a_certificate_is_a_credential(
    upstream: ScriptedUpstream, ca: Authority, parser: Callable[[object], Any], path: str
) -> None:
    """The record says whose, and by which name; every request of the connection is let in."""
    shown = ca.issue(ACME)
    async with running(upstream, ca, parser) as gateway:
        one = request(chat(), key=None, path=path)
        answers = await asked(gateway, ca, shown, one, one)
        record = (await gateway.settled(2))[-1]

    assert [answer.status for answer in answers] == [200, 200]
    assert (record.tenant, record.user, record.key_id) == ("acme", "web", f"cert:{ACME[1]}")
    assert not any(shown.der in one.head or b"certificate" in one.head for one in upstream.requests)


async def test_the_list_of_models_takes_it_too(upstream: ScriptedUpstream, ca: Authority) -> None:
    async with running(upstream, ca) as gateway:
        (answer,) = await asked(
            gateway, ca, ca.issue(ACME), request(None, path="/v1/models", method="GET", key=None)
        )

    assert answer.status == 200


@pytest.mark.parametrize("mode", ["optional", "required"])
async def test_c09_a_certificate_that_does_not_hold_ends_the_handshake(
    upstream: ScriptedUpstream, ca: Authority, mode: str, tmp_path: Path
) -> None:
    """Expired, not yet valid, of another CA, of another CA of the same name, signed by itself."""
    bad = [
        ca.issue(ACME, ends=-timedelta(minutes=1)),
        ca.issue(ACME, begins=timedelta(hours=1)),
        Authority(tmp_path, "Other CA").issue(ACME),
        Authority(tmp_path, "Acme CA").issue(ACME),
        Authority.self_signed(tmp_path, ACME, like=ca),
    ]
    async with running(upstream, ca, asked=mode) as gateway:
        for shown in bad:
            with pytest.raises(OSError):  # noqa: PT011 - the alert's text is OpenSSL's
                await ask(gateway, ca, shown, key="sk-test")
        assert (await ask(gateway, ca, ca.issue(ACME))).status == 200

    assert len(upstream.requests) == 1


async def test_c09_a_revoked_certificate_ends_the_handshake(
    upstream: ScriptedUpstream, ca: Authority, tmp_path: Path
) -> None:
    good, revoked = ca.issue(ACME), ca.issue(ACME)
    crl = tmp_path / "crl.pem"
    crl.write_bytes(ca.revoke(revoked))
    async with running(upstream, ca, tls=f", client_crl: {crl}") as gateway:
        assert (await ask(gateway, ca, good)).status == 200
        with pytest.raises(OSError):  # noqa: PT011
            await ask(gateway, ca, revoked)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("names", "subject"),
    [((STRANGER,), "somebody"), ((("dns", "acme"),), "somebody"), ((), ACME[1]), ((), "acme")],
)
async def test_c09_the_right_ca_and_no_name_of_the_map(
    upstream: ScriptedUpstream,
    ca: Authority,
    parser: Callable[[object], Any],
    names: tuple[tuple[str, str], ...],
    subject: str,
    path: str,
) -> None:
    """A subject alone is nobody, whatever it says."""
    async with running(upstream, ca, parser) as gateway:
        answer = await ask(gateway, ca, ca.issue(*names, subject=subject), path=path)

    assert answer.status == 401
    assert answer.json["error"]["message"] == "the client certificate is nobody's here"
    assert "auth.client_cert.map has none of its names" in gateway.reports[0].detail
    assert upstream.requests == []


async def test_c09_another_ca_that_is_trusted_cannot_name_a_tenants_clients(
    upstream: ScriptedUpstream, ca: Authority, tmp_path: Path
) -> None:
    """Not even by a CA below it that is called as the tenant's own."""
    rivals = Authority(tmp_path, "Rival CA")
    namesake = Authority(tmp_path, "Acme CA", above=rivals)
    both = tmp_path / "both.pem"
    both.write_bytes(ca.file.read_bytes() + rivals.file.read_bytes())
    names = f'{{"spiffe://example.com/acme/*": {{tenant: acme, issuer: {ca.file}}}}}'
    trusted = f", client_ca: {both}, client_auth: optional"
    async with running(upstream, ca, asked="none", tls=trusted, names=names) as gateway:
        assert (await ask(gateway, ca, ca.issue(ACME))).status == 200
        for other in (rivals, namesake):
            answer = await ask(gateway, ca, other.issue(ACME))
            assert answer.status == 401
    assert "not signed by the issuer" in gateway.reports[-1].detail


async def test_required_and_optional(upstream: ScriptedUpstream, ca: Authority) -> None:
    async with running(upstream, ca, asked="optional") as gateway:
        assert (await ask(gateway, ca, None, key="sk-test")).status == 200
        alone = await ask(gateway, ca, None)
    async with running(upstream, ca, asked="required") as gateway:
        with pytest.raises(OSError):  # noqa: PT011
            await ask(gateway, ca, None, key="sk-test")

    assert alone.status == 401
    assert "show a client certificate" in alone.json["error"]["message"]


async def test_beside_another_credential_that_one_decides_for_the_same_tenant(
    upstream: ScriptedUpstream, ca: Authority
) -> None:
    acme, stranger = ca.issue(ACME), ca.issue(STRANGER)
    async with running(upstream, ca) as gateway:
        assert (await ask(gateway, ca, acme, key="sk-test")).status == 200
        assert (await ask(gateway, ca, stranger, key="sk-test")).status == 200
        records = list(await gateway.settled(2))
        other = await ask(gateway, ca, acme, key="sk-rival")
        wrong = await ask(gateway, ca, acme, key="sk-nobody")

    assert {(one.tenant, one.user, one.key_id) for one in records} == {("acme", "alice", "main")}
    assert (other.status, wrong.status) == (403, 401)
    assert other.json["error"]["message"] == (
        "the client certificate belongs to another tenant than the credential"
    )


async def test_required_without_a_map_is_a_second_factor_only(
    upstream: ScriptedUpstream, ca: Authority
) -> None:
    ours = ca.issue(("dns", "localhost"))
    tls = f"{{cert: {ours.file}, key: {ours.file}, client_ca: {ca.file}, client_auth: required}}"
    async with RunningGateway(upstream, extra=f"server: {{tls: {tls}}}\n") as gateway:
        assert (await ask(gateway, ca, ca.issue(), key="sk-test")).status == 200
        assert (await ask(gateway, ca, ca.issue(ACME))).status == 401
        with pytest.raises(OSError):  # noqa: PT011
            await ask(gateway, ca, None, key="sk-test")


async def test_a_session_is_not_taken_up_again(upstream: ScriptedUpstream, ca: Authority) -> None:
    """It would not be verified again: the certificate may have been revoked or have ended since."""
    async with running(upstream, ca) as gateway:
        sessions = await asyncio.to_thread(_sessions, ca.trusting(ca.issue(ACME)), gateway.port)
        old = ca.trusting(ca.issue(ACME))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(_sessions, old, gateway.port)

    assert sessions == [False, False]


def _sessions(context: ssl.SSLContext, port: int) -> list[bool]:
    """Whether each of two connections took up the session of the one before."""
    reused = []
    session = None
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as sock,
            context.wrap_socket(sock, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(request(chat(), key=None))
            assert tls.recv(1024).startswith(b"HTTP/1.1 200")
            session = tls.session
            reused.append(bool(tls.session_reused))
    return reused


def xfcc(*uris: str, by: str = "spiffe://example.com/proxy") -> str:
    return ",".join(f'By={by};Hash={"a" * 64};Subject="CN=x,O=\\"y\\"";URI={uri}' for uri in uris)


PROXIED = ", trusted_proxies: [127.0.0.0/8]"


def told(settings: str, proxies: str = PROXIED) -> str:
    return (
        f"server: {{listen: 127.0.0.1:0{proxies}}}\n"
        f"auth: {{client_cert: {{enabled: true, map: {MAP}{settings}}}}}\n"
    )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", ["client-cert", "x-forwarded-client-cert"])
async def test_c08_a_certificate_that_a_trusted_proxy_tells_of(
    upstream: ScriptedUpstream, ca: Authority, parser: Callable[[object], Any], header: str, path: str
) -> None:
    value = ca.issue(ACME).header if header == "client-cert" else xfcc(ACME[1])
    extra = told(f", header: {header}")
    async with RunningGateway(upstream, extra=extra, make_parser=parser) as gateway:
        answer = await gateway.ask(chat(), key=None, headers={header: value}, path=path)
        (record,) = await gateway.settled()
        without = await gateway.ask(chat(), path=path)

    assert (answer.status, without.status) == (200, 200)
    assert (record.tenant, record.user, record.key_id) == ("acme", "web", f"cert:{ACME[1]}")
    assert not any(value.encode() in one.head for one in upstream.requests)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("settings", "proxies"),
    [(", header: client-cert", ""), (", header: x-forwarded-client-cert", ""), ("", PROXIED)],
)
async def test_c08_the_header_of_anybody_else_is_not_there(
    upstream: ScriptedUpstream,
    ca: Authority,
    parser: Callable[[object], Any],
    settings: str,
    proxies: str,
    path: str,
) -> None:
    """Nor is a proxy's while nobody has asked for it, or for the other one."""
    headers = {"Client-Cert": ca.issue(ACME).header, "X-Forwarded-Client-Cert": xfcc(ACME[1])}
    async with RunningGateway(upstream, extra=told(settings, proxies), make_parser=parser) as gateway:
        answer = await gateway.ask(chat(), key=None, headers=headers, path=path)
        beside = await gateway.ask(chat(), key="sk-rival", headers=headers, path=path)
        aliased = await gateway.ask(chat(), headers={"Client_Cert": headers["Client-Cert"]}, path=path)

    assert (answer.status, beside.status, aliased.status) == (401, 200, 400)
    assert "no credential was sent" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("client-cert", "junk"),
        ("client-cert", ":AAAA:"),
        ("x-forwarded-client-cert", "junk"),
        ("x-forwarded-client-cert", f"URI={ACME[1]}"),
        ("x-forwarded-client-cert", xfcc(ACME[1]) + ";"),
    ],
)
async def test_c08_what_a_proxy_tells_must_be_readable(
    upstream: ScriptedUpstream, header: str, value: str
) -> None:
    """Not even a good key beside it helps."""
    async with RunningGateway(upstream, extra=told(f", header: {header}")) as gateway:
        for key in (None, "sk-test"):
            answer = await gateway.ask(chat(), key=key, headers={header: value})
            assert answer.status == 401
            assert answer.json["error"]["message"] == "the client certificate is not valid"

    assert gateway.reports[0].detail
    assert upstream.requests == []


async def test_c08_only_what_the_nearest_proxy_says_of_its_own_client_counts(
    upstream: ScriptedUpstream,
) -> None:
    """What stands to the left came from behind it, and repeated lines are one list."""
    async with RunningGateway(upstream, extra=told(", header: x-forwarded-client-cert")) as gateway:
        values = [xfcc(RIVAL[1], ACME[1]), xfcc(ACME[1], STRANGER[1])]
        answers = [
            await gateway.ask(chat(), key=None, headers={"x-forwarded-client-cert": value})
            for value in values
        ]
        (record,) = await gateway.settled()

    assert [answer.status for answer in answers] == [200, 401]
    assert record.tenant == "acme"


async def test_c08_a_proxys_own_certificate_is_none_of_its_clients(
    upstream: ScriptedUpstream, ca: Authority
) -> None:
    """It connects by mTLS itself; requests without the header have no certificate."""
    proxy = ca.issue(ACME)
    on = ", header: client-cert"
    async with running(upstream, ca, server=PROXIED, settings=on) as gateway:
        bare = await ask(gateway, ca, proxy)
        told_of = await ask(gateway, ca, proxy, headers={"client-cert": ca.issue(RIVAL).header})
        (record,) = await gateway.settled()
    async with running(upstream, ca, server=PROXIED) as gateway:
        itself = await ask(gateway, ca, proxy)

    assert (bare.status, told_of.status, itself.status) == (401, 200, 200)
    assert record.tenant == "rival"


@pytest.mark.parametrize("path", PATHS)
async def test_c08_no_header_can_stand_for_a_connections_certificate(
    upstream: ScriptedUpstream, ca: Authority, parser: Callable[[object], Any], path: str
) -> None:
    async with running(upstream, ca, parser) as gateway:
        for name in (":client-certificate", ":proxy-certificate"):
            answer = await ask(
                gateway, ca, None, headers={name: ca.issue(ACME).der.decode("latin-1")}, path=path
            )
            assert answer.status == 400


async def test_a_connection_ends_being_somebodys_when_its_certificate_does(
    upstream: ScriptedUpstream, ca: Authority
) -> None:
    shown = ca.issue(ACME, ends=timedelta(seconds=2))
    async with running(upstream, ca) as gateway:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", gateway.port, ssl=ca.trusting(shown), server_hostname="localhost"
        )
        client = RawClient(reader, writer)
        await client.send(request(chat(), key=None))
        before = await client.read_answer()
        async with asyncio.timeout(10):
            while (answer := before).status == 200:
                await asyncio.sleep(0.2)
                await client.send(request(chat(), key=None))
                before = await client.read_answer()
        writer.transport.abort()

    assert answer.status == 401
    assert answer.json["error"]["message"] == "the client certificate has expired"


async def test_limits_per_key_count_each_name(upstream: ScriptedUpstream, ca: Authority) -> None:
    shown, other = ca.issue(ACME), ca.issue(("uri", "spiffe://example.com/acme/batch"))
    async with running(upstream, ca, more="limits: {per_key: {requests: 1, window: 1h}}\n") as gateway:
        statuses = [(await ask(gateway, ca, one)).status for one in (shown, shown, other)]

    assert statuses == [200, 429, 200]


SERVED = """
version: 1
server:
  listen: 127.0.0.1:0
  admin_listen: 127.0.0.1:0
  tls: {cert: OURS, key: OURS, client_ca: CA, client_auth: required}
auth:
  client_cert: {enabled: true, map: {"spiffe://example.com/acme/*": {tenant: acme, user: web}}}
providers: {demo: {kind: echo}}
models: {echo: {targets: [{provider: demo, model: echo}]}}
tenants: {acme: {}, rival: {}}
"""


def test_the_official_sdk_with_a_certificate_against_serve(ca: Authority, tmp_path: Path) -> None:
    """uvloop's TLS. The certificate is the credential; the SDK's own key stays empty-handed."""
    ours = ca.issue(("dns", "localhost"), ("ip", "127.0.0.1"))
    text = SERVED.replace(": CA", f": {ca.file}").replace("OURS", str(ours.file))
    (tmp_path / "llmgw.yaml").write_text(text)
    key = key_for("acme", tmp_path)
    with GatewayProcess(tmp_path, "-c", "llmgw.yaml") as gateway:
        url = f"https://127.0.0.1:{gateway.port}/v1"
        with httpx.Client(verify=ca.trusting(ca.issue(ACME))) as http:
            # The SDK insists on a key.
            bare = openai.OpenAI(base_url=url, api_key="client-certificate", http_client=http, max_retries=0)
            answer = bare.chat.completions.create(model="echo", messages=[{"role": "user", "content": "hi"}])
            assert answer.choices[0].message.content
            with bare.chat.completions.create(
                model="echo", messages=[{"role": "user", "content": "hi"}], stream=True
            ) as stream:
                assert "".join(piece.choices[0].delta.content or "" for piece in stream if piece.choices)
            keyed = openai.OpenAI(base_url=url, api_key=key, http_client=http, max_retries=0)
            assert keyed.models.list().data[0].id == "echo"
        with (
            httpx.Client(verify=ca.trusting()) as http,
            pytest.raises(openai.APIConnectionError),
        ):
            openai.OpenAI(base_url=url, api_key=key, http_client=http, max_retries=0).models.list()
        assert within(
            10,
            lambda: any(
                row["user"] == "web" and row["requests"] == 2
                for row in rows("usage", "report", "--by", "user", cwd=tmp_path)
            ),
        )
