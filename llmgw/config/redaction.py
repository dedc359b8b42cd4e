"""`redaction`: what is taken out of requests and answers.

Said for everybody under `redaction`, and otherwise for a model, a tenant or a route. What one of
them leaves unset is as the wider one says: a route, then a tenant's own model, the tenant, the
shared model, `redaction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from llmgw.config.limits import Sparse
from llmgw.config.problems import nearest
from llmgw.config.section import Mistake, Section, inheriting
from llmgw.redaction.kinds import KINDS


def _kind(name: str) -> str:
    if name not in KINDS:
        raise Mistake(
            f'no kind of data named "{name}" (known: {", ".join(KINDS)})',
            suggestion=nearest(name, KINDS),
        )
    return name


Kind = Annotated[str, AfterValidator(_kind), Field(json_schema_extra={"enum": [*KINDS]})]
OnError = Literal["block", "pass"]


class RedactionSettings(Section):
    """For everybody, unless a model, tenant or route says otherwise."""

    logs: tuple[Kind, ...] = KINDS
    """What is replaced in the details of errors before they are logged."""
    requests: tuple[Kind, ...] = ()
    """What is replaced by placeholders such as `[EMAIL]` before a request goes to a provider."""
    responses: tuple[Kind, ...] = ()
    """Likewise in answers before they go to the client, streams included."""
    on_error: OnError = "block"
    """What cannot be redacted is not passed on. `pass`: it goes on as it is."""


class RedactionOverride(Sparse):
    """For one route, tenant or model; what is unset is as the wider one says."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "logs": "is for all that is logged, so it belongs under the top-level redaction"
    }

    requests: tuple[Kind, ...] | None = None
    responses: tuple[Kind, ...] | None = None
    on_error: OnError | None = None


def redaction_terms(shared: RedactionSettings, overrides: Iterable[RedactionOverride]) -> RedactionSettings:
    """What holds. overrides: the narrowest first."""
    return inheriting(shared, overrides)
