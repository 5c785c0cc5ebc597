"""`ftorch notices` and its verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ftorch.cli.common import json_option, make_client
from ftorch.cli.output import print_json, say, table

if TYPE_CHECKING:
    from ftorch.notify.views import NoticeView


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def notices(context: click.Context, *, as_json: bool) -> int:
    """List what people were told, newest first, and whether it was taken."""
    return 0 if context.invoked_subcommand else _list(as_json=as_json)


@notices.command("list")
@json_option
def list_notices(*, as_json: bool) -> int:
    """List what people were told, newest first, and whether it was taken."""
    return _list(as_json=as_json)


@notices.command("test")
def send_test() -> int:
    """Send a test to every channel of ftorch.toml, now; exit code 6 where one does not take it."""
    with make_client() as client:
        found = client.notices.test()
    for channel, error in found:
        say(f"{channel}: {error or 'taken'}")
    return 6 if any(error for _, error in found) else 0


def _list(*, as_json: bool) -> int:
    with make_client() as client:
        views = client.notices.list()
    if as_json:
        print_json(views)
    elif views:
        table(
            ("at, UTC", "kind", "title", "told"),
            [(f"{view.at:%Y-%m-%d %H:%M}", view.kind, view.title, _told(view)) for view in views],
        )
    else:
        say("nobody was told of anything yet")
    return 0


def _told(view: NoticeView) -> str:
    if not view.deliveries:
        return "nobody"
    taken = sum(one.sent_at is not None for one in view.deliveries)
    waiting = [one.error or "waits" for one in view.deliveries if one.sent_at is None]
    return f"{taken} of {len(view.deliveries)}" + (f" ({'; '.join(waiting)})" if waiting else "")
