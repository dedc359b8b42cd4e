"""Names of the configuration's shape that this version does not act on yet.

Accepting a rule and not applying it would be worse than refusing it, so these are refused by
name. A row leaves the table when its feature arrives.
"""

from __future__ import annotations

from collections.abc import Iterator

from llmgw.config.problems import Path
from llmgw.config.source import ListNode, MapNode, Node

_PATTERNS = (
    "secrets",
    "admin",
    "idempotency.admin",
    "retention.bodies",
    "retention.audit",
    "logging.bodies",
    "observability.otlp",
    "tenants.*.routes",
    "tenants.*.retention",
    "tenants.*.logging",
)

LATER: tuple[tuple[str, ...], ...] = tuple(tuple(pattern.split(".")) for pattern in _PATTERNS)

LATER_SECRETS = ("vault", "azure-kv", "aws-sm", "gcp-sm")

REASON = "not available in this version"


def take_later(root: Node) -> Iterator[Path]:
    """Remove what this version does not act on from the tree; the paths of what had a value."""
    for pattern in LATER:
        yield from _take(root, pattern, ())


def _take(node: Node, pattern: tuple[str, ...], path: Path) -> Iterator[Path]:
    name, rest = pattern[0], pattern[1:]
    if name == "*":
        if isinstance(node, ListNode):
            for index, item in enumerate(node.items):
                yield from _take(item, rest, (*path, index))
        elif isinstance(node, MapNode):
            for key, (_, child) in node.entries.items():
                yield from _take(child, rest, (*path, key))
    elif isinstance(node, MapNode) and name in node.entries:
        child = node.entries[name][1]
        if rest:
            yield from _take(child, rest, (*path, name))
            return
        if type(child) is not Node or child.value is not None:
            yield (*path, name)
        else:
            del node.entries[name]
