"""From a file to a validated document, or to every problem it has.

Read, include, override from the environment, validate; secrets are resolved by `resolve.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath

from pydantic import ValidationError

from llmgw.config.document import Document
from llmgw.config.environment import overlay, overrides
from llmgw.config.include import Includes, read, shown
from llmgw.config.later import REASON, take_later
from llmgw.config.limits import problems_of_limits
from llmgw.config.mistakes import problems_of
from llmgw.config.names import problems_of_names, warnings_of_names
from llmgw.config.plugins import installed
from llmgw.config.problems import ConfigError, Path, Problem, problem_at
from llmgw.config.quotas import problems_of_quotas
from llmgw.config.source import MapNode, Node, parse_yaml, place_of, plain
from llmgw.config.unreachable import warnings_of_routes


def load_document(path: FilePath, environ: Mapping[str, str]) -> Document:
    """The document in a file and what it includes.

    environ: `os.environ`; only overrides of `server` and `storage` are read from it.
    Raises ConfigError with every problem, OSError when the file itself cannot be read.
    """
    path = path.absolute()
    return _build(read(path), path, environ)


def document_from_text(
    text: str, *, path: FilePath = FilePath("llmgw.yaml"), environ: Mapping[str, str] | None = None
) -> Document:
    """The document in a text, as if it had been read from `path`, which need not exist."""
    return _build(text, path.absolute(), environ or {})


def _build(data: bytes | str, path: FilePath, environ: Mapping[str, str]) -> Document:
    root = parse_yaml(data, shown(path))
    if not isinstance(root, MapNode):
        if type(root) is not Node or root.value is not None:
            raise ConfigError([problem_at(root.place, (), "must be a mapping of names to values")])
        root = MapNode(root.place)
    includes = Includes(path)
    includes.join(root)
    overlay(root, overrides(environ))
    problems = list(includes.problems)
    later = list(take_later(root))
    problems += [problem_at(place_of(root, at), at, REASON) for at in later]
    problems += problems_of_names(root)
    problems += problems_of_limits(root)
    problems += problems_of_quotas(root)
    contents = {name: value for name, value in plain(root).items() if value is not None}
    contents.setdefault("storage", {})
    try:
        document = Document.model_validate(contents, context={"directory": path.parent, "kinds": installed()})
    except ValidationError as error:
        unavailable = {problem.path for problem in problems if problem.reason == REASON}
        problems += (found for found in problems_of(error, root, Document) if found.path not in unavailable)
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    document._path = path
    document._files = tuple(includes.files)
    document._root = root
    document._generation = _digest(contents)
    document._warnings = tuple(_warnings(document, root))
    return document


def _warnings(document: Document, root: Node) -> Iterator[Problem]:
    yield from warnings_of_names(root)
    yield from warnings_of_routes(root)
    for at, why in _unseen_certificates(document):
        yield problem_at(place_of(root, at), at, why)
    if document.limits.ip_apply_to == "all" and document.server.sees_one_address:
        path: Path = ("server", "listen")
        reason = (
            "limits.per_ip takes everybody behind a load balancer or NAT for one address;"
            " set server.trusted_proxies, or apply_to: unauthenticated under limits.per_ip"
        )
        yield problem_at(place_of(root, path), path, reason)


def _unseen_certificates(document: Document) -> Iterator[tuple[Path, str]]:
    """Client certificates that are to say who somebody is, and cannot arrive."""
    settings = document.auth.client_cert
    if not settings.enabled:
        return
    if settings.header is not None and not document.server.trusted_proxies:
        reason = "is believed of server.trusted_proxies only, and there are none"
        yield ("auth", "client_cert", "header"), reason
    elif settings.header is None and document.server.tls.client_auth == "none":
        reason = "no certificate can arrive; set server.tls.client_auth, or header behind a proxy"
        yield ("auth", "client_cert"), reason


def _digest(contents: object) -> str:
    text = json.dumps(contents, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:12]
