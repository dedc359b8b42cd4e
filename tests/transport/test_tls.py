"""TLS settings follow their files."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import trustme

from llmgw.transport.tls import Contexts


async def test_context_is_built_once(tmp_path: Path) -> None:
    """Until one of its files changes."""
    contexts = Contexts()
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))

    first = await contexts.context(str(path), None, None)
    again = await contexts.context(str(path), None, None)
    trustme.CA().cert_pem.write_to_path(str(path))
    os.utime(path, ns=(0, 12345))
    changed = await contexts.context(str(path), None, None)

    assert first is again
    assert changed is not first


async def test_verification_is_always_on() -> None:
    """With the system's store as well."""
    context = await Contexts().context(None, None, None)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
