"""Whose requests a change of the configuration concerns.

Follows names through both documents, the one before and the one after: from a provider to the
models and routes that call it, from a model to the tenants that may use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from llmgw.config.problems import Path

EVERYBODY = "everybody"
RESTART = "nobody until a restart: a reload that changes this is refused whole"
_NO_REQUEST = {
    "alerts": "no request, but who is alerted",
    "logging": "no request, but what is logged",
    "observability": "no request, but what is measured",
    "retention": "no request, but how long records are kept",
}
_ALL_TOGETHER = ("global", "concurrency", "per_ip")
_SHOWN = 5

_Document = Mapping[str, Any]  # Any: a document as it is shown


class Affected:
    """Two documents as they are shown, and whom the difference at a path concerns."""

    def __init__(self, before: _Document, after: _Document) -> None:
        self._documents = (before, after)
        self._of: dict[str, Callable[[Path], str]] = {
            "providers": lambda path: self._by_provider(str(path[1])),
            "models": lambda path: self._by_model(str(path[1])),
            "routes": self._by_route,
            "limits": self._by_level,
            "quotas": self._by_quota,
            "prices": self._by_price,
            "tenants": self._by_tenant,
            "auth": self._by_credential,
        }

    def of(self, path: Path) -> str:
        """Whom it concerns, as an end of `affects ...`."""
        section = str(path[0])
        if path[:2] == ("redaction", "logs"):
            return _NO_REQUEST["logging"]
        if section in ("server", "storage"):
            return RESTART
        if section in _NO_REQUEST:
            return _NO_REQUEST[section]
        if section not in self._of or len(path) < 2:
            return EVERYBODY
        return self._of[section](path)

    def _by_provider(self, provider: str, model: str | None = None) -> str:
        """model: only targets of this upstream model."""

        def calls(settings: Mapping[str, Any]) -> bool:
            mirror = (settings.get("mirror") or {}).get("target")
            return any(
                target.get("provider") == provider and model in (None, target.get("model"))
                for target in (*(settings.get("targets") or ()), *([mirror] if mirror else ()))
            )

        models: set[str] = set()
        routes: set[str] = set()
        tenants: set[str] = set()
        for document in self._documents:
            mine = {name for name, settings in _models(document).items() if calls(settings)}
            models |= mine
            without = {
                name: tenant
                for name, tenant in _tenants(document).items()
                if provider not in (tenant.get("providers") or {})
            }
            for name, tenant in without.items():
                own = {one for one, settings in (tenant.get("models") or {}).items() if calls(settings)}
                models |= own
                passed_on = not _models(document) and not tenant.get("models")
                if own or passed_on or any(_may_use(tenant, one) for one in mine):
                    tenants.add(name)
            for route in document.get("routes") or ():
                if calls(route) and (let := _tenants_of_route(document, route) & without.keys()):
                    routes.add(route["name"])
                    tenants |= let
        if not tenants:
            return f"nobody: no model or route of a tenant calls {provider}"
        parts = [_counted("model", models), _counted("route", routes)]
        return ", ".join(part for part in (*parts, self._tenants(tenants)) if part)

    def _by_model(self, model: str) -> str:
        tenants: set[str] = set()
        routes: set[str] = set()
        relying: set[str] = set()
        for document in self._documents:
            if model in _models(document):
                tenants |= {name for name, tenant in _tenants(document).items() if _may_use(tenant, model)}
            routes |= {route["name"] for route in document.get("routes") or () if route.get("model") == model}
            relying |= {
                name
                for name, settings in _models(document).items()
                if any(fallback.get("model") == model for fallback in settings.get("fallbacks") or ())
            }
        if not tenants:
            return f"nobody: no tenant may use {model}"
        parts = [f"model {model}", _counted("route", routes)]
        if relying:
            parts.append(f"what falls back on it from {_listed(relying)}")
        return ", ".join(part for part in (*parts, self._tenants(tenants)) if part)

    def _by_route(self, path: Path) -> str:
        """Also those whom a route that is another tenant's refuses."""
        tenants: set[str] = set()
        for document in self._documents:
            for route in document.get("routes") or ():
                if route["name"] == path[1]:
                    matched = (route.get("match") or {}).get("tenant")
                    tenants |= {matched} if matched is not None else set(_tenants(document))
        return f"route {path[1]}, {self._tenants(tenants)}"

    def _by_level(self, path: Path) -> str:
        level = str(path[1])
        if level in _ALL_TOGETHER:
            return EVERYBODY
        own = {
            name
            for name, tenant in _tenants(self._documents[1]).items()
            if (tenant.get("limits") or {}).get(level) is not None
        }
        return self._tenants(set(_tenants(self._documents[1])) - own, own)

    def _by_quota(self, path: Path) -> str:
        # The members of this list are named by what they count; the first part is whose it is.
        return f"every {str(path[1]).partition('-')[0]} that it is for"

    def _by_price(self, path: Path) -> str:
        provider, _, model = str(path[2] if len(path) > 2 else "").partition("/")
        return f"no request, but its cost: {self._by_provider(provider, model)}" if model else EVERYBODY

    def _by_credential(self, path: Path) -> str:
        if path[1] == "jwt" and len(path) > 2:
            return f"whoever comes with a token of {path[2]}"
        if path[1] == "introspection":
            return "whoever comes with an opaque token"
        if path[1] == "client_cert":
            named = f" for {path[3]}" if len(path) > 3 else ""
            return f"whoever comes with a client certificate{named}"
        return EVERYBODY

    def _by_tenant(self, path: Path) -> str:
        who = f"tenant {path[1]}"
        inner = path[2:4]
        if len(inner) == 2 and inner[0] in ("users", "keys", "models", "providers"):
            who += f", {str(inner[0])[:-1]} {inner[1]}"
        return who

    def _tenants(self, names: set[str], own: Iterable[str] = ()) -> str:
        """own: tenants that are not among them, because they have their own."""
        everyone = set(_tenants(self._documents[0])) | set(_tenants(self._documents[1]))
        excepted = sorted(own)
        if not names:
            return "nobody: every tenant has its own"
        if len(everyone) > 1 and names == everyone:
            return "every tenant"
        if excepted and names == everyone - set(excepted) and len(names) > len(excepted):
            return f"every tenant but {_listed(excepted)} with {_own(excepted)}"
        return _counted("tenant", names)


def _models(document: _Document) -> Mapping[str, Any]:
    found: Mapping[str, Any] = document.get("models") or {}
    return found


def _tenants(document: _Document) -> Mapping[str, Any]:
    found: Mapping[str, Any] = document.get("tenants") or {}
    return found


def _may_use(tenant: Mapping[str, Any], model: str) -> bool:
    """A shared model, that no model of its own hides."""
    allowed = tenant.get("allow_models")
    return (
        model not in (tenant.get("models") or {})
        and (allowed is None or any(fnmatchcase(model, pattern) for pattern in allowed))
        and not any(fnmatchcase(model, pattern) for pattern in tenant.get("deny_models") or ())
    )


def _tenants_of_route(document: _Document, route: Mapping[str, Any]) -> set[str]:
    """Those whom it lets through."""
    only = route.get("tenant") or (route.get("match") or {}).get("tenant")
    return {only} if only is not None else set(_tenants(document))


def _own(names: list[str]) -> str:
    return "its own" if len(names) == 1 else "their own"


def _counted(kind: str, names: Iterable[str]) -> str:
    found = sorted(names)
    return f"{kind if len(found) == 1 else f'{kind}s'} {_listed(found)}" if found else ""


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    more = len(found) - _SHOWN
    return ", ".join(found[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
