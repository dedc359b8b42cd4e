"""Access tokens of Google Cloud, by a credentials file or from the metadata server.

Facts: Google Cloud's "Application Default Credentials" (where files are looked for, and their kinds),
"Workload identity federation", and Compute Engine's "About VM metadata": the token is at
`instance/service-accounts/default/token`, asked for with `Metadata-Flavor: Google`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmgw.config.clouds import CREDENTIALS_FORM, is_google_credentials
from llmgw.config.upstream import Reach
from llmgw.providers.token_keeper import Token, TokenMissing, TokenRefused, TokenUnreachable
from llmgw.providers.token_service import SHOWN, ask, client

if TYPE_CHECKING:
    import httpx2

_METADATA_HOST = "metadata.google.internal"
_METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_FROM_AWS = "urn:ietf:params:aws:token-type:aws4_request"


def by_credentials(text: str, reach: Reach) -> Callable[[], Token[str]]:
    """What gets tokens by the JSON of a credentials file of one of `config.clouds.GOOGLE_CREDENTIALS`."""

    def fetch() -> Token[str]:
        from google.auth import exceptions

        try:
            info = json.loads(text)
            credentials = _MAKERS[info["type"]](info)
            with client(reach) as http:
                credentials.refresh(_Request(http))
        except exceptions.TransportError as error:
            raise TokenUnreachable(str(error)[:SHOWN]) from error
        except exceptions.RefreshError as error:
            raise (TokenUnreachable if error.retryable else TokenRefused)(str(error)[:SHOWN]) from error
        except (exceptions.GoogleAuthError, ValueError, KeyError, TypeError) as error:
            raise TokenRefused(f"the credentials cannot be used: {error!r}"[:SHOWN]) from error
        # google-auth tells the time without its zone, which is UTC.
        left = credentials.expiry.replace(tzinfo=UTC) - datetime.now(UTC)
        return Token(credentials.token, left.total_seconds())

    return fetch


def by_metadata(url: str | None = None) -> Callable[[], Token[str]]:
    """What gets tokens of the service account that a machine or pod of Google Cloud runs as."""

    def fetch() -> Token[str]:
        place = url or f"http://{os.environ.get('GCE_METADATA_HOST', _METADATA_HOST)}"
        with client() as http:
            return ask(http, place + _METADATA_PATH, headers={"metadata-flavor": "Google"})

    return fetch


def by_default(name: str, reach: Reach) -> Callable[[], Token[str]]:
    """What gets tokens as Google's own tools do. name: the provider's, for the errors."""

    def fetch() -> Token[str]:
        said = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        path = Path(said) if said else _login_file()
        if said or path.exists():
            return by_credentials(_read(f"providers.{name}", path), reach)()
        try:
            return by_metadata()()
        except TokenUnreachable as error:
            raise TokenMissing(
                f"providers.{name}: there are no Google credentials: GOOGLE_APPLICATION_CREDENTIALS is not "
                f"set, {path} is not there, and the metadata server gave no token ({error}); give the "
                "provider credentials"
            ) from error

    return fetch


def _login_file() -> Path:
    """Where `gcloud auth application-default login` leaves its file."""
    directory = os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud"
    return Path(directory) / "application_default_credentials.json"


def _read(place: str, path: Path) -> str:
    if find_spec("google") is None or find_spec("google.auth") is None:
        raise TokenMissing(f"{place}: {path} needs google-auth, which comes with llmgw[vertex]")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenMissing(f"{place}: {path} cannot be read: {error}") from error
    if not is_google_credentials(text):
        raise TokenMissing(f"{place}: {path} {CREDENTIALS_FORM}")
    return text


# Any: google-auth's classes have no common type with an expiry.
def _service_account(info: Any) -> Any:
    from google.oauth2 import service_account

    return service_account.Credentials.from_service_account_info(info, scopes=_SCOPES)  # type: ignore[no-untyped-call]


def _authorized_user(info: Any) -> Any:
    from google.oauth2 import credentials

    return credentials.Credentials.from_authorized_user_info(info)  # type: ignore[no-untyped-call]


def _external_account(info: Any) -> Any:
    from google.auth import aws, identity_pool

    of_aws = info.get("subject_token_type") == _FROM_AWS
    made = aws.Credentials if of_aws else identity_pool.Credentials
    return made.from_info(info, scopes=_SCOPES)  # type: ignore[no-untyped-call]


def _impersonated(info: Any) -> Any:
    from google.auth import impersonated_credentials

    made = impersonated_credentials.Credentials.from_impersonated_service_account_info
    return made(info, scopes=_SCOPES)  # type: ignore[no-untyped-call]


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "authorized_user": _authorized_user,
    "external_account": _external_account,
    "impersonated_service_account": _impersonated,
    "service_account": _service_account,
}


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
