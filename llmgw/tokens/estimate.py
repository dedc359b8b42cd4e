"""Tokens guessed from bytes, for admission: no tokenizer, nothing that grows with the vocabulary.

English prose and code measure 3 to 5 bytes a token; text outside ASCII 2 to 5, by script. The
guess takes 4 and 3, rounded up, and settlement corrects it. (OpenAI's rule of thumb: 4 characters
of English a token.)
"""

from __future__ import annotations

_ASCII_BYTES_PER_TOKEN = 4
_OTHER_BYTES_PER_TOKEN = 3


def estimate_tokens(n_bytes: int, ascii: bool) -> int:
    """Tokens in so many bytes of UTF-8. Zero only for no bytes.

    ascii: whether all of them are ASCII (`bytes.isascii` is quick to ask).
    """
    return -(-n_bytes // (_ASCII_BYTES_PER_TOKEN if ascii else _OTHER_BYTES_PER_TOKEN))


def estimate_text(text: str) -> int:
    """Tokens in `text`, its ASCII and its other characters guessed apart."""
    if text.isascii():
        return estimate_tokens(len(text), ascii=True)
    n_ascii = len(text.encode("ascii", "ignore"))
    n_bytes = len(text.encode("utf-8", "surrogatepass"))
    return estimate_tokens(n_ascii, ascii=True) + estimate_tokens(n_bytes - n_ascii, ascii=False)
