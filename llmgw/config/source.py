"""YAML text as a tree that remembers where everything was written.

YAML 1.2 core schema: only `true` and `false` are booleans, so `off`, `no` and dates stay the text
they were typed as. PyYAML supplies the events (libyaml's parser where it is built in); scalars are
resolved here, because PyYAML's own resolver speaks YAML 1.1. (https://yaml.org/spec/1.2.2, 10.3.2)

Refused, with the line: names that appear twice, merge keys, foreign tags, several documents, and
text that would grow when read: aliases may add at most `MAX_ALIASED` nodes, nesting stops at
`MAX_DEPTH`, a file at `MAX_SIZE`. Nothing is expanded before it is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from llmgw.config.problems import ConfigError, Path, Place, Problem, Step, problem_at

MAX_SIZE = 8 * 1024 * 1024
MAX_ALIASED = 10_000
MAX_DEPTH = 64

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # Any: the C loader has no stubs
_TAG = "tag:yaml.org,2002:"
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|(?!\\A)\ufeff")
_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,400}")
_OCTAL = re.compile(r"0o[0-7]{1,400}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_NAN = re.compile(r"\.(?:nan|NaN|NAN)")

Scalar = str | int | float | bool | None


@dataclass(slots=True)
class Node:
    """A value and where it was written. size: nodes below it, itself included, aliases expanded."""

    place: Place
    value: Scalar = None
    size: int = 1


@dataclass(slots=True)
class ListNode(Node):
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class MapNode(Node):
    """entries: name -> where the name was written, and its value."""

    entries: dict[str, tuple[Place, Node]] = field(default_factory=dict)

    def copy(self) -> MapNode:
        """One to change: an aliased mapping is the same node wherever it stands."""
        return MapNode(self.place, size=self.size, entries=dict(self.entries))


def parse_yaml(data: bytes | str, file: str) -> Node:
    """The document's root. Raises ConfigError with every problem found."""
    if len(data) > MAX_SIZE:
        raise ConfigError([Problem(file, 0, "", f"larger than {MAX_SIZE // 1024 // 1024} MiB")])
    text = data if isinstance(data, str) else _decode(data, file)
    if found := _FORBIDDEN.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ConfigError(
            [Problem(file, line, "", f"character U+{ord(found[0]):04X} is not allowed in YAML")]
        )
    reader = _Reader(file)
    try:
        root: Node | None = reader.read(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part)
        reader.problems.append(Problem(file, mark.line + 1 if mark else 0, "", f"not valid YAML: {reason}"))
        root = None
    except yaml.YAMLError as error:
        reader.problems.append(Problem(file, 0, "", f"not valid YAML: {error}"))
        root = None
    if reader.problems or root is None:
        raise ConfigError(reader.problems)
    return root


def _decode(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(file, line, "", "not UTF-8 text")]) from None


def plain(node: Node) -> Any:  # Any: the shape of a document is the models' business
    """The tree as dictionaries, lists and scalars."""
    if isinstance(node, MapNode):
        return {name: plain(child) for name, (_, child) in node.entries.items()}
    if isinstance(node, ListNode):
        return [plain(child) for child in node.items]
    return node.value


def place_of(root: Node, path: Path) -> Place:
    """Where a path was written, or as much of it as exists."""
    node, place = root, root.place
    for step in path:
        found = _child(node, step)
        if found is None:
            break
        place, node = found
    return place


def node_at(root: Node, path: Path) -> Node | None:
    """What stands at a path, None for nothing."""
    node: Node = root
    for step in path:
        found = _child(node, step)
        if found is None:
            return None
        node = found[1]
    return node


def _child(node: Node, step: Step) -> tuple[Place, Node] | None:
    if isinstance(node, MapNode) and isinstance(step, str):
        return node.entries.get(step)
    if isinstance(node, ListNode) and isinstance(step, int) and step < len(node.items):
        return node.items[step].place, node.items[step]
    return None


class _Open:
    """A collection being read."""

    __slots__ = ("anchor", "key", "key_place", "node", "path")

    def __init__(self, node: ListNode | MapNode, anchor: str | None, path: Path) -> None:
        self.node = node
        self.anchor = anchor
        self.path = path
        self.key: str | None = None
        self.key_place = node.place


