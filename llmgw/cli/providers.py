"""`llmgw providers`: what is configured, and whether it answers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmgw.cli.gateway import ask
from llmgw.cli.output import Format, FormatOption, emit
from llmgw.cli.session import CliError, ConfigOption, load, load_unresolved

if TYPE_CHECKING:
    from llmgw.config.document import Document
    from llmgw.config.models import TargetSettings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List the configured providers, and call them.",
)

_CONFIG = Path("llmgw.yaml")
_LIST = ("provider", "tenant", "kind", "from", "base_url", "models", "failing", "credential")
_TEST = (
    "provider",
    "tenant",
    "model",
    "operation",
    "ok",
    "verdict",
    "latency_ms",
    "input_tokens",
    "output_tokens",
    "detail",
)


class Asking(StrEnum):
    """What `providers test` can ask for."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    MODERATION = "moderation"


@app.callback()
def providers() -> None:
    """List the configured providers, and call them."""


@app.command("list")
def list_(config: ConfigOption = _CONFIG, format: FormatOption = Format.TABLE) -> None:
    """List the configured providers, the models that go there, and what the running gateway knows.

    Calls no provider. `failing` are the targets whose breaker is open; a refused `credential` is
    left alone for half a minute. Both are empty when no gateway runs.

    Example:  llmgw providers list --format json
    """
    document = load_unresolved(config)
    targets = _targets(document)
    known = ask(document, "targets") or []
    rows = []
    for owner, name, settings in _accounts(document):
        models = sorted({public for public, *target in targets if target[:2] == [owner, name]})
        rows.append(
            {
                "provider": name,
                "tenant": owner,
                "kind": settings.kind,
                "from": _origin_of(settings.kind),
                "base_url": getattr(settings, "url", None),
                "models": models,
                **_standing(owner, name, known),
            }
        )
    emit(rows, _LIST, format)


