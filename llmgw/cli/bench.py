"""`llmgw bench`: how fast an OpenAI-compatible base URL answers, and what a gateway adds to it.

Load on somebody else's machine is somebody else's bill, so without `--yes` a target that is not
this machine gets at most REMOTE_REQUESTS requests over REMOTE_CONNECTIONS connections.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from llmgw.cli.output import Format, FormatOption, emit
from llmgw.cli.problems import CliError

if TYPE_CHECKING:
    from llmgw.cli.bench_compare import Measured, Plan
    from llmgw.cli.bench_load import Target

REMOTE_REQUESTS = 200
REMOTE_CONNECTIONS = 8
DEFAULT_REQUESTS = 2000
DEFAULT_CONNECTIONS = 8
DRAW_EACH = 64


def bench(
    url: Annotated[
        str | None, typer.Option(help="Base URL to load, as an SDK takes it: http://127.0.0.1:8080/v1")
    ] = None,
    own: Annotated[
        bool, typer.Option("--self", help="Start a gateway and a provider on this machine, and load those.")
    ] = False,
    key: Annotated[str | None, typer.Option(envvar="LLMGW_BENCH_KEY", help="Key for --url.")] = None,
    model: Annotated[str, typer.Option(help="Model to ask for.")] = "echo",
    direct: Annotated[
        str | None, typer.Option(help="Base URL that bypasses the gateway, to tell what it adds.")
    ] = None,
    direct_key: Annotated[
        str | None,
        typer.Option(envvar="LLMGW_BENCH_DIRECT_KEY", help="Key for --direct; --key is never sent there."),
    ] = None,
    direct_model: Annotated[
        str | None, typer.Option(help="Model for --direct, if it has another name.")
    ] = None,
    connections: Annotated[int, typer.Option(min=1, max=2000)] = DEFAULT_CONNECTIONS,
    requests: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000_000, help="How many, for each target.", show_default="2000; 200 remote"
        ),
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, max=600.0, help="Seconds of load for each target instead.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Ask for event streams.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, max=600.0, help="Seconds for one answer.")] = 60.0,
    pid: Annotated[
        int | None, typer.Option(min=1, help="Process id of the gateway, to tell its CPU time.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Load another machine without the cap.")] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Load a base URL and tell requests a second, latency, what the gateway adds, and its CPU time."""
    from llmgw.cli.bench_compare import COLUMNS, Plan, render_rows
    from llmgw.cli.bench_cpu import is_measurable
    from llmgw.cli.bench_load import Target

    if own == (url is not None):
        raise typer.BadParameter("give either --url or --self")
    if requests is not None and duration is not None:
        raise typer.BadParameter("give either --requests or --duration")
    if own and (direct is not None or pid is not None):
        raise typer.BadParameter("--self brings its own --direct and --pid")
    if pid is not None and not is_measurable(pid):
        raise typer.BadParameter(f"no process {pid} whose CPU time this system tells")
    gateway = bypass = None
    try:
        if url is not None:
            gateway = Target(url, model, key, stream)
        if direct is not None:
            bypass = Target(direct, direct_model or model, direct_key, stream)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    remote = [target for target in (gateway, bypass) if target is not None and not target.is_loopback]
    if requests is None and duration is None:
        requests = REMOTE_REQUESTS if remote else DEFAULT_REQUESTS
    plan = Plan(connections, requests, duration, timeout, pid)
    if remote and not yes and exceeds_cap(plan):
        raise CliError(
            f"{remote[0].host} is not this machine: without --yes at most {REMOTE_REQUESTS} requests "
            f"over {REMOTE_CONNECTIONS} connections, and no --duration"
        )

    measured = measure(gateway, bypass, plan, model, stream=stream)
    emit(render_rows(measured), COLUMNS, format)
    failed = [each for each in measured if each.result.failed]
    for each in failed:
        typer.echo(
            f"{each.name}: {each.result.failed} requests failed; first: {each.result.reason}", err=True
        )
    if failed:
        raise typer.Exit(1)


def exceeds_cap(plan: Plan) -> bool:
    """Whether this is more than may be sent to another machine unasked."""
    return plan.requests is None or plan.requests > REMOTE_REQUESTS or plan.connections > REMOTE_CONNECTIONS


def measure(
    gateway: Target | None, direct: Target | None, plan: Plan, model: str, *, stream: bool
) -> list[Measured]:
    """Run the load, with a progress bar where someone is looking. gateway: None to start our own."""
    import asyncio
    import dataclasses
    import signal

    import uvloop

    from llmgw.cli.bench_compare import compare, own_targets
    from llmgw.cli.bench_self import SelfFailed

    async def run(on_done: Callable[[], None]) -> list[Measured]:
        task = asyncio.current_task()
        assert task is not None
        # Cancelled, not killed: the gateway we started must not outlive us.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        if gateway is not None:
            return await compare(gateway, direct, plan, on_done)
        async with own_targets(model, stream=stream) as (ours, echo, pid):
            return await compare(ours, echo, dataclasses.replace(plan, pid=pid), on_done)

    total = None if plan.requests is None else plan.requests * (1 if gateway and not direct else 2)
    with progress(total) as on_done:
        try:
            return uvloop.run(run(on_done))
        except SelfFailed as error:
            raise CliError(str(error)) from error
        except asyncio.CancelledError:
            raise CliError("stopped before the end") from None


@contextlib.contextmanager
def progress(total: int | None) -> Iterator[Callable[[], None]]:
    """What to call for each finished request; shows a bar while someone is looking.

    total: None when it is not known beforehand.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    count = 0
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("requests", total=total)

        def on_done() -> None:
            nonlocal count
            count += 1
            # Drawing costs more than a request does.
            if count % DRAW_EACH == 0 or count == total:
                bar.update(task, completed=count)

        yield on_done
