"""How upstreams are reached: base URLs, proxies, certificates. What the kinds of providers share."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from llmgw.config.secret import Secret
from llmgw.config.section import ConfigPath, Flag, Mistake, Section
from llmgw.wire.hosts import is_private_host

PROXY_FORM = "must look like http://host:port or http://user:password@host:port"


def _base_url(text: str) -> str:
    if any(mark.isspace() or ord(mark) < 32 or mark in '\\"<>{}|^`' for mark in text):
        raise ValueError("is not a URL")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {str(error).lower()}") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("must start with http:// or https:// and name a host")
    if url.username is not None or url.password is not None:
        raise ValueError("must hold no user or password; put the credential in api_key")
    if "?" in text or "#" in text:
        raise ValueError("must hold no query and no fragment")
    if port == 0:
        raise ValueError("port 0 is not a port")
    return text.rstrip("/")


HeaderText = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=256)]
BaseUrl = Annotated[str, AfterValidator(_base_url), Field(json_schema_extra={"format": "uri"})]


def is_proxy_url(text: str) -> bool:
    """Whether text is `http://[user:password@]host[:port]`."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return False
    bare = url.path in ("", "/") and not url.query and not url.fragment
    return url.scheme == "http" and bool(url.hostname) and port != 0 and bare


class Reach(Section):
    """How to get to an upstream over HTTP."""

    allow_private: Flag = False
    """Allow loopback, private and link-local addresses."""
    proxy: Secret | None = None
    """HTTP proxy, `http://[user:password@]host:port`."""
    ca: ConfigPath | None = None
    """PEM bundle trusted instead of the system's."""
    client_cert: ConfigPath | None = None
    """PEM certificate shown to the upstream."""
    client_key: ConfigPath | None = None
    """Key of `client_cert`, unless that file holds it."""

    @field_validator("proxy")
    @classmethod
    def _proxy_is_http(cls, proxy: Secret | None) -> Secret | None:
        if proxy is not None and not proxy.references and not is_proxy_url(proxy.get_secret_value()):
            raise ValueError(PROXY_FORM)
        return proxy

    @model_validator(mode="after")
    def _key_has_certificate(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            raise Mistake("needs client_cert", member="client_key")
        return self


def refuse_private(url: str, *, allowed: bool) -> None:
    host = urlsplit(url).hostname or ""
    if not allowed and is_private_host(host):
        reason = f"{host or url} is not a public host; add allow_private: true if that is meant"
        raise Mistake(reason, member="base_url")


class Service(Reach):
    """One service, at one base URL."""

    base_url: BaseUrl

    @property
    def vendor(self) -> str | None:
        return None

    @property
    def url(self) -> str:
        """The base URL in effect, without a slash at its end."""
        return self.base_url

    @property
    def private_allowed(self) -> bool:
        return self.allow_private

    @model_validator(mode="after")
    def _public_unless_allowed(self) -> Self:
        refuse_private(self.url, allowed=self.private_allowed)
        return self


class Account(Service):
    """An account at one service, with a key."""

    api_key: Secret
