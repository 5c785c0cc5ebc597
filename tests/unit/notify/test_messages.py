"""What goes over the wire: signatures that a stranger's library would check, and Slack's own form."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ftorch.core.errors import CredentialsError, UsageError
from ftorch.manifest.notify import NoticeKind, Notify
from ftorch.notify.messages import message, secrets_of, signed
from ftorch.store.schedule_rows import NoticeRow

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
HOOK = Notify(type="webhook", url="env:NEWS", secret="env:KEY")
SLACK = Notify(type="slack", url="env:SLACK")
ENV = {"NEWS": "https://example.com/news", "KEY": "whsec_c2VjcmV0", "SLACK": "https://hooks.slack.com/services/T0/B0/x"}


def notice(**body: Any) -> NoticeRow:
    told = {"title": "support/2 was refused", "text": "worse", "hint": "look", "dollars": {}, "about": {}, **body}
    return NoticeRow(id="n1", subject="s", kind="refused", job_id=None, body=json.dumps(told), at=NOW)


def test_a_webhook_is_signed_as_the_standard_says() -> None:
    # The example of standardwebhooks.com, by its own words: base64 after whsec_, HMAC-SHA256 of id.timestamp.body.
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    moment = datetime.fromtimestamp(1614265330, UTC)

    headers = signed("msg_p5jXN8AQM9LWM0D4loKWxJek", body, secret, moment)

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_plain_secret_signs_with_its_own_bytes() -> None:
    headers = signed("n1", b"{}", "word", NOW)

    digest = hmac.new(b"word", f"n1.{headers['webhook-timestamp']}.{{}}".encode(), hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_the_body_says_what_happened_and_what_it_cost() -> None:
    dollars = {"spend": {"amount": "1.25", "currency": "USD"}, "limit": None}

    sent = message(HOOK, notice(dollars=dollars), ENV, NOW)

    body = json.loads(sent.content)
    assert (body["type"], body["timestamp"], body["data"]["id"]) == ("ftorch.refused", "2026-11-01T12:00:00Z", "n1")
    assert body["data"]["dollars"] == dollars


def test_slack_gets_the_dollars_and_nothing_that_it_reads_as_markup() -> None:
    dollars = {"spend": {"amount": "1.25", "currency": "USD"}, "limit": None}

    sent = message(SLACK, notice(title="a <b> & c", dollars=dollars), ENV, NOW)

    text = json.loads(sent.content)["text"]
    assert "*a &lt;b&gt; &amp; c*" in text
    assert "spend 1.25 USD, limit unknown" in text
    assert "webhook-signature" not in sent.headers


def test_a_secret_that_is_not_set_is_named_by_its_place() -> None:
    with pytest.raises(CredentialsError, match="webhook env:NEWS: KEY is not set"):
        message(HOOK, notice(), {"NEWS": ENV["NEWS"]}, NOW)


@pytest.mark.parametrize(
    "url", ["http://example.com/news", "ftp://example.com", "example.com", "http://10.0.0.1/", "https://[bad"]
)
def test_an_address_in_the_clear_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError, match="not an https:// URL") as caught:
        message(HOOK, notice(), {**ENV, "NEWS": url}, NOW)

    assert url not in caught.value.message


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/news", "http://localhost/news", "http://[::1]/news"])
def test_over_the_loopback_it_may_go_in_the_clear(url: str) -> None:
    assert message(HOOK, notice(), {**ENV, "NEWS": url}, NOW).url == url


def test_neither_address_nor_headers_show_in_a_repr() -> None:
    assert "example.com" not in repr(message(HOOK, notice(), ENV, NOW))


def test_the_values_behind_the_places_are_secrets() -> None:
    assert secrets_of(HOOK, ENV) == {ENV["NEWS"], ENV["KEY"]}


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"type": "webhook", "url": "env:NEWS"}, "secret is missing"),
        ({"type": "slack", "url": "env:SLACK", "secret": "env:KEY"}, "secret is for webhooks"),
        ({"type": "slack", "url": "https://hooks.slack.com/x"}, "url"),
        ({"type": "slack", "url": "env:SLACK", "on": ["refusd"]}, "refused"),
    ],
)
def test_a_channel_that_makes_no_sense_is_refused(block: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Notify.model_validate(block)


def test_a_channel_may_ask_for_some_news_alone() -> None:
    some = Notify(type="slack", url="env:SLACK", on=(NoticeKind.REFUSED,))

    assert [some.wants(kind) for kind in (NoticeKind.REFUSED, NoticeKind.FINISHED, NoticeKind.TEST)] == [
        True,
        False,
        True,
    ]
