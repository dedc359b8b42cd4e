"""Filling in the secrets of a document.

A step of its own: a document is checked, compared and shown without its secrets, and the same
document is resolved again when a secret rotates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from llmgw.config.clouds import CREDENTIALS_FORM, is_google_credentials
from llmgw.config.database_url import SQLITE, DatabaseUrl, check_database_url
from llmgw.config.document import Document
from llmgw.config.issuers import unfit
from llmgw.config.problems import ConfigError, Path, Problem, problem_at
from llmgw.config.quotas import WEBHOOK_FORM, is_webhook_url
from llmgw.config.redis_url import check_redis_url
from llmgw.config.secret import Secret
from llmgw.config.section import Mistake, Section
from llmgw.config.upstream import PROXY_FORM, is_proxy_url
from llmgw.ports.secrets import SecretRef, SecretSource, SecretUnavailable

_SENDABLE = re.compile(r"[\x21-\x7e]+")
_Section = TypeVar("_Section", bound=Section)


def resolve_secrets(
    document: Document, sources: Iterable[SecretSource], section: str | None = None
) -> Document:
    """The same document with each reference's value in place; `warnings` may have grown.

    section: fill in only this one's. Each reference is read once.
    Raises ConfigError naming every secret that is missing, empty or could not be sent in a header.
    """
    by_scheme = {source.scheme: source for source in sources}
    values: dict[SecretRef, str] = {}
    failed: dict[SecretRef, str] = {}
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for path, secret in secrets_of(document):
        if section is not None and path[0] != section:
            continue
        place = document.place(path)
        for reference in secret.references:
            if reference not in values and reference not in failed:
                try:
                    found = by_scheme[reference.scheme].read(reference.locator)
                except KeyError:
                    failed[reference] = f"there is no source for {reference.scheme} secrets"
                except SecretUnavailable as error:
                    failed[reference] = str(error)
                else:
                    values[reference] = found.value
                    if found.warning:
                        warnings.append(problem_at(place, path, found.warning))
            if reference in failed:
                problems.append(problem_at(place, path, failed[reference]))
        if not any(reference in failed for reference in secret.references):
            reason = _unusable(document, path, secret.resolved(values).get_secret_value())
            if reason is not None:
                problems.append(problem_at(place, path, reason))
    if problems:
        raise ConfigError(problems)
    if section is None:
        resolved = _fill(document, values)
    else:
        resolved = document.model_copy(update={section: _fill(getattr(document, section), values)})
    resolved._warnings = (*document.warnings, *warnings)
    return resolved


def _unusable(document: Document, path: Path, value: str) -> str | None:
    """Why a value cannot do its work, without the value."""
    if path[:2] == ("auth", "jwt") and path[-1] == "secret":
        return unfit(document.auth.jwt[int(path[2])].algorithms, value)
    if path[-1] == "proxy":
        return None if is_proxy_url(value) else PROXY_FORM
    if path[-1] == "webhook":
        return None if is_webhook_url(value) else WEBHOOK_FORM
    if path[-1] == "credentials":
        return None if is_google_credentials(value) else CREDENTIALS_FORM
    if path == ("storage", "url"):
        return _no_database(value)
    if path == ("storage", "redis"):
        return _no_redis(value)
    if not _SENDABLE.fullmatch(value):
        return "holds a space, line break or other character that no HTTP header takes in a credential"
    return None


def _no_database(value: str) -> str | None:
    try:
        check_database_url(value)
    except Mistake as mistake:
        return str(mistake)
    if value.startswith(SQLITE) and not value.startswith(f"{SQLITE}/"):
        return "a reference must give an absolute path, as in sqlite:////var/lib/llmgw.db"
    return None


def _no_redis(value: str) -> str | None:
    try:
        check_redis_url(value)
    except Mistake as mistake:
        return str(mistake)
    return None


def secrets_of(section: Section) -> Iterator[tuple[Path, Secret]]:
    """Every secret and where it stands."""
    yield from _secrets(section, ())


def _secrets(value: Any, path: Path) -> Iterator[tuple[Path, Secret]]:  # Any: a document holds many types
    if isinstance(value, Secret):
        if not (isinstance(value, DatabaseUrl) and value.is_open):
            yield path, value
    elif isinstance(value, Section):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _secrets(inner, (*path, name))
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from _secrets(inner, (*path, index))


def _fill(section: _Section, values: dict[SecretRef, str]) -> _Section:
    changed = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        filled = _filled(value, values)
        if filled is not value:
            changed[name] = filled
    return section.model_copy(update=changed)


def _filled(value: Any, values: dict[SecretRef, str]) -> Any:  # Any: a document holds many types
    if isinstance(value, Secret):
        return value.resolved(values)
    if isinstance(value, Section):
        return _fill(value, values)
    if isinstance(value, dict):
        return {name: _filled(inner, values) for name, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(_filled(inner, values) for inner in value)
    return value