class _Reader:
    """Builds the tree from parser events, without recursion."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._anchors: dict[str, Node | None] = {}  # None: still open
        self._stack: list[_Open] = []
        self._root: Node | None = None
        self._aliased = 0

    def read(self, events: Iterator[Any]) -> Node:
        documents = 0
        for event in events:
            place = Place(self._file, event.start_mark.line + 1)
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        self._refuse(place, "a second document; one file holds one document")
                        break
                case yaml.ScalarEvent():
                    self._scalar(event, place)
                case yaml.AliasEvent():
                    self._alias(str(event.anchor), place)
                case yaml.SequenceStartEvent():
                    self._open(ListNode(place), event, place)
                case yaml.MappingStartEvent():
                    self._open(MapNode(place), event, place)
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    self._close()
        if self._root is None:
            self._root = MapNode(Place(self._file, 1))
        return self._root

    def _scalar(self, event: Any, place: Place) -> None:
        if self._at_key():
            self._name(str(event.value), place, merges=event.implicit[0])
            return
        try:
            value = _resolve(event)
        except ValueError as error:
            self._refuse(place, str(error))
            value = None
        node = Node(place, value)
        if event.anchor:
            self._anchors[event.anchor] = node
        self._put(node)

    def _alias(self, anchor: str, place: Place) -> None:
        node = self._anchors.get(anchor)
        if node is None:
            known = anchor in self._anchors
            self._refuse(place, f"alias *{anchor} {'contains itself' if known else 'has no anchor'}")
            node = Node(place)
        self._aliased += node.size
        if self._aliased > MAX_ALIASED:
            raise ConfigError(
                [Problem(self._file, place.line, "", f"aliases add more than {MAX_ALIASED} nodes")]
            )
        if self._at_key():
            if isinstance(node, (ListNode, MapNode)) or not isinstance(node.value, str):
                self._refuse(place, "a name must be plain text")
            self._name(str(node.value), place, merges=False)
            return
        self._put(node)

    def _open(self, node: ListNode | MapNode, event: Any, place: Place) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise ConfigError([Problem(self._file, place.line, "", f"nested deeper than {MAX_DEPTH}")])
        kind = "map" if isinstance(node, MapNode) else "seq"
        if event.tag not in (None, "!", _TAG + kind):
            self._refuse(place, f"tag {_short(event.tag)} is not supported")
        if self._at_key():
            raise ConfigError([*self.problems, problem_at(place, self._path(), "a name must be plain text")])
        if event.anchor:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(node, event.anchor, self._path()))

    def _close(self) -> None:
        done = self._stack.pop()
        if done.anchor:
            self._anchors[done.anchor] = done.node
        self._put(done.node)

    def _at_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].node, MapNode) and self._stack[-1].key is None

    def _name(self, name: str, place: Place, *, merges: bool) -> None:
        top = self._stack[-1]
        top.key, top.key_place = name, place
        assert isinstance(top.node, MapNode)
        if name == "<<" and merges:
            self._refuse(
                place, "merge keys are not part of YAML 1.2; repeat the members, or alias a whole value"
            )
        elif name in top.node.entries:
            first = top.node.entries[name][0]
            self._refuse(place, f"defined twice; first at {first}")

    def _put(self, node: Node) -> None:
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        top.node.size += node.size
        if isinstance(top.node, ListNode):
            top.node.items.append(node)
        else:
            assert top.key is not None
            top.node.entries.setdefault(top.key, (top.key_place, node))
            top.key = None

    def _path(self) -> Path:
        if not self._stack:
            return ()
        top = self._stack[-1]
        step: Step = len(top.node.items) if isinstance(top.node, ListNode) else top.key or ""
        return (*top.path, step)

    def _refuse(self, place: Place, reason: str) -> None:
        self.problems.append(problem_at(place, self._path(), reason))


def _resolve(event: Any) -> Scalar:
    text: str = event.value
    tag: str | None = event.tag
    if tag is None or tag == "!":
        return _core(text) if event.implicit[0] and tag is None else text
    if tag == _TAG + "str":
        return text
    value = _core(text)
    kinds: dict[str, type | tuple[type, ...]] = {
        "null": type(None),
        "bool": bool,
        "int": int,
        "float": (int, float),
    }
    expected = kinds.get(tag.removeprefix(_TAG)) if tag.startswith(_TAG) else None
    if expected is None:
        raise ValueError(f"tag {_short(tag)} is not supported")
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ValueError(f"not a {_short(tag)}")
    return value


def _core(text: str) -> Scalar:
    """A plain scalar by the core schema."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if found := _INFINITE.fullmatch(text):
        return float("-inf") if found[1] == "-" else float("inf")
    if _NAN.fullmatch(text):
        return float("nan")
    return text


def _short(tag: str) -> str:
    return "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag
