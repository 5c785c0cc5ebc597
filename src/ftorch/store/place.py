"""Where a PostgreSQL database is: its URL, which may hold a password, and the same without."""

from __future__ import annotations

import re

_SCHEMES = ("postgresql://", "postgres://")
# Up to the last @: a password that was not percent-encoded may hold one itself.
_AUTHORITY = re.compile(r"//(?P<user>[^:@/?]*):.*@")
_SECRET_OPTION = re.compile(r"(?P<name>(?:ssl)?password=)[^&]*")
_HOST = r"(?:\[[0-9a-fA-F:.]+\]|[^:@/?#,\[\]]*)(?::\d*)?"
_READABLE = re.compile(rf"postgres(?:ql)?://(?:[^:@/?#]*(?::[^:@/?#]*)?@)?{_HOST}(?:,{_HOST})*(?:/[^@?#]*)?(?:\?.*)?")


def is_readable(url: str) -> bool:
    """False for a password that is not percent-encoded: libpq would take a part of it for the port, and print it."""
    return _READABLE.fullmatch(url) is not None


def is_postgres_url(text: str) -> bool:
    return text.startswith(_SCHEMES)


def redacted(url: str) -> str:
    """The URL for messages: the password is three stars."""
    return _SECRET_OPTION.sub(r"\g<name>***", _AUTHORITY.sub(r"//\g<user>:***@", url))
