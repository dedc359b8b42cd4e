"""TLS on the data plane: our certificate, and which clients' certificates hold."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from llmgw.config.server import TlsSettings
from llmgw.wire.revocation_list import ends_of_lists

_ASKED = {"optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
LOOK_EVERY = 10
"""Ticks between looks at the revocation lists."""


class TlsProblem(Exception):
    """A file of `server.tls` cannot be used. The message says which, and why."""


Trouble = Callable[[str | None], None]
"""Told why revocation lists could not be read again, or that one has ended, once for each in a row; and
None when neither holds any more."""


def tls_of(settings: TlsSettings) -> ssl.SSLContext | None:
    """None where TLS is not asked for. Raises TlsProblem."""
    if settings.cert is None or settings.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.cert, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise TlsProblem(f"server.tls: {settings.cert} and {settings.key} cannot be used: {error}") from error
    if settings.client_ca is not None:
        _load(context, "client_ca", settings.client_ca)
        context.verify_mode = _ASKED[settings.client_auth]
        # A session that is taken up again is not verified again for two hours, so there are none. The
        # ssl module has no way to say so for TLS 1.2.
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        if settings.client_crl is not None:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
            _load(context, "client_crl", settings.client_crl)
    return context


def _load(context: ssl.SSLContext, member: str, file: Path) -> None:
    before = context.cert_store_stats()
    try:
        context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as error:
        why = "it holds no PEM data of that kind" if isinstance(error, ssl.SSLError) else error.strerror
        raise TlsProblem(f"server.tls.{member}: {file} cannot be used: {why}") from error
    kind = "crl" if member == "client_crl" else "x509_ca"
    if context.cert_store_stats()[kind] == before[kind] == 0:
        what = "revocation list" if kind == "crl" else "certificate of a CA"
        raise TlsProblem(f"server.tls.{member}: {file} cannot be used: it holds no {what}")


class Revocations:
    """Follows the file of revocation lists: a newer list of a CA takes the place of its older one.

    While it cannot be read, the lists that were read go on, until they end by themselves: then nobody
    is let in whose CA has no newer one. now: seconds UTC.
    """

    def __init__(
        self, context: ssl.SSLContext, file: Path, trouble: Trouble, now: Callable[[], float] = time.time
    ) -> None:
        self._context = context
        self._file = file
        self._trouble = trouble
        self._now = now
        self._seen = self._look()
        self._unreadable: str | None = None
        self._ends: dict[bytes, float] = {}
        self._note_ends()
        self._told: str | None = None
        self._ticks = 0

    def tick(self) -> None:
        """Called each second."""
        self._ticks += 1
        if self._ticks % LOOK_EVERY == 0:
            self.refresh()

    def refresh(self) -> None:
        """Read it if it is another than before."""
        found = self._look()
        if found != self._seen or self._unreadable is not None:
            try:
                _load(self._context, "client_crl", self._file)
            except TlsProblem as problem:
                self._unreadable = self._unreadable or str(problem)
            else:
                self._seen = found
                self._unreadable = None
                self._note_ends()
        why = self._ended() or self._unreadable
        if why != self._told:
            self._told = why
            self._trouble(why)

    def _note_ends(self) -> None:
        with suppress(OSError):
            for issuer, end in ends_of_lists(self._file.read_bytes()).items():
                self._ends[issuer] = max(end, self._ends.get(issuer, end))

    def _ended(self) -> str | None:
        end = min(self._ends.values(), default=math.inf)
        if self._now() < end:
            return None
        moment = f"{datetime.fromtimestamp(end, UTC):%FT%TZ}"
        return (
            f"server.tls.client_crl: a list in {self._file} ended at {moment}"
            " and no client of its CA is let in; put a newer one there"
        )

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