@app.command("test")
def call(
    name: Annotated[str | None, typer.Argument(metavar="[PROVIDER]", help="Only this one.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The provider's model to ask; those of the file when absent.")
    ] = None,
    operation: Annotated[
        Asking | None,
        typer.Option(help="What to ask for; by the model's name when absent."),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each answer.", min=1, max=600)] = 30.0,
    config: ConfigOption = _CONFIG,
    format: FormatOption = Format.TABLE,
) -> None:
    """Make a real minimal call to every target, and tell what came of it.

    Each call asks for 16 tokens, one short embedding or a ranking of two words at most, and is billed
    by the provider. Models of speech and pictures are not asked. Exit code 1 when one fails.

    Example:  llmgw providers test openai --model gpt-4o-mini
    """
    import asyncio

    document = load(config)
    accounts = _accounts(document)
    if name is not None and all(each != name for _, each, _ in accounts):
        known = ", ".join(sorted({each for _, each, _ in accounts}))
        raise CliError(f"there is no provider {name!r}; there are {known}")
    calls: list[tuple[str | None, str, str]] = []
    everywhere = {one[1:] for one in _targets(document)} | set(_aside(document))
    for owner, each, _ in accounts:
        if name not in (None, each) or (owner is None and _tenant_without_own(document, each) is None):
            continue
        listed = sorted(upstream for *account, upstream in everywhere if account == [owner, each])
        calls += ((owner, each, upstream) for upstream in ([model] if model else listed))
    if not calls:
        what = name or " and ".join(sorted({each for _, each, _ in accounts}))
        raise CliError(f"no model goes to {what}; name one of its own with --model")
    rows = asyncio.run(_test(document, calls, timeout, operation))
    emit(rows, _TEST, format)
    if any(row["ok"] is False for row in rows):
        raise typer.Exit(1)


async def _test(
    document: Document,
    calls: list[tuple[str | None, str, str]],
    within_s: float,
    asking: Asking | None,
) -> list[dict[str, Any]]:
    import asyncio
    import logging

    from rich.console import Console
    from rich.progress import Progress

    from llmgw.admin.probe import probe
    from llmgw.core.operation import Operation
    from llmgw.core.target import Target
    from llmgw.runtime.build import Providers
    from llmgw.transport.http import HttpTransport

    # What the log would say is in the rows.
    logging.getLogger("llmgw").addHandler(logging.NullHandler())
    operation = Operation(asking.value) if asking is not None else None
    made = Providers(document)
    shared = HttpTransport(asyncio.get_running_loop())
    rows: list[dict[str, Any]] = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("asking", total=len(calls))
        for owner, name, upstream in calls:
            tenant = owner or _tenant_without_own(document, name)
            assert tenant is not None
            provider = made.provider(tenant, name)
            target = Target(name, provider.kind, provider.vendor, upstream)
            verdict = await probe(provider, target, provider.transport or shared, within_s, operation)
            rows.append(
                {
                    "provider": name,
                    "tenant": owner,
                    "model": upstream,
                    "operation": verdict.operation,
                    "ok": verdict.ok,
                    "verdict": verdict.verdict,
                    "latency_ms": None if verdict.latency_s is None else round(verdict.latency_s * 1000),
                    "status": verdict.status,
                    "input_tokens": verdict.input_tokens,
                    "output_tokens": verdict.output_tokens,
                    "detail": verdict.detail,
                }
            )
            progress.advance(task)
    await shared.close()
    return rows


def _tenant_without_own(document: Document, name: str) -> str | None:
    """A tenant to which a shared provider's name means the shared one; None where it is never asked."""
    return next((tenant for tenant, own in document.tenants.items() if name not in own.providers), None)


def _accounts(document: Document) -> list[tuple[str | None, str, Any]]:
    """Whose, name and settings of every provider. Any: one of the kinds' models."""
    found: list[tuple[str | None, str, Any]] = [
        (None, name, each) for name, each in document.providers.items()
    ]
    for tenant, settings in document.tenants.items():
        found += ((tenant, name, each) for name, each in settings.providers.items())
    return found


def _origin_of(kind: str) -> str:
    """Who brings a kind: llmgw itself, or an installed distribution."""
    from llmgw.config.plugins import plugin_kind

    found = plugin_kind(kind)
    return "llmgw" if found is None else found.source


def _standing(owner: str | None, name: str, known: list[dict[str, Any]]) -> dict[str, object]:
    """What the gateway knows of an account."""
    own = [one for one in known if (one["tenant"], one["provider"]) == (owner, name)]
    account = next((one for one in own if one["model"] is None), None)
    return {
        "failing": sorted(
            one["model"] for one in own if one["model"] is not None and one["state"] != "closed"
        ),
        "credential": None if account is None else "refused" if account["spared_for_s"] else "ok",
    }


def _targets(document: Document) -> list[tuple[str, str | None, str, str]]:
    """Public name, whose provider, provider and upstream model of every model's targets."""
    found: list[tuple[str, str | None, str, str]] = []
    for public, model in document.models.items():
        for target in model.targets:
            found += ((public, *one) for one in _of_all(document, target))
    for tenant, settings in document.tenants.items():
        for public, model in settings.models.items():
            found += ((public, *_of_tenant(document, tenant, target)) for target in model.targets)
    return found


def _aside(document: Document) -> list[tuple[str | None, str, str]]:
    """The same of targets that no model has: those of routes, and those on trial."""
    found: list[tuple[str | None, str, str]] = []
    for route in document.routes:
        tenant = route.match.tenant or route.tenant
        for target in route.targets or ():
            found += [_of_tenant(document, tenant, target)] if tenant else _of_all(document, target)
    for model in document.models.values():
        found += _of_all(document, model.mirror.target) if model.mirror is not None else []
    for tenant, settings in document.tenants.items():
        found += (
            _of_tenant(document, tenant, model.mirror.target)
            for model in settings.models.values()
            if model.mirror is not None
        )
    return found


def _of_all(document: Document, target: TargetSettings) -> list[tuple[str | None, str, str]]:
    """Whose provider, provider and upstream model, for any tenant."""
    owners: list[str | None] = [None] if target.provider in document.providers else []
    owners += (name for name, tenant in document.tenants.items() if target.provider in tenant.providers)
    return [(owner, target.provider, target.model) for owner in owners]


def _of_tenant(document: Document, tenant: str, target: TargetSettings) -> tuple[str | None, str, str]:
    owner = tenant if document.owns_provider(tenant, target.provider) else None
    return owner, target.provider, target.model
