"""What commands on the database share: a schema they can use, and journals that are drained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmgw.cli.problems import CliError
from llmgw.core.errors import GatewayError
from llmgw.stores.urls import shown

if TYPE_CHECKING:
    from llmgw.config.document import Document
    from llmgw.stores.database import Database


@contextmanager
def engine(document: Document, *, create: bool = False) -> Iterator[Database]:
    """The database, with the current schema. create: make it when there is no file yet.

    Raises CliError, also for what is raised inside by use cases and the database.
    """
    from llmgw.stores.database import open_database
    from llmgw.stores.migrate import refuse_unusable
    from llmgw.stores.schema_version import SchemaState, create_schema
    from llmgw.stores.sqlite import DatabaseProblem

    url = document.storage.database
    try:
        state = refuse_unusable(url)
        if state is SchemaState.FRESH:
            if not create:
                raise CliError(f"no database at {shown(url)}; `llmgw serve` or `llmgw db migrate` makes one")
            create_schema(url)
        elif state is SchemaState.BEHIND:
            raise CliError(f"the database {shown(url)} has an older schema; run `llmgw db migrate`")
        opened = open_database(url)
        try:
            yield opened
        finally:
            opened.dispose()
    except DatabaseProblem as error:
        raise CliError(str(error)) from error
    except GatewayError as error:
        raise CliError(f"{error.message}: {error.detail}" if error.detail else error.message) from error


def drain(document: Document) -> None:
    """Load what the journals hold: all of it when no gateway runs, beside it otherwise."""
    from llmgw.stores.drain import Drainer

    directory = document.storage.data_dir / "journal"
    if not directory.is_dir():
        return
    drainer = Drainer(directory, document.storage.database, durability=document.storage.durability)
    try:
        if not drainer.drain():
            drainer.catch_up()
    except Exception as error:
        # The report goes on with what is in the database; the journals are kept.
        import sys

        reason = getattr(error, "detail", None) or error
        print(f"warning: the journals could not be loaded: {reason}", file=sys.stderr)
    finally:
        drainer.release()
