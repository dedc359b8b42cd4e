"""`server`: listeners and what they tolerate. Read once, at start."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from llmgw.config.later import REASON
from llmgw.config.quantities import Count, Duration, PositiveDuration, Size
from llmgw.config.section import ConfigPath, Mistake, Section

MAX_WORKERS = 64
_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s/]+)):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener binds. Port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(value: object) -> Address:
    """An address from `host:port` or `[ipv6]:port`."""
    if isinstance(value, Address):
        return value
    found = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be host:port, such as 127.0.0.1:8080 or [::1]:8080")
    port = int(found[3])
    if port > 65535:
        raise ValueError(f"port {port} is larger than 65535")
    host = found[1] or found[2]
    if host == "*":
        raise ValueError(f"write 0.0.0.0:{port} for every IPv4 address or [::]:{port} for both")
    return Address(host, port)


Listen = Annotated[
    Address,
    PlainValidator(parse_address),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^.+:\d{1,5}$", "examples": ["127.0.0.1:8080"]}),
]


def _network(value: object) -> IPv4Network | IPv6Network:
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    try:
        return ip_network(str(value))
    except ValueError as error:
        raise ValueError(f"not a network such as 10.0.0.0/8: {error}") from None


Network = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(_network),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8", "::1/128"]}),
]


def _whole_number(value: Any) -> Any:  # Any: whatever the file holds
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


class FrontDoorSettings(Section):
    """What a client's connection may cost before anything is known about it."""

    header_timeout: PositiveDuration = 10.0
    """To send a request's whole head."""
    body_timeout: PositiveDuration = 60.0
    """To send a request's whole body."""
    write_idle: PositiveDuration = 30.0
    """Without reading any of an answer that waits for it."""
    max_headers: Count = 100
    max_header_bytes: Size = 32 * 1024
    max_url: Size = 8 * 1024
    max_body: Size = 32 * 1024 * 1024
    connections_per_ip: Count = 100
    """Open at once from one address, an IPv6 /64 being one, in each worker; loopback and trusted
    proxies are exempt."""


class TlsSettings(Section):
    """TLS on `listen`."""

    cert: ConfigPath | None = None
    """PEM certificate, with its chain."""
    key: ConfigPath | None = None
    """PEM private key."""
    client_ca: ConfigPath | None = None
    """PEM certificates of the CAs whose clients may connect, up to their roots."""
    client_auth: Literal["none", "optional", "required"] = "none"
    """Whether clients show a certificate, for which TLS 1.3 is needed. One that does not hold ends the
    handshake in any case."""
    client_crl: ConfigPath | None = None
    """PEM lists of certificates that those CAs have revoked; one for each CA that signs clients. Read
    again when it changes."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.cert is None) != (self.key is None):
            present, absent = ("key", "cert") if self.cert is None else ("cert", "key")
            raise Mistake(f"{present} needs {absent}", member=present)
        return self

    @model_validator(mode="after")
    def _asks_clients_sensibly(self) -> Self:
        if self.client_auth == "none":
            for member in ("client_ca", "client_crl"):
                if getattr(self, member) is not None:
                    reason = "asks nobody while client_auth is none; set it to optional or required"
                    raise Mistake(reason, member=member)
        elif self.cert is None:
            raise Mistake("needs cert and key", member="client_auth")
        elif self.client_ca is None:
            raise Mistake("needs client_ca, the CAs whose clients may connect", member="client_auth")
        return self


class ServerSettings(Section):
    """The static half's listeners: a change needs a restart."""

    listen: Listen = Address("127.0.0.1", 8080)
    """Data plane."""
    admin_listen: Listen = Address("127.0.0.1", 8081)
    """Health, readiness and metrics. A loopback address."""
    workers: Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=MAX_WORKERS)] = 1
    """Processes that serve side by side; one for each CPU at most."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks whose forwarding headers are believed."""
    front_door: FrontDoorSettings = FrontDoorSettings()
    lame_duck: Duration = 5.0
    """After SIGTERM: how long it still accepts while already reporting not ready."""
    drain_timeout: Duration = 300.0
    """After that: how long requests under way may take to finish."""
    tls: TlsSettings = TlsSettings()

    @property
    def sees_one_address(self) -> bool:
        """Whether clients from elsewhere, if a proxy stands between, all have that proxy's address."""
        return not self.listen.loopback and not self.trusted_proxies

    @model_validator(mode="after")
    def _listeners_fit(self) -> Self:
        if not self.admin_listen.loopback:
            reason = f"{self.admin_listen} is not a loopback address, and admin keys are {REASON}"
            raise Mistake(reason, member="admin_listen")
        if self.listen == self.admin_listen and self.listen.port:
            raise Mistake("is the same as listen", member="admin_listen")
        return self
