"""Access tokens of Microsoft Entra ID: for an app registration, a pod's workload or a managed identity.

Facts: Microsoft's "OAuth 2.0 client credentials flow" (a shared secret, a certificate, a federated
credential), "Application authentication certificate credentials", "Workload identity on AKS" (the AZURE_
variables), and "How to use managed identities": machines ask 169.254.169.254, apps IDENTITY_ENDPOINT.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from llmgw.config.clouds import ENTRA_URL
from llmgw.config.clouds import AzureOpenAI as Settings
from llmgw.providers.token_keeper import Token, TokenMissing
from llmgw.providers.token_service import ask, client

MACHINE_URL = "http://169.254.169.254"
_MACHINE_PATH = "/metadata/identity/oauth2/token"
_SUFFIX = "/.default"
_ASSERTED = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_S = 600
_LOOK_AGAIN_S = 60.0

Fetch = Callable[[], Token[str]]


def entra_tokens(name: str, settings: Settings) -> Fetch:
    """What gets tokens in the way the settings say. name: the provider's, for the errors."""
    credential = settings.credential
    assert credential is not None
    return _WAYS[credential](f"providers.{name}", settings)


def by_managed_identity(place: str, settings: Settings, machine_url: str = MACHINE_URL) -> Fetch:
    """What asks the machine, container or app that we run in."""

    def fetch() -> Token[str]:
        query = {"resource": settings.scope.removesuffix(_SUFFIX)}
        if settings.client_id is not None:
            query["client_id"] = settings.client_id
        url, secret = os.environ.get("IDENTITY_ENDPOINT"), os.environ.get("IDENTITY_HEADER")
        with client() as http:
            if url and secret:
                query["api-version"] = "2019-08-01"
                return ask(http, url, query=query, headers={"x-identity-header": secret})
            query["api-version"] = "2018-02-01"
            return ask(http, machine_url + _MACHINE_PATH, query=query, headers={"metadata": "true"})

    return fetch


def _by_token_file(place: str, settings: Settings) -> Fetch:
    path = settings.entra_token_file
    assert path is not None
    return lambda: Token(_read(place, "entra_token_file", path), inf, _LOOK_AGAIN_S)


def _by_secret(place: str, settings: Settings) -> Fetch:
    secret = settings.client_secret
    assert secret is not None
    return lambda: _granted(settings, _token_url(settings), {"client_secret": secret.get_secret_value()})


def _by_certificate(place: str, settings: Settings) -> Fetch:
    path = settings.client_certificate
    assert path is not None

    def fetch() -> Token[str]:
        url = _token_url(settings)
        text = _read(place, "client_certificate", path)
        try:
            assertion = _assertion(text.encode(), settings.client_id or "", url)
        except (ValueError, TypeError) as error:
            reason = (
                f"{place}: client_certificate {path} must hold a PEM certificate and its RSA key: {error}"
            )
            raise TokenMissing(reason) from error
        return _granted(settings, url, {"client_assertion_type": _ASSERTED, "client_assertion": assertion})

    return fetch


def _by_federated_token(place: str, settings: Settings) -> Fetch:
    path = settings.federated_token_file
    assert path is not None

    def fetch() -> Token[str]:
        # Read each time: whoever issues it puts another one there before it ends.
        assertion = _read(place, "federated_token_file", path)
        given = {"client_assertion_type": _ASSERTED, "client_assertion": assertion}
        return _granted(settings, _token_url(settings), given)

    return fetch


def _by_workload(place: str, settings: Settings) -> Fetch:
    def fetch() -> Token[str]:
        tenant = settings.tenant_id or os.environ.get("AZURE_TENANT_ID")
        app = settings.client_id or os.environ.get("AZURE_CLIENT_ID")
        path = os.environ.get("AZURE_FEDERATED_TOKEN_FILE")
        if not tenant or not app or not path:
            raise TokenMissing(
                f"{place}: workload_identity finds no AZURE_TENANT_ID, AZURE_CLIENT_ID or "
                "AZURE_FEDERATED_TOKEN_FILE; is the pod labelled azure.workload.identity/use: true, and "
                "its service account annotated?"
            )
        authority = os.environ.get("AZURE_AUTHORITY_HOST")
        if authority is None or settings.authority != ENTRA_URL:
            authority = settings.authority
        found = settings.model_copy(
            update={"tenant_id": tenant, "client_id": app, "authority": authority.rstrip("/")}
        )
        assertion = _read(place, "AZURE_FEDERATED_TOKEN_FILE", Path(path))
        given = {"client_assertion_type": _ASSERTED, "client_assertion": assertion}
        return _granted(found, _token_url(found), given)

    return fetch


_WAYS: dict[str, Callable[[str, Settings], Fetch]] = {
    "entra_token_file": _by_token_file,
    "client_secret": _by_secret,
    "client_certificate": _by_certificate,
    "federated_token_file": _by_federated_token,
    "workload_identity": _by_workload,
    "managed_identity": by_managed_identity,
}


def _token_url(settings: Settings) -> str:
    return f"{settings.authority}/{quote(settings.tenant_id or '', safe='')}/oauth2/v2.0/token"


def _granted(settings: Settings, url: str, proof: dict[str, str]) -> Token[str]:
    form = {
        "grant_type": "client_credentials",
        "client_id": settings.client_id or "",
        "scope": settings.scope,
        **proof,
    }
    with client(settings) as http:
        return ask(http, url, form=form)


def _read(place: str, member: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenMissing(f"{place}: {member} {path} cannot be read: {error}") from error
    if not text:
        raise TokenMissing(f"{place}: {member} {path} is empty")
    return text


def _assertion(pem: bytes, client_id: str, audience: str) -> str:
    """What the app says of itself, signed by its certificate's key. Raises ValueError and TypeError."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificate

    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("the key is no RSA key")
    thumbprint = load_pem_x509_certificate(pem).fingerprint(hashes.SHA256())
    now = int(time.time())
    header = {"alg": "PS256", "typ": "JWT", "x5t#S256": _base64url(thumbprint)}
    claims = {
        "aud": audience,
        "iss": client_id,
        "sub": client_id,
        "jti": str(uuid4()),
        "nbf": now,
        "iat": now,
        "exp": now + _ASSERTION_S,
    }
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
    digest = hashes.SHA256()
    pss = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
    return f"{signed}.{_base64url(key.sign(signed.encode(), pss, digest))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
