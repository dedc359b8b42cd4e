"""`llmgw bench`: the load client against real sockets, and what the command makes of its numbers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import typer
import uvloop
from typer.testing import CliRunner

from llmgw.cli.bench import bench
from llmgw.cli.bench_compare import COLUMNS, Measured, Plan, compare, render_rows
from llmgw.cli.bench_cpu import is_measurable, tree, tree_cpu_ns
from llmgw.cli.bench_echo import EVENTS, open_echo
from llmgw.cli.bench_load import Result, Run, Target, percentile_ms
from llmgw.cli.bench_self import SelfFailed, own_gateway, render_config
from llmgw.cli.problems import CliError


def ignore() -> None:
    """For a progress bar that nobody watches."""


def run_for(target: Target, *, requests: int | None = None, seconds: float | None = None) -> Run:
    return Run(target, requests=requests, seconds=seconds, timeout_s=5.0, on_done=ignore)


@contextlib.asynccontextmanager
async def scripted(answer: bytes, *, close: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A base URL that gives one answer to each request, and what it was sent."""
    seen: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                seen.append(head + await reader.readexactly(length))
                writer.write(answer)
                if close:
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", seen
        for writer in writers:
            writer.close()


async def test_counts_what_was_answered() -> None:
    """Exactly the requests asked for go out, each with a time."""
    server, port = await open_echo()
    done = []

    async with server:
        run = Run(
            Target(f"http://127.0.0.1:{port}/v1", "echo"),
            requests=50,
            seconds=None,
            timeout_s=5.0,
            on_done=lambda: done.append(1),
        )
        result = await run.load(4)

    assert (result.done, result.failed, len(done)) == (50, 0, 50)
    assert all(0 < first <= total for first, total in zip(result.first_ns, result.total_ns, strict=True))


async def test_streams_count_every_event() -> None:
    """An event is counted once, however the network cut it."""
    server, port = await open_echo()

    async with server:
        result = await run_for(Target(f"http://127.0.0.1:{port}/v1", "echo", stream=True), requests=6).load(2)

    assert result.done == 6
    assert result.chunks == 6 * (EVENTS + 2)


async def test_an_event_cut_between_its_newlines_counts_once() -> None:
    body = b"data: a\n\ndata: [DONE]\n\n"
    chunks = b"".join(b"1\r\n%b\r\n" % body[i : i + 1] for i in range(len(body)))
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"

    async with scripted(answer) as (url, _):
        result = await run_for(Target(url, "m", stream=True), requests=1).load(1)

    assert result.chunks == 2


def test_runs_on_uvloop() -> None:
    """The command's own loop, whose transports are not asyncio's."""

    async def run() -> Result:
        server, port = await open_echo()
        async with server:
            return await run_for(Target(f"http://127.0.0.1:{port}/v1", "echo", stream=True), requests=4).load(
                2
            )

    assert uvloop.run(run()).chunks == 4 * (EVENTS + 2)


async def test_a_duration_ends_the_load() -> None:
    server, port = await open_echo()
    began = time.monotonic()

    async with server:
        result = await run_for(Target(f"http://127.0.0.1:{port}/v1", "echo"), seconds=0.2).load(2)

    assert result.done > 0
    assert time.monotonic() - began < 3.0


async def test_refused_requests_are_failures_with_their_reason() -> None:
    """A gateway must not look fast by refusing."""
    answer = b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 14\r\n\r\n{"error":"no"}'

    async with scripted(answer) as (url, _):
        result = await run_for(Target(url, "m"), requests=3).load(1)

    assert (result.done, result.failed) == (0, 3)
    assert result.reason == '401: {"error":"no"}'


async def test_an_answer_cut_short_is_a_failure() -> None:
    async with scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", close=True) as (url, _):
        result = await run_for(Target(url, "m"), requests=2).load(1)

    assert (result.done, result.failed) == (0, 2)
    assert result.reason == "connection closed before the answer was complete"


async def test_a_silent_target_ends_at_its_timeout() -> None:
    async with scripted(b"") as (url, _):
        run = Run(Target(url, "m"), requests=1, seconds=None, timeout_s=0.2, on_done=ignore)
        result = await run.load(1)

    assert result.failed == 1
    assert result.reason == "no complete answer within 0.2 s"


