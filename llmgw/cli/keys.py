"""`llmgw keys`: issue, list, show, rotate and revoke API keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmgw.cli.database import engine
from llmgw.cli.output import Format, FormatOption, emit, print_json
from llmgw.cli.problems import CliError
from llmgw.cli.session import ConfigOption, load_stored

if TYPE_CHECKING:
    from llmgw.admin.keys import Keys
    from llmgw.config.document import Document
    from llmgw.ports.stores import IssuedKey, KeyRegistry

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Issue, list, rotate and revoke API keys. A running gateway follows within a second.",
)

_CONFIG = Path("llmgw.yaml")
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
"""What is later has no date, and could be shown to nobody."""
_COLUMNS = ("id", "tenant", "user", "state", "allow_models", "created_at", "expires_at", "labels")
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The key's public id.")]


@app.command()
def create(
    tenant: Annotated[str, typer.Option(help="Tenant that the key belongs to.")] = "default",
    user: Annotated[str | None, typer.Option(help="Person or service that will use it.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Model it may use, * for anything; repeatable. Default: all.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it stops working: 30d, 2027-01-31 or an ISO time.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="NAME=VALUE to remember; repeatable.")] = None,
    config: ConfigOption = _CONFIG,
    format: FormatOption = Format.TABLE,
) -> None:
    """Issue a key and show it, once.

    Example:  llmgw keys create --tenant acme --user alice --model 'gpt-*' --expires 30d
    """
    from llmgw.admin.keys import NewKey

    wanted = NewKey(
        tenant,
        _user(user),
        tuple(model) if model else None,
        _moment(expires) if expires is not None else None,
        _labels(label or []),
    )
    with _keys(config) as keys:
        issued, key = keys.create(wanted)
        _show_new(keys, issued, key, format)


@app.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    config: ConfigOption = _CONFIG,
    format: FormatOption = Format.TABLE,
) -> None:
    """List the issued keys, newest last. Keys declared in the configuration are not among them."""
    with _keys(config) as keys:
        emit([keys.row(key) for key in keys.list(tenant)], _COLUMNS, format)


@app.command()
def show(id: IdArgument, config: ConfigOption = _CONFIG, format: FormatOption = Format.TABLE) -> None:
    """Show one key: everything but the key itself."""
    with _keys(config) as keys:
        row = keys.row(keys.show(id))
    if format is Format.TABLE:
        emit([{"": name, "value": value} for name, value in row.items()], ("", "value"), format)
    elif format is Format.JSON:
        print_json(row)
    else:
        emit([row], tuple(row), format)


@app.command()
def rotate(
    id: IdArgument,
    overlap: Annotated[str, typer.Option(help="How long the old key goes on working.")] = "24h",
    config: ConfigOption = _CONFIG,
    format: FormatOption = Format.TABLE,
) -> None:
    """Issue a successor with the same rights; the old key ends after the overlap.

    Example:  llmgw keys rotate abcdefghijklmnop --overlap 1h
    """
    from llmgw.config.quantities import parse_duration

    try:
        seconds = int(parse_duration(overlap))
    except ValueError as error:
        raise CliError(f"--overlap {error}") from None
    if datetime.now(UTC).timestamp() + seconds >= _LATEST:
        raise CliError(f"--overlap {overlap[:40]}: is longer than any key works; write 24h")
    with _keys(config) as keys:
        issued, key = keys.rotate(id, seconds)
        _show_new(keys, issued, key, format)


@app.command()
def revoke(id: IdArgument, config: ConfigOption = _CONFIG, format: FormatOption = Format.TABLE) -> None:
    """End a key, now and for good."""
    with _keys(config) as keys:
        row = keys.row(keys.revoke(id))
    if format is Format.TABLE:
        typer.echo(f"revoked {row['id']}; running gateways follow within a second")
    elif format is Format.JSON:
        print_json(row)
    else:
        emit([row], tuple(row), format)


@contextmanager
def _keys(config: Path) -> Iterator[Keys]:
    from llmgw.admin.keys import Keys
    from llmgw.stores.sql import SqlKeyRegistry

    document = load_stored(config)
    declared = [key.id for tenant in document.tenants.values() for key in tenant.keys]
    with engine(document, create=True) as opened:
        yield Keys(_told(document, SqlKeyRegistry(opened)), document.tenants, declared)


def _told(document: Document, registry: KeyRegistry) -> KeyRegistry:
    """The registry, whose changes running gateways hear of at once where there is a Redis."""
    if document.storage.redis is None:
        return registry
    from llmgw.stores.key_notices import ToldRegistry, tell_changed

    return ToldRegistry(registry, partial(tell_changed, document.storage.redis.url))


def _show_new(keys: Keys, issued: IssuedKey, key: str, format: Format) -> None:
    row = {"id": issued.key_id, "key": key, **keys.row(issued)}
    if format is Format.JSON:
        print_json(row)
    elif format is Format.CSV:
        emit([row], tuple(row), format)
    else:
        typer.echo(f"id    {issued.key_id}\nkey   {key}\nhash  {row['hash']}")
        typer.echo("The key is not shown again: keep it now.", err=True)


def _labels(pairs: list[str]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CliError(f"--label {pair}: write NAME=VALUE")
        labels[name] = value
    return labels


def _moment(text: str) -> int:
    from llmgw.admin.usage import parse_moment
    from llmgw.config.quantities import parse_duration
    from llmgw.core.errors import InvalidRequest

    now = datetime.now(UTC)
    try:
        if len(text) > 4 and text[4] == "-":
            moment = parse_moment(text, now).timestamp()
        else:
            moment = now.timestamp() + parse_duration(text)
    except (ValueError, InvalidRequest):
        moment = _LATEST
    if moment >= _LATEST:
        raise CliError(f"--expires {text[:40]}: write 30d, 2027-01-31 or 2027-01-31T12:00:00Z")
    return int(moment)


def _user(name: str | None) -> str | None:
    """As the configuration takes it for the keys that it declares."""
    from pydantic import TypeAdapter, ValidationError

    from llmgw.config.tenants import UserName

    try:
        return None if name is None else TypeAdapter[str](UserName).validate_python(name)
    except ValidationError:
        raise CliError("--user: write 1 to 256 characters without line breaks") from None
