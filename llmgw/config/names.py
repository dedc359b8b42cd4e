"""Whether the names in a document lead somewhere, and none means two things.

Works on the tree rather than on validated models, so that a wrong name is reported together
with a wrong unit elsewhere. Whatever has the wrong type is passed over: validation reports it.
"""

from __future__ import annotations

from collections.abc import Iterator

from llmgw.config.problems import Path, Problem, nearest, problem_at
from llmgw.config.providers import secret_members
from llmgw.config.secret import looks_like_reference
from llmgw.config.source import ListNode, MapNode, Node, node_at, place_of

_SECRET_MEMBERS = ("api_key", "proxy", "webhook")
_SECRETS = " and ".join((", ".join(_SECRET_MEMBERS[:-1]), _SECRET_MEMBERS[-1]))
"""The ones that many sections have; kinds of providers have further ones."""
_SECRET_PLACES = (("storage", "url"), ("storage", "redis"))
_AUTH_SECRETS = ("secret", "client_secret")
_DEFAULT_TENANT = "default"


def problems_of_names(root: Node) -> Iterator[Problem]:
    """Names without a meaning, names with two, and references where none is read."""
    checks = _Names(root)
    yield from checks.targets(("models",))
    yield from checks.fallbacks(("models",))
    for tenant in checks.tenants:
        yield from checks.targets(("tenants", tenant, "models"))
        yield from checks.fallbacks(("tenants", tenant, "models"))
    yield from checks.prices()
    yield from checks.anonymous()
    yield from checks.issuers()
    yield from checks.holders()
    yield from checks.passthrough()
    yield from checks.routes()
    yield from checks.quota_tenants()
    yield from checks.repeated_keys()
    yield from checks.repeated_hosts()
    yield from checks.stray_references(root, ())


def warnings_of_names(root: Node) -> Iterator[Problem]:
    """Names that only others can vouch for, credentials or the database."""
    checks = _Names(root)
    yield from checks.quota_subjects()
    yield from checks.unbound_issuers()
    yield from checks.claims()


