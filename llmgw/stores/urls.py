"""What a database's URL says, without opening it."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode, urlsplit

SQLITE = "sqlite:///"
_SECRETS = frozenset({"password", "sslpassword"})


def is_postgres(url: str) -> bool:
    return url.partition("://")[0].partition("+")[0] in ("postgresql", "postgres")


def shown(url: str) -> str:
    """The database's name for people and logs: a file's path, or a URL without its password."""
    if not is_postgres(url):
        return url.removeprefix(SQLITE)
    split = urlsplit(url)
    user, _, host = split.netloc.rpartition("@")
    named = f"{user.partition(':')[0]}@{host}" if user else host
    query = urlencode(
        [(name, value) for name, value in parse_qsl(split.query) if name not in _SECRETS],
        quote_via=quote,
        safe="/:",
    )
    return f"postgresql://{named}{split.path}{f'?{query}' if query else ''}"
