from __future__ import annotations

import pytest

from llmgw.core.errors import PermissionDenied
from llmgw.core.principal import Principal
from llmgw.policies.hosts import Hosts
from tests.fakes.exchanges import exchange

POLICY = Hosts({"acme.gw.test": "acme"})
SPELLINGS = [b"acme.gw.test", b"ACME.gw.test", b"acme.gw.test.", b"acme.gw.test:8080", b"acme.gw.test.:80"]


@pytest.mark.parametrize("host", SPELLINGS)
def test_c03_a_tenants_host_takes_only_its_credentials(host: bytes) -> None:
    POLICY.admit(exchange(principal=Principal("acme"), fields={b"host": host}))

    with pytest.raises(PermissionDenied, match="another tenant"):
        POLICY.admit(exchange(principal=Principal("rival"), fields={b"host": host}))


@pytest.mark.parametrize("host", [b"gw.test", b"evil.acme.gw.test", b"[::1]:8080", b""])
def test_other_hosts_are_anybodys(host: bytes) -> None:
    POLICY.admit(exchange(principal=Principal("rival"), fields={b"host": host}))
