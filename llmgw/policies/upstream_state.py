"""Keeps a tenant from reaching what a shared account stores for another.

An upstream account remembers responses, conversations, files and containers, and knows nothing
of tenants. Under a credential that tenants share, a request may refer only to what was recorded
for its own tenant; a provider of the tenant's own is not held to this.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from urllib.parse import unquote

from llmgw.core.errors import InvalidRequest, NotFound, UnsupportedOperation
from llmgw.core.exchange import Exchange
from llmgw.core.operation import Operation
from llmgw.core.reply import Reply
from llmgw.dialects.endpoints import ANTHROPIC, GEMINI, OPENAI
from llmgw.ports.policy import Ticket
from llmgw.wire.envelope import Envelope, EnvelopeError

_REFERENCES = (
    "file_id",
    "file_ids",
    "vector_store_ids",
    "conversation",
    "container",
    "skill_id",
    "item_reference",
    "cachedContent",
    "cached_content",
    "fileUri",
    "file_uri",
)
_FILE_URIS = ("fileUri", "file_uri")
_MARKS = {
    (OPENAI, Operation.CHAT): (b'"file_id"',),
    (OPENAI, Operation.RESPONSES): tuple(f'"{name}"'.encode() for name in _REFERENCES),
    (ANTHROPIC, Operation.CHAT): (b'"file_id"', b'"container"'),
    (GEMINI, Operation.CHAT): (b'"cachedContent"', b'"cached_content"', b'"fileUri"', b'"file_uri"'),
}
"""Bytes without which no reference can be in a body of the operations that have any."""
_ESCAPED = b"\\u00"
"""A name can also be written with escapes."""
_LINKS = ("url", "image_url", "file_url", "file_data", "document_url")
"""Members of other dialects that become Gemini's `fileUri`."""
_LINK_MARKS = (b'url"', b'"file_data"')
_GEMINIS = "generativelanguage"
"""In the host of what an account of Gemini keeps (Gemini API reference, "Files")."""


class KnownResponses:
    """Which tenant made which upstream response: the newest `capacity` of this process."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._tenants: OrderedDict[str, str] = OrderedDict()

    def add(self, response_id: str, tenant: str) -> None:
        """Remember; the oldest is forgotten when full."""
        self._tenants[response_id] = tenant
        if len(self._tenants) > self._capacity:
            self._tenants.popitem(last=False)

    def tenant_of(self, response_id: str) -> str | None:
        return self._tenants.get(response_id)


class UpstreamState:
    """In the plans of models whose provider is shared by tenants.

    links: one of those is Gemini, which reads its own files by their links, however a client writes them.
    """

    def __init__(self, known: KnownResponses, *, links: bool = False) -> None:
        self._known = known
        self._links = links

    def admit(self, ex: Exchange) -> Ticket | Reply | None:
        envelope = ex.envelope
        if envelope is None:
            return None
        responses = ex.endpoint.operation is Operation.RESPONSES
        if responses:
            self._check_previous(ex)
        if _may_refer(ex.body, _MARKS.get((ex.endpoint.dialect, ex.endpoint.operation), ())):
            self._check_references(envelope)
        if self._links and ex.endpoint.dialect != GEMINI and _may_refer(ex.body, _LINK_MARKS):
            self._check_links(envelope)
        return _Remember(self._known) if responses else None

    def lets(self, ex: Exchange) -> bool:
        """Whether all that a request refers to is its tenant's: of targets beside those it was let to."""
        try:
            self.admit(ex)
        except (InvalidRequest, NotFound, UnsupportedOperation):
            return False
        return True

    def _check_references(self, envelope: Envelope) -> None:
        for name, value in _references(_members(envelope)):
            if name in _FILE_URIS and not _is_kept(value):
                # Not a file that was uploaded, but one that anybody can read.
                continue
            if value is not None and value != [] and value != {"type": "auto"}:
                raise _refers(name)

    def _check_links(self, envelope: Envelope) -> None:
        for name, value in _links(_members(envelope)):
            if not value.startswith("data:") and _is_kept(value) and _GEMINIS in unquote(value).lower():
                raise _refers(name)

    def _check_previous(self, ex: Exchange) -> None:
        assert ex.envelope is not None
        assert ex.principal is not None
        try:
            previous = ex.envelope.value("previous_response_id")
        except EnvelopeError as error:
            raise InvalidRequest(str(error), param="previous_response_id") from None
        if previous is None:
            return
        if not isinstance(previous, str):
            raise InvalidRequest(
                "member 'previous_response_id' must be a string", param="previous_response_id"
            )
        if self._known.tenant_of(previous) != ex.principal.tenant:
            # The same answer whether it is another tenant's or nobody's.
            raise NotFound(f"no response '{previous[:128]}' is known here", param="previous_response_id")


def _members(envelope: Envelope) -> dict[str, object]:
    try:
        return {name: envelope.value(name) for name in envelope.members}
    except EnvelopeError as error:
        raise InvalidRequest(str(error)) from None


def _refers(name: str) -> UnsupportedOperation:
    return UnsupportedOperation(f"'{name}' refers to state at a provider that tenants share", param=name)


def _is_kept(link: object) -> bool:
    """Whether a link leads to a file that was uploaded."""
    path = unquote(str(link)).lower()
    return "/files/" in path or path.startswith("files/")


def _may_refer(body: bytes, marks: tuple[bytes, ...]) -> bool:
    for mark in marks:
        if mark in body:
            return True
    # One byte is looked for ten times as fast as several.
    return bool(marks) and b"\\" in body and _ESCAPED in body


class _Remember:
    """Records whose response it was, once its id is known."""

    def __init__(self, known: KnownResponses) -> None:
        self._known = known

    def settle(self, ex: Exchange) -> None:
        if ex.upstream_id is not None and ex.principal is not None:
            self._known.add(ex.upstream_id, ex.principal.tenant)


def _references(value: object) -> Iterator[tuple[str, object]]:
    """Members anywhere in `value` that name something stored upstream.

    A tool's parameter schema may use the same names for its own; those are under `parameters`.
    """
    if isinstance(value, dict):
        if value.get("type") == "item_reference":
            yield "item_reference", value.get("id")
        for name, inner in value.items():
            if name in _REFERENCES:
                yield name, inner
            elif name not in ("parameters", "schema", "metadata", "arguments"):
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _links(value: object) -> Iterator[tuple[str, str]]:
    """Texts anywhere in `value` that lead to a picture or a file."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _LINKS and isinstance(inner, str):
                yield name, inner
            else:
                yield from _links(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _links(inner)
