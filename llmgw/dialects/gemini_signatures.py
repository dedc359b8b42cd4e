"""Who made the proof of a thought, told by a mark before it.

Gemini's `thoughtSignature` and Anthropic's `signature` are both base64 of the provider's own bytes, and
each provider refuses the other's. So Gemini's are ours behind a mark, and a client of Gemini's dialect is
given those of others behind another one. The marks are base64 of three bytes: what they stand before
is base64 still, as SDKs that decode it expect. Those send it back in the alphabet for URLs, whichever it
came in, so the mark also says which one the signature is in.

The signature of a call is always Gemini's: no other provider signs calls.
"""

from __future__ import annotations

_GEMINI = "Z20A"  # base64 of b"gm\0"
_OTHER = "Zm4A"  # base64 of b"fn\0"
_OTHER_FOR_URLS = "Zm4B"  # base64 of b"fn\1"
_STANDARD = str.maketrans("-_", "+/")


def is_gemini(signature: str | None) -> bool:
    """Whether a thought's signature, as we keep it, is Gemini's."""
    return signature is not None and signature.startswith(_GEMINI)


def read_signature(wire: str | None) -> str | None:
    """Ours for a `thoughtSignature` of a thought or a text."""
    if wire is None:
        return None
    if wire.startswith(_OTHER_FOR_URLS):
        return wire[len(_OTHER_FOR_URLS) :]
    return wire[len(_OTHER) :].translate(_STANDARD) if wire.startswith(_OTHER) else _GEMINI + wire


def client_signature(signature: str | None) -> str | None:
    """`thoughtSignature` for a client, whoever made it."""
    if signature is None:
        return None
    if is_gemini(signature):
        return signature[len(_GEMINI) :]
    return (_OTHER_FOR_URLS if "-" in signature or "_" in signature else _OTHER) + signature


def upstream_signature(signature: str | None) -> str | None:
    """`thoughtSignature` for Gemini; None for what another provider made."""
    return signature[len(_GEMINI) :] if signature is not None and is_gemini(signature) else None
