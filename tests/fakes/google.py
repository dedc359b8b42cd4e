"""A service account of Google Cloud, with a key made for the test."""

from __future__ import annotations

import json
from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@cache
def _key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def service_account(token_uri: str) -> str:
    """The JSON of its credentials file. Tokens are asked for at `token_uri`."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "k1",
            "private_key": _key(),
            "client_email": "gateway@p.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": token_uri,
        }
    )
