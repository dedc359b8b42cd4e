"""`LLMGW_SERVER__LISTEN=0.0.0.0:8080`: the process's own overrides of `server` and `storage`.

Only the static half can be overridden, because it belongs to the process; policy stays in the
file. Two underscores step into a section. Lists and mappings are written as JSON. Other variables
that begin with `LLMGW_` are left alone: they may be named by a reference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmgw.config.problems import Place
from llmgw.config.source import ListNode, MapNode, Node, Scalar

PREFIX = "LLMGW_"
_SECTIONS = ("SERVER__", "STORAGE__")


def overrides(environ: Mapping[str, str]) -> MapNode:
    """What the environment says, as a tree of the document's shape."""
    mine = {
        name.upper(): value
        for name, value in environ.items()
        if name.upper().startswith(tuple(PREFIX + section for section in _SECTIONS))
    }
    root = MapNode(Place("environment"))
    if mine:
        for section, values in _read(mine).items():
            root.entries[section] = (root.place, _tree(values, f"{PREFIX}{section}".upper()))
    return root


def overlay(base: MapNode, over: MapNode) -> None:
    """Put one tree's values over another's; mappings are merged."""
    for name, (place, node) in over.entries.items():
        below = base.entries.get(name)
        if below is not None and isinstance(below[1], MapNode) and isinstance(node, MapNode):
            merged = below[1].copy()
            overlay(merged, node)
            base.entries[name] = (below[0], merged)
        else:
            base.entries[name] = (place, node)


def _read(environ: Mapping[str, str]) -> dict[str, Any]:
    # imported when there is something to read: most processes have no override
    from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

    class Overrides(BaseSettings):
        model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")

        server: dict[str, Any] = {}
        storage: dict[str, Any] = {}

    source = EnvSettingsSource(Overrides)
    source.env_vars = {name.lower(): value for name, value in environ.items()}
    return source()


def _tree(value: Any, variable: str) -> Node:
    place = Place(variable)
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except ValueError:
            return Node(place, value)
    if isinstance(value, dict):
        node = MapNode(place)
        for name, inner in value.items():
            child = _tree(inner, f"{variable}__{name}".upper())
            node.entries[str(name)] = (child.place, child)
        return node
    if isinstance(value, list):
        return ListNode(place, items=[_tree(item, variable) for item in value])
    scalar: Scalar = value
    return Node(place, scalar)
