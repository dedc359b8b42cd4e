"""Asking a token service over plain HTTP, blocking: for the threads that tokens are fetched in.

Facts: RFC 6749, 5.1 and 5.2: a token comes as `access_token` with `expires_in` seconds; a refusal says
`error` and `error_description`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmgw.config.upstream import Reach
from llmgw.providers.token_keeper import Token, TokenRefused, TokenUnreachable

if TYPE_CHECKING:
    import httpx2

SHOWN = 300
"""Characters of a service's words that the log gets."""
_TIMEOUT_S = 10.0


def client(reach: Reach | None = None) -> httpx2.Client:
    """By the way that the provider itself is reached; directly without one."""
    import ssl

    import httpx2

    if reach is None:
        return httpx2.Client(timeout=_TIMEOUT_S, trust_env=False)
    return httpx2.Client(
        timeout=_TIMEOUT_S,
        trust_env=False,
        proxy=reach.proxy.get_secret_value() if reach.proxy is not None else None,
        verify=ssl.create_default_context(cafile=str(reach.ca)) if reach.ca is not None else True,
    )


def ask(
    http: httpx2.Client,
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Token[str]:
    """The token that a POST of `form` gives, or a GET without one.

    Raises TokenRefused for what a service says about the credential, and TokenUnreachable.
    """
    import httpx2

    try:
        answer = http.request(
            "GET" if form is None else "POST", url, params=query, data=form, headers=headers
        )
    except httpx2.HTTPError as error:
        raise TokenUnreachable(f"no answer: {error!r}"[:SHOWN]) from error
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        found = {}
    if answer.status_code >= 400:
        said = found.get("error_description") or found.get("error") or found.get("Message")
        words = f"status {answer.status_code}: {said or 'no reason given'!s}"[:SHOWN]
        passing = answer.status_code in (404, 408, 410, 429) or answer.status_code >= 500
        raise (TokenUnreachable if passing else TokenRefused)(words)
    token, lifetime_s = found.get("access_token"), _lifetime_s(found)
    if not isinstance(token, str) or lifetime_s is None:
        raise TokenUnreachable(f"status {answer.status_code}, but it gave no token with an end")
    return Token(token, lifetime_s)


def _lifetime_s(found: Mapping[str, object]) -> float | None:
    """Seconds; Azure's services write numbers as text, and some say the end in Unix seconds only."""
    for name, now in (("expires_in", 0.0), ("expires_on", time.time())):
        try:
            return float(str(found.get(name))) - now
        except ValueError:
            continue
    return None
