"""An issuer's keys, read from its JSON Web Key Set. Pure.

A key proves only what its own type can: never a secret's algorithm, whatever a token says. What
cannot be used (another type, a short key, one for encryption) is left out and counted, and voids
none of the others.

Facts: RFC 7517 (JWK), RFC 7518 sections 3 and 6, RFC 8037 (EdDSA), RFC 8725 section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

MAX_KEYS = 100
_RSA_BITS = range(2048, 8193)
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
_PUBLIC = ("kty", "crv", "n", "e", "x", "y")
_READERS: dict[str, Any] = {  # Any: PyJWT's classes have each its own type of key
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}


@dataclass(frozen=True, slots=True)
class Key:
    """algorithms: those it can prove. material: its public part, by which equal keys are known."""

    kid: str | None
    algorithms: frozenset[str]
    material: bytes
    public: Any  # one of cryptography's public keys


@dataclass(frozen=True, slots=True)
class KeySet:
    """keys: those that can be used. left_out: how many cannot."""

    keys: tuple[Key, ...]
    left_out: int = 0

    def find(self, kid: object, algorithm: str) -> Key | None:
        """The one key that a token's header means; without a `kid`, the only one that can be meant."""
        fits = [key for key in self.keys if algorithm in key.algorithms and kid in (None, key.kid)]
        return fits[0] if len(fits) == 1 else None

    def proves_like(self, other: KeySet) -> bool:
        """Whether both have the same keys, under the same ids."""
        return _identities(self) == _identities(other)


def parse_key_set(document: Mapping[str, Any]) -> KeySet:
    """The keys in a key set. Raises ValueError when it is none, or holds no key that can be used."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise ValueError("it has no list of keys")
    if len(listed) > MAX_KEYS:
        raise ValueError(f"it has more than {MAX_KEYS} keys")
    keys = tuple(_usable(listed))
    if not keys:
        raise ValueError("it has no key that can be used" if listed else "it has no keys")
    return KeySet(keys, len(listed) - len(keys))


def _usable(listed: list[Any]) -> Iterator[Key]:
    for jwk in listed:
        try:
            key = _parse(jwk)
        except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError):
            # All the ways in which a key can be none; the caller is told how many were left out.
            continue
        if key is not None:
            yield key


def _parse(jwk: dict[str, Any]) -> Key | None:
    kty, kid = jwk["kty"], jwk.get("kid")
    if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ("verify",)):
        return None
    if kid is not None and not isinstance(kid, str):
        return None
    algorithms = _RSA if kty == "RSA" else _CURVES.get((str(kty), str(jwk.get("crv"))), frozenset())
    if "alg" in jwk:
        algorithms &= {jwk["alg"]}
    if not algorithms:
        return None
    # A set that shows a private key by mistake is read as if it did not.
    public = _READERS[kty]({name: jwk[name] for name in _PUBLIC if name in jwk})
    if isinstance(public, RSAPublicKey) and public.key_size not in _RSA_BITS:
        return None
    material = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Key(kid, algorithms, material, public)


def _identities(keys: KeySet) -> set[tuple[str | None, frozenset[str], bytes]]:
    return {(key.kid, key.algorithms, key.material) for key in keys.keys}
