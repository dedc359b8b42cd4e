"""Access tokens of Google Cloud, by a credentials file or from the metadata server.

Facts: Google Cloud's "Application Default Credentials" (the kinds of files), "Using OAuth 2.0 for server to
server applications", and Compute Engine's "About VM metadata": the token is at
`instance/service-accounts/default/token`, asked for with `Metadata-Flavor: Google`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmgw.config.upstream import Reach
from llmgw.providers.token_keeper import Token, TokenRefused, TokenUnreachable

if TYPE_CHECKING:
    import httpx2

METADATA_URL = "http://metadata.google.internal"
_METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT_S = 10.0
_SHOWN = 300


def by_credentials(text: str, reach: Reach) -> Callable[[], Token]:
    """What gets tokens by the JSON of a service account, or of `gcloud auth application-default login`."""

    def fetch() -> Token:
        from google.auth import exceptions

        try:
            credentials = _credentials(text)
            with _client(reach) as client:
                credentials.refresh(_Request(client))
        except exceptions.TransportError as error:
            raise TokenUnreachable(str(error)[:_SHOWN]) from error
        except exceptions.RefreshError as error:
            raise TokenRefused(str(error)[:_SHOWN]) from error
        except (exceptions.GoogleAuthError, ValueError) as error:
            raise TokenRefused(f"the credentials cannot be used: {error}"[:_SHOWN]) from error
        # google-auth tells the time without its zone, which is UTC.
        left = credentials.expiry.replace(tzinfo=UTC) - datetime.now(UTC)
        return Token(credentials.token, left.total_seconds())

    return fetch


def by_metadata(url: str = METADATA_URL) -> Callable[[], Token]:
    """What gets tokens of the service account that a machine or pod of Google Cloud runs as."""

    def fetch() -> Token:
        import httpx2

        try:
            with httpx2.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
                answer = client.get(url + _METADATA_PATH, headers={"metadata-flavor": "Google"})
            found = answer.json()
            return Token(found["access_token"], float(found["expires_in"]))
        except (httpx2.HTTPError, KeyError, TypeError, ValueError) as error:
            raise TokenUnreachable(f"the metadata server gave no token: {error!r}"[:_SHOWN]) from error

    return fetch


def _credentials(text: str) -> Any:  # Any: google-auth's classes have no common type with an expiry
    from google.oauth2 import credentials, service_account

    info = json.loads(text)
    if info["type"] == "authorized_user":
        return credentials.Credentials.from_authorized_user_info(info)  # type: ignore[no-untyped-call]
    made = service_account.Credentials.from_service_account_info
    return made(info, scopes=[_SCOPE])  # type: ignore[no-untyped-call]


def _client(reach: Reach) -> httpx2.Client:
    import ssl

    import httpx2

    return httpx2.Client(
        timeout=_TIMEOUT_S,
        trust_env=False,
        proxy=reach.proxy.get_secret_value() if reach.proxy is not None else None,
        verify=ssl.create_default_context(cafile=str(reach.ca)) if reach.ca is not None else True,
    )


@dataclass(frozen=True, slots=True)
class _Response:
    """As google-auth wants it."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class _Request:
    """Implements `google.auth.transport.Request`."""

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **more: object,
    ) -> _Response:
        import httpx2
        from google.auth import exceptions

        try:
            answer = self._client.request(method, url, content=body, headers=headers)
        except httpx2.HTTPError as error:
            raise exceptions.TransportError(repr(error)) from error  # type: ignore[no-untyped-call]
        return _Response(answer.status_code, answer.headers, answer.content)
