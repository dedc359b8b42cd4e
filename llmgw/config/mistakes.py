"""From what pydantic refused to problems in the operator's file.

pydantic knows a location in the data; the tree knows the line. The location of a member of a
union has its tag in it, which is no part of the path. Inputs are never repeated: they
could be secrets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from llmgw.config.limits import LEVEL_TAGS, Sparse
from llmgw.config.plugins import PluginError, plugin_kind
from llmgw.config.problems import Path, Problem, nearest, problem_at
from llmgw.config.providers import kind_problem
from llmgw.config.section import Mistake
from llmgw.config.source import ListNode, MapNode, Node, node_at, place_of


def problems_of(error: ValidationError, root: Node, document: type[BaseModel]) -> Iterator[Problem]:
    """One problem for each thing pydantic refused."""
    for details in error.errors(include_url=False, include_input=False):
        path, models = _walk(details["loc"], root, document)
        if details["type"] == "too_short" and not _is_empty(root, path):
            continue  # its items were refused, each for its own reason
        reason, suggestion, member = _explain(details, models)
        if member is not None:
            path = (*path, member)
        yield problem_at(place_of(root, path), path, reason, suggestion)


def _walk(loc: tuple[int | str, ...], root: Node, document: type[BaseModel]) -> tuple[Path, list[Any]]:
    """The path in the file, and the types that could stand at its parent."""
    path: list[int | str] = []
    parents: list[Any] = []
    types: list[Any] = [document]
    node: Node | None = root
    for step in loc:
        if step == "[key]":
            break
        if step in LEVEL_TAGS:
            continue
        tagged = [kind for kind in types if _tag(kind) == step]
        if tagged and not (isinstance(node, MapNode) and step in node.entries):
            types = tagged
            continue
        path.append(step)
        parents, types = types, [inner for kind in types for inner in _member(kind, step)]
        if isinstance(node, MapNode):
            node = node.entries[step][1] if isinstance(step, str) and step in node.entries else None
        elif isinstance(node, ListNode):
            node = node.items[step] if isinstance(step, int) and step < len(node.items) else None
        types = _installed(node, types)
    return tuple(path), parents


def _installed(node: Node | None, types: list[Any]) -> list[Any]:
    """The types, or that of the installed kind of provider which stands here."""
    if not isinstance(node, MapNode) or "kind" not in node.entries or not any(map(_tag, types)):
        return types
    kind = node.entries["kind"][1].value
    if not isinstance(kind, str) or any(_tag(each) == kind for each in types):
        return types
    try:
        found = plugin_kind(kind)
    except PluginError:
        return types
    return types if found is None else [found.settings]


def _is_empty(root: Node, path: Path) -> bool:
    node = node_at(root, path)
    return isinstance(node, ListNode) and not node.items


def _explain(details: ErrorDetails, models: list[Any]) -> tuple[str, str | None, str | None]:
    """Reason, suggestion, and the member meant when it is not the location itself."""
    context = details.get("ctx", {})
    found = context.get("error")
    if isinstance(found, Mistake):
        return str(found), found.suggestion, found.member
    if isinstance(found, ValueError):
        return str(found), None, None
    match details["type"]:
        case "extra_forbidden":
            return (*_unknown(str(details["loc"][-1]), models), None)
        case "missing":
            return "is required", None, None
        case "union_tag_not_found":
            return "is required", None, "kind"
        case "union_tag_invalid":
            reason, suggestion = kind_problem(str(context["tag"]))
            return reason, suggestion, "kind"
        case "literal_error":
            return f"must be {context['expected']}", None, None
        case "string_type":
            return "must be text; put it in quotes", None, None
        case "dict_type" | "model_type" | "model_attributes_type":
            return "must be a mapping of names to values", None, None
        case "tuple_type" | "list_type":
            return "must be a list", None, None
        case "bool_type" | "bool_parsing":
            return "must be true or false", None, None
        case "int_type" | "int_parsing" | "int_from_float":
            return "must be a whole number", None, None
        case "too_short":
            return "must hold at least one", None, None
        case "string_pattern_mismatch":
            return "holds characters that are not allowed here", None, None
    message = details["msg"]
    return message[:1].lower() + message[1:], None, None


def _unknown(name: str, models: list[Any]) -> tuple[str, str | None]:
    """Why a name does not stand here, and the one that was probably meant."""
    for model in models:
        if _is_model(model) and issubclass(model, Sparse) and name in model.elsewhere:
            return model.elsewhere[name], None
    known = [
        info.alias or each
        for model in models
        if _is_model(model)
        for each, info in model.model_fields.items()
    ]
    return "unknown key", nearest(name, known)


def _member(kind: Any, step: int | str) -> Iterator[Any]:
    """The types that a member or item of a type can have."""
    if _is_model(kind):
        for name, info in kind.model_fields.items():
            if step == (info.alias or name):
                yield from _alternatives(info)
        return
    arguments = get_args(kind)
    origin = get_origin(kind)
    if origin is dict:
        yield from _alternatives(arguments[1])
    elif origin in (tuple, list) and arguments:
        yield from _alternatives(arguments[0])


def _alternatives(kind: Any) -> Iterator[Any]:
    """A type without its annotations, each side of a union for itself."""
    if isinstance(kind, FieldInfo):
        kind = kind.annotation
    if get_origin(kind) is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif get_origin(kind) is Union or type(kind).__name__ == "UnionType":
        for side in get_args(kind):
            yield from _alternatives(side)
    else:
        yield kind


def _tag(kind: Any) -> str | None:
    info = kind.model_fields.get("kind") if _is_model(kind) else None
    return str(get_args(info.annotation)[0]) if info is not None else None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
