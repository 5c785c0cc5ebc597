"""A `multipart/form-data` body of plain fields."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import MIMEPart


def fields(content_type: str, body: bytes) -> dict[str, str]:
    """The fields by name. Raises ValueError for a body that is no form."""
    head = f"MIME-Version: 1.0\r\nContent-Type: {content_type}\r\n\r\n".encode()
    message = message_from_bytes(head + body, policy=policy.HTTP)
    if not message.is_multipart():
        raise ValueError(f"a form was expected, not {content_type!r}")
    return dict(_field(part) for part in message.iter_parts())


def _field(part: MIMEPart) -> tuple[str, str]:
    name = part.get_param("name", header="content-disposition")
    content = part.get_payload(decode=True)
    return str(name), content.decode() if isinstance(content, bytes) else ""
