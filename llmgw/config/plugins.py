"""Kinds of providers that installed distributions add.

An entry point of the group `llmgw.providers` is named by the kind and leads to the provider's class:

    [project.entry-points."llmgw.providers"]
    acme = "llmgw_acme:Acme"

The class implements `ports.provider.Provider`, is made by `(name, settings, api_key)`, and names the
model of its settings in the attribute `Settings`: a subclass of `config.section.Section`, usually of
`Account` or `Service` in `config.upstream`, with a member `kind` that is `Literal["acme"]`.

Only metadata is read until a configuration uses a kind (3 ms for eighty distributions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from pydantic import GetCoreSchemaHandler, SerializationInfo, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from llmgw.config.section import Mistake, Section

GROUP = "llmgw.providers"

Installed = Mapping[str, tuple[EntryPoint, ...]]
"""Entry points by kind; more than one where distributions contradict each other."""


class PluginError(Exception):
    """A kind cannot be used; the text names the distribution that is at fault."""


@dataclass(frozen=True, slots=True)
class PluginKind:
    """source: the distribution and its version. provider: makes one of `(name, settings, api_key)`."""

    kind: str
    source: str
    settings: type[Section]
    provider: Any  # a foreign class, held to ports.provider.Provider by its use


def installed() -> Installed:
    """What the installed distributions declare. Imports none of it."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def source_of(point: EntryPoint) -> str:
    """The distribution of an entry point and its version, as in `llmgw-acme 1.2`."""
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unnamed distribution"


def load_kind(kind: str, points: tuple[EntryPoint, ...]) -> PluginKind:
    """Import what one kind leads to. Raises PluginError."""
    if len(points) > 1:
        sources = ", ".join(sorted(map(source_of, points)))
        raise PluginError(f'kind "{kind}" is declared by more than one distribution: {sources}')
    source = source_of(points[0])
    whose = f'kind "{kind}" comes from {source}, whose {points[0].value}'
    try:
        provider = points[0].load()
    except Exception as error:
        # Whatever a foreign module raises while it is imported is its distribution's fault.
        raise PluginError(f"{whose} cannot be loaded: {type(error).__name__}: {error}") from error
    settings = getattr(provider, "Settings", None)
    if not isinstance(settings, type) or not issubclass(settings, Section):
        raise PluginError(f"{whose} has no Settings that is a llmgw.config.section.Section")
    if settings.model_config.get("extra") != "forbid":
        raise PluginError(f"{whose} has Settings that take unknown keys")
    tag = settings.model_fields.get("kind")
    if tag is None or get_args(tag.annotation) != (kind,):
        raise PluginError(f'{whose} has Settings whose member kind is not Literal["{kind}"]')
    return PluginKind(kind, source, settings, provider)


def plugin_kind(kind: str) -> PluginKind | None:
    """The kind, None when no distribution declares it. Raises PluginError."""
    points = installed().get(kind)
    return load_kind(kind, points) if points is not None else None


class OrInstalled:
    """Annotates the union of the built-in kinds: settings of installed kinds are taken too.

    The validation context may hold what is `installed` as `kinds`, so that it is looked up once.
    """

    def __init__(self, built_in: tuple[str, ...]) -> None:
        self._built_in = built_in

    def _validate(self, value: Any, handler: Any, info: ValidationInfo) -> Any:  # Any: as pydantic gives it
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str):
            return handler(value)
        known: Installed | None = (info.context or {}).get("kinds")
        points = (installed() if known is None else known).get(kind, ())
        if kind in self._built_in:
            if points:
                sources = ", ".join(map(source_of, points))
                reason = f'kind "{kind}" is built in, and {sources} declares another; uninstall that'
                raise Mistake(reason, member="kind")
            return handler(value)
        if not points:
            return handler(value)
        try:
            settings = load_kind(kind, points).settings
        except PluginError as error:
            raise Mistake(str(error), member="kind") from error
        return settings.model_validate(value, context=info.context)

    def _serialize(self, value: Any, handler: Any, info: SerializationInfo) -> Any:
        if value.kind in self._built_in:
            return handler(value)
        return value.model_dump(mode=info.mode)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_wrap_validator_function(
            self._validate,
            handler(source),
            serialization=core_schema.wrap_serializer_function_ser_schema(self._serialize, info_arg=True),
        )