class _Names:
    def __init__(self, root: Node) -> None:
        self._root = root
        self._shared = set(_members(root, "providers"))
        self.tenants = _members(root, "tenants")
        self._own = {name: set(_members(node, "providers")) for name, node in self.tenants.items()}

    def targets(self, path: Path) -> Iterator[Problem]:
        """Each target names a provider that everyone who can use the model has."""
        node = self._at(path)
        for name, model in (_entries(node) if node is not None else {}).items():
            targets = _entries(model).get("targets")
            named: list[tuple[Path, Node]] = [
                (("targets", index), target)
                for index, target in enumerate(targets.items if isinstance(targets, ListNode) else ())
            ]
            mirror = _entries(model).get("mirror")
            if mirror is not None and "target" in _entries(mirror):
                named.append((("mirror", "target"), _entries(mirror)["target"]))
            for place, target in named:
                provider = _text(_entries(target).get("provider"))
                if provider is not None:
                    at = (*path, name, *place, "provider")
                    yield from self._provider(provider, at, tenant=str(path[1]) if len(path) > 1 else None)

    def fallbacks(self, path: Path) -> Iterator[Problem]:
        """Each fallback names a model that everyone who can use this one has, and none leads back."""
        models = self._models_at(path)
        known = {**self._models_at(("models",)), **models}
        for name in models:
            for index, other in enumerate(_fallbacks_of(models[name])):
                at = (*path, name, "fallbacks", index, "model")
                if other is None:
                    continue
                if other not in known:
                    yield self._problem(at, f'no model named "{other}"', nearest(other, known))
                elif name in _reached_from(other, known):
                    yield self._problem(at, f'falls back to "{other}", which leads back to "{name}"')

    def _models_at(self, path: Path) -> dict[str, Node]:
        node = self._at(path)
        return _entries(node) if node is not None else {}

    def _provider(self, name: str, at: Path, tenant: str | None) -> Iterator[Problem]:
        if name in self._shared:
            return
        if tenant is not None:
            if name not in self._own[tenant]:
                yield self._problem(
                    at, f'no provider named "{name}"', nearest(name, self._own[tenant] | self._shared)
                )
            return
        without = [each for each, own in self._own.items() if name not in own]
        if not self._own or len(without) == len(self._own):
            yield self._problem(at, f'no provider named "{name}"', nearest(name, self._shared))
        elif without:
            yield self._problem(at, f'no shared provider named "{name}", and tenant "{without[0]}" has none')

    def prices(self) -> Iterator[Problem]:
        """Each price is for a provider that exists."""
        scopes: list[tuple[Path, set[str]]] = [((), self._shared)]
        scopes += [(("tenants", name), own | self._shared) for name, own in self._own.items()]
        for scope, providers in scopes:
            path = (*scope, "prices", "overrides")
            node = self._at(path)
            for name in _entries(node) if node is not None else ():
                provider = name.partition("/")[0]
                everywhere = providers if scope else providers.union(*self._own.values())
                if "/" in name and provider not in everywhere:
                    near = nearest(provider, everywhere)
                    suggestion = name.replace(provider, near, 1) if near else None
                    yield self._problem((*path, name), f'no provider named "{provider}"', suggestion)

    def anonymous(self) -> Iterator[Problem]:
        path = ("auth", "anonymous", "tenant")
        name = _text(self._at(path))
        known = list(self.tenants) or [_DEFAULT_TENANT]
        if name is not None and name not in known:
            yield self._problem(path, f'no tenant named "{name}"', nearest(name, known))

    def issuers(self) -> Iterator[Problem]:
        """Each issuer's tokens are for tenants that exist."""
        known = list(self.tenants) or [_DEFAULT_TENANT]
        node = self._at(("auth", "jwt"))
        issuers: dict[Path, Node | None] = {
            ("auth", "jwt", index): issuer
            for index, issuer in enumerate(node.items if isinstance(node, ListNode) else ())
        }
        issuers["auth", "introspection"] = self._at(("auth", "introspection"))
        for path, issuer in issuers.items():
            said = _entries(issuer) if issuer is not None else {}
            named: dict[Path, Node | None] = {(*path, "tenant"): said.get("tenant")}
            tenants = said.get("tenants")
            for at, item in enumerate(tenants.items if isinstance(tenants, ListNode) else ()):
                named[*path, "tenants", at] = item
            for place, each in named.items():
                name = _text(each)
                if name is not None and name not in known:
                    yield self._problem(place, f'no tenant named "{name}"', nearest(name, known))

    def holders(self) -> Iterator[Problem]:
        """Each certificate is of a tenant that exists."""
        known = list(self.tenants) or [_DEFAULT_TENANT]
        node = self._at(("auth", "client_cert", "map"))
        for pattern, holder in (_entries(node) if node is not None else {}).items():
            name = _text(_entries(holder).get("tenant"))
            if name is not None and name not in known:
                path: Path = ("auth", "client_cert", "map", pattern, "tenant")
                yield self._problem(path, f'no tenant named "{name}"', nearest(name, known))

    def unbound_issuers(self) -> Iterator[Problem]:
        """Issuers that may name any tenant, beside others: one tenant's could name another's."""
        node = self._at(("auth", "jwt"))
        issuers = node.items if isinstance(node, ListNode) else []
        for index, issuer in enumerate(issuers if len(issuers) > 1 and len(self.tenants) > 1 else ()):
            if "tenant" in _members(issuer, "claims") and "tenants" not in _entries(issuer):
                reason = "may name any tenant, and it is not the only issuer; set tenants"
                yield self._problem(("auth", "jwt", index), reason)

    def claims(self) -> Iterator[Problem]:
        """Routes that look at claims where no token is taken."""
        issuers = self._at(("auth", "jwt"))
        asked = self._at(("auth", "introspection"))
        has_tokens = (isinstance(issuers, ListNode) and issuers.items) or isinstance(asked, MapNode)
        for path, route in self._routes():
            if "match" in route and _members(route["match"], "claim") and not has_tokens:
                reason = "no request has claims, since auth.jwt names no issuer"
                yield self._problem((*path, "match", "claim"), reason)

    def routes(self) -> Iterator[Problem]:
        """Each route has a name of its own, and leads to tenants, models and providers that exist."""
        known = list(self.tenants) or [_DEFAULT_TENANT]
        seen: dict[str, Path] = {}
        for path, route in self._routes():
            name = _text(route.get("name"))
            yield from self._once(f"name {name}" if name else None, (*path, "name"), seen)
            bound = _text(route.get("tenant"))
            matched = _text(_entries(route["match"]).get("tenant")) if "match" in route else None
            for tenant, at in ((bound, (*path, "tenant")), (matched, (*path, "match", "tenant"))):
                if tenant is not None and tenant not in known:
                    yield self._problem(at, f'no tenant named "{tenant}"', nearest(tenant, known))
            whose = next((each for each in (matched, bound) if each in self.tenants), None)
            targets = route.get("targets")
            for index, target in enumerate(targets.items if isinstance(targets, ListNode) else ()):
                provider = _text(_entries(target).get("provider"))
                if provider is not None:
                    yield from self._provider(provider, (*path, "targets", index, "provider"), whose)
            yield from self._model(_text(route.get("model")), (*path, "model"), whose)

    def _model(self, name: str | None, at: Path, tenant: str | None) -> Iterator[Problem]:
        """Each tenant that a route is for has its model."""
        shared = _members(self._root, "models")
        if name is None or name in shared:
            return
        for each in (tenant,) if tenant is not None else tuple(self.tenants) or (None,):
            own = _members(self.tenants[each], "models") if each is not None else {}
            if name in own or not (shared or own):
                continue
            if tenant is None and any(name in _members(node, "models") for node in self.tenants.values()):
                yield self._problem(at, f'no shared model named "{name}", and tenant "{each}" has none')
            else:
                yield self._problem(at, f'no model named "{name}"', nearest(name, {*shared, *own}))
            return

    def _routes(self) -> Iterator[tuple[Path, dict[str, Node]]]:
        node = self._at(("routes",))
        for index, route in enumerate(node.items if isinstance(node, ListNode) else ()):
            yield ("routes", index), _entries(route)

    def quota_tenants(self) -> Iterator[Problem]:
        """Each quota is for a tenant that exists."""
        known = list(self.tenants) or [_DEFAULT_TENANT]
        for path, quota in self._quotas():
            name = _text(quota.get("tenant"))
            if name is not None and name not in known:
                yield self._problem((*path, "tenant"), f'no tenant named "{name}"', nearest(name, known))

    def quota_subjects(self) -> Iterator[Problem]:
        """Users and keys that a quota names and the file does not."""
        for path, quota in self._quotas():
            tenant = _text(quota.get("tenant")) or _DEFAULT_TENANT
            node = self.tenants.get(tenant)
            keys = _entries(node).get("keys") if node is not None else None
            declared = [_entries(key) for key in (keys.items if isinstance(keys, ListNode) else ())]
            known = {
                "user": {_text(key.get("user")) for key in declared},
                "key": {_text(key.get("id")) for key in declared},
            }
            known["user"].update(_members(node, "users") if node is not None else ())
            for member, names in known.items():
                name = _text(quota.get(member))
                if name is not None and name not in names:
                    reason = f'tenant "{tenant}" lists no {member} "{name}"; fine if another source knows it'
                    near = nearest(name, (each for each in names if each is not None))
                    yield self._problem((*path, member), reason, near)

    def _quotas(self) -> Iterator[tuple[Path, dict[str, Node]]]:
        node = self._at(("quotas",))
        for index, quota in enumerate(node.items if isinstance(node, ListNode) else ()):
            yield ("quotas", index), _entries(quota)

    def passthrough(self) -> Iterator[Problem]:
        """Without models, there must be one provider to pass every name to."""
        if not self._shared and not any(self._own.values()):
            if not _is_wrong(self._at(("providers",))):
                yield self._problem(("providers",), "at least one provider is needed")
            return
        if _members(self._root, "models"):
            return
        for name in self.tenants or (_DEFAULT_TENANT,):
            node = self.tenants.get(name)
            if node is not None and _members(node, "models"):
                continue
            providers = self._shared | self._own.get(name, set())
            if len(providers) != 1:
                held = f"{len(providers)} providers" if providers else "no provider"
                whose = f'tenant "{name}" has' if node is not None else "there are"
                yield self._problem(
                    ("tenants", name) if node is not None else ("providers",),
                    f"{whose} {held} and no models; add models: to say which names go where",
                )

    def repeated_keys(self) -> Iterator[Problem]:
        """A key's id belongs to one tenant."""
        seen: dict[str, Path] = {}
        for tenant, node in self.tenants.items():
            keys = _entries(node).get("keys")
            for index, key in enumerate(keys.items if isinstance(keys, ListNode) else ()):
                path: Path = ("tenants", tenant, "keys", index)
                for member in ("id", "hash"):
                    value = _text(_entries(key).get(member))
                    yield from self._once(f"{member} {value}" if value else None, (*path, member), seen)

    def repeated_hosts(self) -> Iterator[Problem]:
        """A host belongs to one tenant."""
        seen: dict[str, Path] = {}
        for tenant, node in self.tenants.items():
            hosts = _entries(node).get("hosts")
            for index, host in enumerate(hosts.items if isinstance(hosts, ListNode) else ()):
                value = _text(host)
                yield from self._once(
                    f"host {value.lower().rstrip('.')}" if value else None,
                    ("tenants", tenant, "hosts", index),
                    seen,
                )

    def stray_references(self, node: Node, path: Path) -> Iterator[Problem]:
        """References are read where a secret belongs and nowhere else."""
        if isinstance(node, MapNode):
            for name, (_, child) in node.entries.items():
                yield from self.stray_references(child, (*path, name))
        elif isinstance(node, ListNode):
            for index, item in enumerate(node.items):
                yield from self.stray_references(item, (*path, index))
        elif _is_stray(node, path) and not self._is_secret(path):
            yield self._problem(path, f"references are read in {_SECRETS} only")

    def _is_secret(self, path: Path) -> bool:
        """Whether a provider's kind has a secret there, or is refused anyway."""
        kind = _text(self._at((*path[:-1], "kind")))
        if path[-3:-2] != ("providers",) or kind is None:
            return False
        members = secret_members(kind)
        return members is None or path[-1] in members

    def _once(self, what: str | None, path: Path, seen: dict[str, Path]) -> Iterator[Problem]:
        if what is None:
            return
        if what in seen:
            first = place_of(self._root, seen[what])
            yield self._problem(path, f"{what} is used twice; first at {first}")
        else:
            seen[what] = path

    def _at(self, path: Path) -> Node | None:
        return node_at(self._root, path)

    def _problem(self, path: Path, reason: str, suggestion: str | None = None) -> Problem:
        return problem_at(place_of(self._root, path), path, reason, suggestion)