async def test_a_closed_port_does_not_take_every_request() -> None:
    """After some refusals of the connection the load gives up."""
    server, port = await open_echo()
    server.close()
    await server.wait_closed()

    result = await run_for(Target(f"http://127.0.0.1:{port}/v1", "m"), requests=10_000).load(2)

    assert result.done == 0
    assert 0 < result.failed < 100
    assert result.reason is not None
    assert "cannot connect" in result.reason


async def test_a_connection_closed_after_each_answer_is_opened_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"

    async with scripted(answer, close=True) as (url, seen):
        result = await run_for(Target(url, "m"), requests=3).load(1)

    assert (result.done, len(seen)) == (3, 3)


async def test_the_request_carries_key_model_and_size() -> None:
    async with scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (url, seen):
        await run_for(Target(url + "/", "gpt-4o", "sk-1", stream=True), requests=1).load(1)

    head, body = seen[0].split(b"\r\n\r\n", 1)
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer sk-1" in head
    document = json.loads(body)
    assert (document["model"], document["stream"]) == ("gpt-4o", True)
    assert 980 <= len(body) <= 1040


def test_no_key_sends_no_authorization() -> None:
    assert b"uthorization" not in Target("http://127.0.0.1/v1", "m").render_request()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://127.9.9.9/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://localhost/v1", True),
        ("http://localhost.example.com/v1", False),
        ("http://10.0.0.7:8000/v1", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_knows_what_stays_on_this_machine(url: str, expected: bool) -> None:
    assert Target(url, "m").is_loopback is expected


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://127.0.0.1/", "http:///v1", ""])
def test_a_bad_base_url_is_told(url: str) -> None:
    with pytest.raises(ValueError, match="not a base URL"):
        Target(url, "m")


def test_ports_follow_the_scheme() -> None:
    assert [Target(url, "m").port for url in ("http://a/v1", "https://a/v1", "https://a:9/v1")] == [
        80,
        443,
        9,
    ]


async def test_compares_with_going_direct() -> None:
    """Both get the same number of requests, in turns, and the difference is told."""
    server, port = await open_echo()
    target = Target(f"http://127.0.0.1:{port}/v1", "echo")

    async with server:
        measured = await compare(
            target, target, Plan(2, requests=23, seconds=None, timeout_s=5.0, pid=os.getpid()), ignore
        )

    direct, gateway = render_rows(measured)
    assert (direct["target"], gateway["target"]) == ("direct", "gateway")
    assert (direct["requests"], gateway["requests"]) == (23, 23)
    assert direct["added_p50_ms"] is None
    assert isinstance(gateway["added_p50_ms"], float)
    assert direct["cpu_us_per_request"] is None
    assert isinstance(gateway["cpu_us_per_request"], float)
    assert tuple(gateway) == COLUMNS


def test_rows_of_nothing_are_empty_not_zero() -> None:
    row = render_rows([Measured("gateway", Result(failed=3, seconds=1.0), stream=False)])[0]

    assert (row["requests"], row["failed"], row["p50_ms"], row["chunks_per_s"]) == (0, 3, None, None)


def test_percentiles_are_the_nearest_rank() -> None:
    result = Result()
    result.total_ns.extend(range(1_000_000, 101_000_000, 1_000_000))

    assert percentile_ms(result.total_ns, 0.5) == 51.0
    assert percentile_ms(result.total_ns, 0.99) == 100.0
    assert percentile_ms(result.first_ns, 0.5) is None


def test_reads_the_cpu_time_of_a_process() -> None:
    assert is_measurable(os.getpid())
    assert tree(os.getpid())[0] == os.getpid()
    before = tree_cpu_ns(os.getpid())
    while tree_cpu_ns(os.getpid()) == before:
        hashlib.sha256(b"some work").digest()
    assert not is_measurable(2**30)


def test_our_own_gateway_declares_its_key_by_hash() -> None:
    """The configuration holds no secret that opens anything."""
    text = render_config(listen=1, admin=2, upstream=3, model="echo", key="sk-secret")

    assert "sk-secret" not in text
    document = json.loads(text)
    assert document["server"]["listen"] == "127.0.0.1:1"
    digest = hashlib.sha256(b"sk-secret").hexdigest()
    assert document["tenants"]["bench"]["keys"][0]["hash"] == f"sha256:{digest}"


@contextlib.contextmanager
def echo_in_a_thread() -> Iterator[int]:
    """A provider that answers while the command has the main thread; its port."""
    port: Future[int] = Future()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server, number = await open_echo()
        port.set_result(number)
        async with server:
            await stop.wait()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield port.result(5)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        loop.close()


def run_command(*arguments: str) -> Any:
    command = typer.Typer()
    command.command()(bench)
    return CliRunner().invoke(command, list(arguments))


def test_command_tells_one_row_a_target() -> None:
    with echo_in_a_thread() as port:
        url = f"http://127.0.0.1:{port}/v1"
        told = run_command("--url", url, "--direct", url, "--requests", "20", "--format", "json")

    assert told.exit_code == 0, told.output
    rows = json.loads(told.stdout)
    assert [row["target"] for row in rows] == ["direct", "gateway"]
    assert [row["requests"] for row in rows] == [20, 20]


def test_command_tells_streams_as_csv() -> None:
    with echo_in_a_thread() as port:
        told = run_command(
            *("--url", f"http://127.0.0.1:{port}/v1", "--stream", "--duration", "0.2", "--format", "csv")
        )

    heading, row = told.stdout.splitlines()
    assert heading == ",".join(COLUMNS)
    assert float(dict(zip(COLUMNS, row.split(","), strict=True))["chunks_per_s"]) > 0


def test_command_never_sends_the_gateways_key_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Going direct is to another party, which must not learn the gateway's key."""
    asked: list[Target] = []
    monkeypatch.setattr(
        "llmgw.cli.bench.measure",
        lambda gateway, direct, *_, **__: asked.extend((gateway, direct)) or [],
    )

    told = run_command(
        *("--url", "http://127.0.0.1:1/v1", "--key", "sk-gateway", "--direct", "http://127.0.0.1:2/v1")
    )

    assert told.exit_code == 0
    assert [target.key for target in asked] == ["sk-gateway", None]


def test_command_fails_when_requests_failed() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        told = run_command("--url", f"http://127.0.0.1:{unused.getsockname()[1]}/v1", "--requests", "5")

    assert told.exit_code == 1
    assert "5 requests failed; first: cannot connect" in told.stderr


@pytest.mark.parametrize(
    "more",
    [
        ("--requests", "201"),
        ("--connections", "9"),
        ("--duration", "1"),
        ("--direct", "http://10.0.0.8/v1", "--duration", "1"),
    ],
)
def test_command_refuses_to_load_another_machine_unasked(more: tuple[str, ...]) -> None:
    told = run_command("--url", "http://10.0.0.7:8000/v1", *more)

    assert isinstance(told.exception, CliError)
    assert "is not this machine: without --yes at most 200 requests" in str(told.exception)


def test_command_loads_another_machine_within_the_cap_or_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Plan] = []
    monkeypatch.setattr(
        "llmgw.cli.bench.measure", lambda _gateway, _direct, plan, *_, **__: plans.append(plan) or []
    )
    url = ("--url", "https://llm.example.com/v1")

    for arguments in ((), ("--requests", "9000", "--connections", "64", "--yes")):
        assert run_command(*url, *arguments).exit_code == 0

    assert [(plan.requests, plan.connections) for plan in plans] == [(200, 8), (9000, 64)]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--self", "--url", "http://127.0.0.1/v1"),
        ("--self", "--pid", "1"),
        ("--self", "--requests", "5", "--duration", "5"),
        ("--url", "127.0.0.1:8080"),
        ("--url", "http://127.0.0.1/v1", "--pid", str(2**30)),
    ],
)
def test_command_misused_says_so(arguments: tuple[str, ...]) -> None:
    assert run_command(*arguments).exit_code == 2


@pytest.mark.parametrize("stream", [False, True])
def test_command_measures_a_gateway_of_its_own(stream: bool) -> None:
    """The whole of it: a real gateway is started, loaded, measured and ended."""
    before = tree(os.getpid())

    told = run_command("--self", "--requests", "40", "--format", "json", *(["--stream"] if stream else []))

    assert told.exit_code == 0, told.output
    direct, gateway = json.loads(told.stdout)
    assert (direct["requests"], gateway["requests"], gateway["failed"]) == (40, 40, 0)
    assert gateway["cpu_us_per_request"] > 0
    assert (gateway["chunks_per_s"] is not None) is stream
    assert tree(os.getpid()) == before


async def test_a_gateway_that_does_not_start_tells_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmgw.cli.bench_self.render_config", lambda **_: "version: 99")

    with pytest.raises(SelfFailed, match="the gateway ended with 1:"):
        async with own_gateway(1, "echo"):
            pass
