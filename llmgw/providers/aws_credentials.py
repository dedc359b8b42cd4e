"""Keys to sign AWS requests with, by botocore's own chain, and in another role by STS.

Facts: botocore's "Credentials" guide (the order: environment, assumed role and web identity of the profile,
shared files, process, container, instance metadata) and the STS API reference, AssumeRole.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from typing import Any

from llmgw.config.clouds import Bedrock as Settings
from llmgw.providers.token_keeper import Token, TokenMissing, TokenRefused, TokenUnreachable

_PLAIN = re.compile(r"[\x21-\x7e]+")
_LOOK_AGAIN_S = 600.0
"""Keys without an end may be replaced in their file or environment all the same."""
_TIMEOUT_S = 10
_SHOWN = 300
_CHAIN = "environment, ~/.aws, web identity, container and instance metadata"


# Any: botocore has no types.
def by_chain(name: str, settings: Settings) -> Callable[[], Token[Any]]:
    """What gets botocore's `ReadOnlyCredentials`. name: the provider's, for the errors."""

    def fetch() -> Token[Any]:
        from botocore import exceptions

        try:
            found = _in_role(settings) if settings.role_arn is not None else _own(settings)
        except exceptions.ClientError as error:
            broken = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
            raise (TokenUnreachable if broken else TokenRefused)(_said(error)) from error
        except (exceptions.ProfileNotFound, exceptions.PartialCredentialsError) as error:
            raise TokenMissing(f"providers.{name}: {_said(error)}") from error
        except (exceptions.BotoCoreError, OSError, ValueError) as error:
            raise TokenUnreachable(_said(error)) from error
        if found is None:
            raise TokenMissing(
                f"providers.{name}: botocore found no AWS credentials ({_CHAIN}); give the provider "
                "access_key_id and secret_access_key, a profile, or an api_key"
            )
        keys, ends = found
        if not all(_PLAIN.fullmatch(text) for text in (keys.access_key, keys.token or "x")):
            raise TokenUnreachable("the access key or session token has a character no header can carry")
        if ends is None:
            return Token(keys, inf, _LOOK_AGAIN_S)
        return Token(keys, (ends - datetime.now(UTC)).total_seconds())

    return fetch


def given(settings: Settings) -> Any | None:
    """The keys that stand in the settings."""
    from botocore.credentials import Credentials

    if settings.access_key_id is None or settings.secret_access_key is None:
        return None
    token = settings.session_token
    return Credentials(
        settings.access_key_id.get_secret_value(),
        settings.secret_access_key.get_secret_value(),
        token.get_secret_value() if token is not None else None,
    )


def _own(settings: Settings) -> tuple[Any, datetime | None] | None:
    """The keys that the settings or the chain give, and when they end."""
    from botocore.credentials import create_credential_resolver

    keys = given(settings)
    if keys is not None:
        return keys.get_frozen_credentials(), None
    session = _session(settings)
    credentials = create_credential_resolver(session, region_name=settings.region).load_credentials()
    if credentials is None:
        return None
    keys = credentials.get_frozen_credentials()
    # botocore tells their end nowhere else.
    return keys, getattr(credentials, "_expiry_time", None)


def _in_role(settings: Settings) -> tuple[Any, datetime | None] | None:
    """The keys of the role that STS gives for those of the settings or the chain."""
    from botocore.config import Config
    from botocore.credentials import ReadOnlyCredentials

    own = _own(settings)
    if own is None:
        return None
    proxy = settings.proxy.get_secret_value() if settings.proxy is not None else None
    keys, _ = own
    client = _session(settings).create_client(
        "sts",
        region_name=settings.region,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token,
        verify=str(settings.ca) if settings.ca is not None else None,
        config=Config(
            connect_timeout=_TIMEOUT_S,
            read_timeout=_TIMEOUT_S,
            retries={"total_max_attempts": 1},
            proxies={"http": proxy, "https": proxy} if proxy is not None else None,
        ),
    )
    asked = {"RoleArn": settings.role_arn, "RoleSessionName": "llmgw"}
    if settings.external_id is not None:
        asked["ExternalId"] = settings.external_id
    got = client.assume_role(**asked)["Credentials"]
    role = ReadOnlyCredentials(got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"], None)
    return role, got["Expiration"]


def _session(settings: Settings) -> Any:
    from botocore.session import Session

    return Session(profile=settings.profile)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_SHOWN]