def _entries(node: Node) -> dict[str, Node]:
    return {name: child for name, (_, child) in node.entries.items()} if isinstance(node, MapNode) else {}


def _members(node: Node, name: str) -> dict[str, Node]:
    child = _entries(node).get(name)
    return _entries(child) if child is not None else {}


def _fallbacks_of(model: Node) -> list[str | None]:
    node = _entries(model).get("fallbacks")
    return [_text(_entries(item).get("model")) for item in (node.items if isinstance(node, ListNode) else ())]


def _reached_from(name: str, models: dict[str, Node]) -> set[str]:
    """The names that falling back from a model may lead to, itself included."""
    reached: set[str] = set()
    ahead = [name]
    while ahead:
        each = ahead.pop()
        if each not in reached:
            reached.add(each)
            ahead += [other for other in _fallbacks_of(models[each]) if other is not None and other in models]
    return reached


def _text(node: Node | None) -> str | None:
    return node.value if node is not None and isinstance(node.value, str) else None


def _is_stray(node: Node, path: Path) -> bool:
    return (
        isinstance(node.value, str)
        and "${" in node.value
        and path[-1:] != ()
        and path[-1] not in _SECRET_MEMBERS
        and path not in _SECRET_PLACES
        and not (path[0] == "auth" and path[-1] in _AUTH_SECRETS)
        and looks_like_reference(node.value)
    )


def _is_wrong(node: Node | None) -> bool:
    """Whether something stands here that validation will refuse anyway."""
    return node is not None and not isinstance(node, MapNode) and node.value is not None
