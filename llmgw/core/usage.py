"""Token counts of one request, by class.

The classes are inclusive: `input_tokens` holds `cached_tokens` and `cache_write_tokens`, and
`output_tokens` holds `reasoning_tokens`. A dialect whose wire counts them apart adds them up
when it parses. (OpenAI: prompt_tokens_details.cached_tokens is a part of prompt_tokens.)
"""

from __future__ import annotations

from msgspec import Struct

REPORTED = "reported"
ESTIMATED = "estimated"


class Usage(Struct, frozen=True, gc=False):
    """Counts in tokens, never negative.

    source: `REPORTED` by the provider, or `ESTIMATED` by us.
    searches: what a rerank is billed by, where its provider bills by that.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    source: str = REPORTED
    searches: int = 0


NO_USAGE = Usage()
