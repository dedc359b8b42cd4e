"""`llmgw route`: where a request would go, and why."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmgw.cli.gateway import ask
from llmgw.cli.output import Format, Row, emit, print_json
from llmgw.cli.session import CliError, ConfigOption, load_unresolved

if TYPE_CHECKING:
    from llmgw.config.document import Document

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Explain where a request would go.",
)


class ExplainFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


_CONFIG = Path("llmgw.yaml")
_ROUTES = ("route", "taken", "why_not")
_TARGETS = ("order", "provider", "model", "tenant", "share", "breaker", "skipped", "estimate")
_FALLBACKS = ("model", "on", "targets", "skipped")
_LIMITS = ("policy", "unit", "limit", "window_s", "used", "remaining", "resets_at", "mode")
_QUOTAS = ("per", "model", "unit", "window", "limit", "used", "held", "remaining", "resets_at", "mode")
_ORDERS = {
    "priority": "in the order of the file",
    "cost": "the cheapest first",
    "weighted": "drawn by weight for each request",
    "least_inflight": "the least busy first",
    "latency": "the quickest first, and one request in 20 anywhere",
}


@app.callback()
def routes() -> None:
    """Explain where a request would go."""


@app.command()
def explain(
    path: Annotated[str, typer.Option(help="The path it is sent to.")] = "/v1/chat/completions",
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME:VALUE", help="A header; repeatable.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The host it is sent to.")] = None,
    user: Annotated[str | None, typer.Option(help="The user who sends it.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Its tenant; the only one when absent.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The model it asks for, unless the path names one.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The id of the key it carries, which says tenant and user."),
    ] = None,
    claim: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A claim of its token; repeatable.")
    ] = None,
    cert: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The name in its client certificate, which says tenant and user."),
    ] = None,
    config: ConfigOption = _CONFIG,
    format: Annotated[ExplainFormat, typer.Option("--format", help="How to print it.")] = ExplainFormat.TABLE,
) -> None:
    """Explain where a request goes, and why.

    Tells each route that was tried and why it was not taken, then the targets in order, limits,
    quotas and the price. Asks the running gateway, which knows how they stand; without one, the
    file alone. Nothing is sent to anybody.

    Example:  llmgw route explain --model gpt-4o --tenant acme --header x-team:research
    """
    question: dict[str, Any] = {
        "path": path,
        "headers": dict(map(_header, header or [])),
        "host": host,
        "tenant": tenant,
        "user": user,
        "key": key,
        "model": model,
    }
    if claim:
        question["claims"] = _claims(claim)
    if cert is not None:
        question["cert"] = cert
    document = load_unresolved(config)
    told: dict[str, Any] | None = ask(document, "explain", question=question)
    if told is None:
        told = _from_file(document, question)
    if told["generation"] != document.generation:
        typer.echo(
            f"note: the gateway runs {told['generation']}, and {config} is another configuration;"
            " see `llmgw config diff`",
            err=True,
        )
    if format is ExplainFormat.JSON:
        print_json(told)
    else:
        _print(told, question, config)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isascii():
        raise CliError(f"--header takes NAME:VALUE, as in x-team:research, not {text!r}")
    return name.strip().lower(), value.strip()


def _claims(texts: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CliError(f"--claim takes NAME=VALUE, as in groups=staff, not {text!r}")
        found.setdefault(name, []).append(value)
    return found


def _from_file(document: Document, question: dict[str, Any]) -> dict[str, Any]:
    """What the file alone says."""
    from llmgw.admin.explain import Explainer
    from llmgw.admin.question import Question
    from llmgw.core.clock import system_clock
    from llmgw.runtime.build import declared_keys

    try:
        return Explainer(document, system_clock()).explain(
            Question(**question), declared_keys(document), now=0.0
        )
    except ValueError as error:
        raise CliError(str(error)) from None


def _print(told: dict[str, Any], question: dict[str, Any], config: Path) -> None:
    whence = "the running gateway" if told["live"] else f"{config} alone, since no gateway runs"
    typer.echo(f"From {whence}; generation {told['generation']}.")
    if told["routes"]:
        emit(told["routes"], _ROUTES, Format.TABLE)
    refused = told["refused"]
    if refused is not None:
        typer.echo(f"Refused: {refused['status']} {refused['code']}: {refused['message']}")
        return
    for line in _summary(told, question["model"]):
        typer.echo(line)
    title = "Targets, in order" if told["order_known"] else "Targets, in one of the orders"
    emit(list(_targets(told["targets"])), _shown(_TARGETS, told), Format.TABLE, title=title)
    if told["fallbacks"]:
        fallbacks = [
            one | {"targets": [f"{each['provider']}/{each['model']}" for each in one["targets"]]}
            for one in told["fallbacks"]
        ]
        emit(fallbacks, _FALLBACKS, Format.TABLE, title="Fallbacks, when the targets have failed")
    _print_standing("Limits", told["limits"], _LIMITS, told)
    _print_standing("Quotas", [_money(row) for row in told["quotas"]], _QUOTAS, told)


def _summary(told: dict[str, Any], asked: str | None) -> Iterator[str]:
    route = f"route {told['route']}" if told["route"] else "no route: the model's name decides"
    instead = f", asked for as {asked}" if asked not in (None, told["model"]) else ""
    yield f"Takes {route}; model {told['model']}{instead}."
    for hindrance in told["in_the_way"]:
        yield f"In the way: {hindrance}."
    order = "the one that it went to before (sticky)" if told["sticky"] else _ORDERS[told["strategy"]]
    yield f"Of its targets, {order}; at most {told['attempts']} calls."
    if not told["live"]:
        yield "Whether a target is left alone now, and what is used of limits, only a running gateway knows."
    if (mirror := told["mirror"]) is not None:
        yield f"A copy of {mirror['share']:.3%} goes to {mirror['provider']}/{mirror['model']} as well."
    waits = ", ".join(
        f"{name.removesuffix('_s').replace('_', ' ')} {s:g} s" for name, s in told["timeouts"].items()
    )
    yield f"Waits at most: {waits}."
    keys = told["idempotency"]
    if keys["mode"] == "off":
        yield "An idempotency key means nothing."
    else:
        from llmgw.config.quantities import render_duration

        kept = render_duration(keys["ttl_s"])
        yield f"An idempotency key is {keys['mode']}; its answer is kept for {kept}."
    cache = told["cache"]
    if cache["mode"] == "off":
        yield "Answers are not kept (cache off)."
    else:
        yield (
            f"Answers are kept for {cache['ttl_s']:g} s and given again to the same request"
            f" of the same {cache['scope']} (cache {cache['mode']})."
        )
    if (redaction := told["redaction"]) is not None:
        for what in ("requests", "responses"):
            if redaction[what]:
                yield f"Redacted in {what}: {', '.join(redaction[what])} (on error {redaction['on_error']})."
    estimate = told["estimate"]
    tokens = f"{estimate['input_tokens']:,} tokens in and {estimate['output_tokens']:,} out"
    price = _usd(estimate["cost_nano_usd"]) or "unknown"
    yield f"Price of {tokens}: {price}."


def _targets(rows: list[dict[str, Any]]) -> Iterator[Row]:
    for order, row in enumerate(rows, 1):
        share = row["share"]
        yield row | {
            "order": order,
            "share": None if share is None else f"{share:.0%}",
            "estimate": _usd(row["cost_nano_usd"]),
        }


def _shown(columns: tuple[str, ...], told: dict[str, Any]) -> tuple[str, ...]:
    """The columns that say something here."""
    always = ("order", "provider", "model", "estimate")
    return tuple(
        name for name in columns if name in always or any(row[name] is not None for row in told["targets"])
    )


def _print_standing(title: str, rows: list[Row], columns: tuple[str, ...], told: dict[str, Any]) -> None:
    if not rows:
        typer.echo(f"{title}: none")
        return
    known = told["live"]
    kept = [name for name in columns if known or name not in ("used", "held", "remaining", "resets_at")]
    emit(rows, kept, Format.TABLE, title=title)


def _money(row: dict[str, Any]) -> Row:
    if row["unit"] != "cost_nano_usd":
        return row
    amounts = {name: _usd(row[name]) for name in ("limit", "used", "held", "remaining")}
    return {**row, **amounts, "unit": "cost"}


def _usd(nano: int | None) -> str | None:
    from llmgw.config.quantities import render_usd

    return None if nano is None else f"${render_usd(nano)}"
