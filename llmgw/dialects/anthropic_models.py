"""What Claude models differ in, told by their names.

Facts (Anthropic's model overview, extended and adaptive thinking, migration guides): thinking came with
3.7 and had a budget; 4.6 brought adaptive thinking with levels of effort, and 4.7 took budgets and
sampling away; from 4.1 on temperature and top_p exclude each other; from 5 on models think unless
they are told not to. System messages amid a conversation came with Opus 4.8; other families refuse them.
Names without a number are taken for the newest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_SYSTEM_AMID = re.compile(r"claude-opus-(?:4[-.](?:[89]|1\d)|[5-9])(?!\d)")
_VERSION = re.compile(r"claude-(?:[a-z]+-)?v?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """max_output: tokens that can be asked for where the client sets no limit.

    budget, adaptive: the ways of thinking it has. xhigh: that level of effort.
    thinks_unasked: thinking must be switched off. sampling: takes temperature, top_p and top_k.
    one_sampler: not temperature and top_p together. system_amid: takes system messages after a user's.
    """

    max_output: int
    budget: bool = False
    adaptive: bool = False
    xhigh: bool = False
    thinks_unasked: bool = False
    sampling: bool = True
    one_sampler: bool = False
    system_amid: bool = False


_FROM = (
    ((5, 0), ModelFacts(32_000, adaptive=True, xhigh=True, thinks_unasked=True, sampling=False)),
    ((4, 7), ModelFacts(32_000, adaptive=True, xhigh=True, sampling=False)),
    ((4, 6), ModelFacts(32_000, budget=True, adaptive=True, one_sampler=True)),
    ((4, 1), ModelFacts(32_000, budget=True, one_sampler=True)),
    ((3, 7), ModelFacts(32_000, budget=True)),
    ((3, 5), ModelFacts(8192)),
    ((0, 0), ModelFacts(4096)),
)
"""By the first version that it holds for, newest first."""

_OTHERS = ModelFacts(8192, budget=True)
"""Models of others that are served under the messages API."""


def facts_of(model: str) -> ModelFacts:
    """The facts of the model with this name, whichever service it is named by."""
    match = _VERSION.search(model)
    if match is None:
        return _FROM[0][1] if "claude" in model else _OTHERS
    version = (int(match[1]), int(match[2] or 0))
    found = next(facts for first, facts in _FROM if version >= first)
    return replace(found, system_amid=True) if _SYSTEM_AMID.search(model) else found
