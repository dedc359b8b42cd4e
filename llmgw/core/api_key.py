"""The shape of an API key: `llmgw_<public id>_<secret>`.

The public id (16 characters of lower-case base32) finds the key's row and may be shown and
logged. The secret (32 bytes from the system's generator, 43 characters of URL-safe base64) is
shown once. What is stored is the SHA-256 of the whole key: with 256 generated bits there is
nothing to guess, so a slow hash would only cost the road time.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

PREFIX = "llmgw_"
PUBLIC_ID_LENGTH = 16
SECRET_LENGTH = 43
_KEY_LENGTH = len(PREFIX) + PUBLIC_ID_LENGTH + 1 + SECRET_LENGTH
_SECRET_AT = len(PREFIX) + PUBLIC_ID_LENGTH
_BASE32 = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_DIGEST_PREFIX = "sha256:"


def public_id(key: str) -> str | None:
    """The public id inside a key of our form, None for anything else."""
    if len(key) != _KEY_LENGTH or not key.startswith(PREFIX) or key[_SECRET_AT] != "_":
        return None
    found = key[len(PREFIX) : _SECRET_AT]
    return found if _BASE32.issuperset(found) else None


def digest(key: str) -> bytes:
    """SHA-256 of the whole key as the client sends it."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def render_digest(value: bytes) -> str:
    """`sha256:<hex>`, the form that YAML and the database take."""
    return _DIGEST_PREFIX + value.hex()


def parse_digest(text: str) -> bytes:
    """The bytes of `sha256:<hex>`. Raises ValueError for anything else."""
    value = bytes.fromhex(text.removeprefix(_DIGEST_PREFIX))
    if not text.startswith(_DIGEST_PREFIX) or len(value) != hashlib.sha256().digest_size:
        raise ValueError("a key's hash is sha256: and 64 hexadecimal digits")
    return value


def generate() -> tuple[str, str]:
    """A new key: its public id, and the whole key."""
    name = base64.b32encode(secrets.token_bytes(10)).decode("ascii").lower()
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode("ascii").rstrip("=")
    return name, f"{PREFIX}{name}_{secret}"
