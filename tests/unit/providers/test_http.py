from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from pydantic import BaseModel
from structlog.tracebacks import ExceptionDictTransformer

from ftorch.core.clock import ManualClock, SystemClock
from ftorch.core.errors import (
    CredentialsError,
    FtorchError,
    NoCapacityError,
    ProviderError,
    ProviderProtocolError,
    ProviderUnavailableError,
    RateLimitedError,
    RunNotFoundError,
    RunRejectedError,
    SubmitUnknownError,
)
from ftorch.providers.http import Http, default_client
from sample.emulator import KEY as ACME_KEY
from sample.emulator import AcmeEmulator

BASE = "https://api.acme.example/v1"
KEY = "acme-key-nobody-may-see"


class Thing(BaseModel):
    id: str


class SlowedClock(ManualClock):
    """Notes how long it slept, and each time."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        super().sleep(seconds)


@pytest.fixture
def clock() -> SlowedClock:
    return SlowedClock()


@pytest.fixture
def http(clock: SlowedClock) -> Iterator[Http]:
    http = Http("acme", BASE, clock=clock, key=KEY, key_variable="ACME_API_KEY")
    yield http
    http.close()


def route(mock: respx.MockRouter, *answers: Any, method: str = "GET") -> respx.Route:
    """`/things` answers these in order, and the last one again and again."""
    queue = list(answers)

    def answer(_request: httpx.Request) -> httpx.Response:
        one = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(one, Exception):
            raise one
        response: httpx.Response = one
        return httpx.Response(response.status_code, headers=response.headers, content=response.content)

    return mock.route(method=method, url=f"{BASE}/things").mock(side_effect=answer)


def read(http: Http) -> Thing:
    return http.read("/things", Thing, operation="observe")


def create(http: Http, clock: ManualClock, **more: Any) -> Thing:
    values: dict[str, Any] = {"send_before": clock.now() + timedelta(seconds=30), "json": {"tag": "ft-1"}}
    return http.create("/things", Thing, **{**values, **more})


FOUND = httpx.Response(200, json={"id": "a"})


def test_a_read_answers_with_its_model(http: Http, respx_mock: respx.MockRouter) -> None:
    things = route(respx_mock, FOUND)

    assert read(http) == Thing(id="a")

    assert things.calls.last.request.headers["authorization"] == f"Bearer {KEY}"


def test_a_read_may_be_a_post(http: Http, respx_mock: respx.MockRouter) -> None:
    things = route(respx_mock, FOUND, method="POST")

    http.read("/things", Thing, operation="find", method="POST", json={"tags": ["ft-1"]}, params={"limit": 2})

    request = things.calls.last.request
    assert (json.loads(request.content), request.url.query) == ({"tags": ["ft-1"]}, b"limit=2")


def test_our_client_says_who_it_is_and_takes_nothing_from_its_surroundings() -> None:
    with default_client() as client:
        assert client.headers["user-agent"].startswith("ftorch/")
        assert client.trust_env is False
        assert client.follow_redirects is False


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("hung up"),
        httpx.Response(500),
        httpx.Response(503),
        httpx.Response(408),
        httpx.Response(429),
    ],
)
def test_a_read_is_tried_three_times(http: Http, respx_mock: respx.MockRouter, failure: Any) -> None:
    things = route(respx_mock, failure, failure, FOUND)

    assert read(http).id == "a"

    assert things.call_count == 3


def test_a_read_gives_up_after_three_times(http: Http, respx_mock: respx.MockRouter, clock: SlowedClock) -> None:
    things = route(respx_mock, httpx.Response(502, text="bad gateway", headers={"x-request-id": "req-9"}))

    with pytest.raises(ProviderUnavailableError, match="acme answered observe with 502: bad gateway") as caught:
        read(http)

    assert things.call_count == 3
    assert (caught.value.provider, caught.value.operation, caught.value.request_id) == ("acme", "observe", "req-9")
    assert len(clock.slept) == 2


def test_pauses_grow_and_are_drawn_by_chance(http: Http, respx_mock: respx.MockRouter, clock: SlowedClock) -> None:
    route(respx_mock, httpx.Response(500))

    for _ in range(30):
        with pytest.raises(ProviderUnavailableError):
            read(http)

    first, second = clock.slept[::2], clock.slept[1::2]
    assert len(set(clock.slept)) > 50
    assert 0 <= min(first) < 0.25 < max(first) <= 0.5
    assert 0 <= min(second) < 0.5 < max(second) <= 1.0


def test_an_unreachable_provider_is_unavailable(http: Http, respx_mock: respx.MockRouter) -> None:
    route(respx_mock, httpx.ConnectError("connection refused"))

    with pytest.raises(ProviderUnavailableError, match="acme did not answer observe: ConnectError connection refused"):
        read(http)


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Sun, 01 Nov 2026 12:00:03 GMT", 3.0),
        ("Sun, 01 Nov 2026 11:00:00 GMT", 0.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(
    http: Http, respx_mock: respx.MockRouter, clock: SlowedClock, header: str, pause_s: float, status: int
) -> None:
    route(respx_mock, httpx.Response(status, headers={"retry-after": header}), FOUND)

    read(http)

    assert clock.slept == [pause_s]


@pytest.mark.parametrize("header", ["soon", "nan", "inf", "", "1e400"])
def test_a_retry_after_that_nobody_can_read_is_ignored(
    http: Http, respx_mock: respx.MockRouter, clock: SlowedClock, header: str
) -> None:
    route(respx_mock, httpx.Response(429, headers={"retry-after": header}), FOUND)

    read(http)

    assert max(clock.slept) <= 0.5


def test_a_pause_beyond_our_patience_is_left_to_the_caller(
    http: Http, respx_mock: respx.MockRouter, clock: SlowedClock
) -> None:
    things = route(respx_mock, httpx.Response(429, headers={"retry-after": "120", "x-request-id": "req-7"}))

    with pytest.raises(RateLimitedError) as caught:
        read(http)

    assert (things.call_count, clock.slept) == (1, [])
    assert (caught.value.retry_after_s, caught.value.request_id) == (120.0, "req-7")


def test_a_read_lasts_ten_seconds_at_most(http: Http, respx_mock: respx.MockRouter, clock: SlowedClock) -> None:
    things = route(respx_mock, httpx.Response(503, headers={"retry-after": "6"}))

    with pytest.raises(ProviderUnavailableError):
        read(http)

    assert (things.call_count, clock.slept) == (2, [6.0])


def test_a_later_try_may_only_take_the_time_that_is_left(http: Http, respx_mock: respx.MockRouter) -> None:
    things = route(respx_mock, httpx.Response(503, headers={"retry-after": "7"}), FOUND)

    read(http)

    assert [call.request.extensions["timeout"]["read"] for call in things.calls] == [10.0, 3.0]


def test_a_limit_without_a_time_says_a_few_seconds(http: Http, respx_mock: respx.MockRouter) -> None:
    route(respx_mock, httpx.Response(429))

    with pytest.raises(RateLimitedError) as caught:
        read(http)

    assert caught.value.retry_after_s == 5.0


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_its_variable(http: Http, respx_mock: respx.MockRouter, status: int) -> None:
    things = route(respx_mock, httpx.Response(status, json={"error": {"message": f"bad key {KEY}"}}))

    with pytest.raises(CredentialsError, match=r"acme refused the API key at observe: bad key \*\*\*") as caught:
        read(http)

    assert things.call_count == 1
    assert caught.value.hint == "set ACME_API_KEY, then run `ftorch doctor`"


def test_what_is_not_there_is_named(http: Http, respx_mock: respx.MockRouter) -> None:
    things = route(respx_mock, httpx.Response(404))

    with pytest.raises(RunNotFoundError, match="acme has no run 7"):
        http.read("/things", Thing, operation="observe", not_found="run 7")

    assert things.call_count == 1


@pytest.mark.parametrize("status", [302, 307, 400, 404, 422])
def test_a_read_that_is_refused_is_a_protocol_error(http: Http, respx_mock: respx.MockRouter, status: int) -> None:
    things = route(respx_mock, httpx.Response(status, text="no", headers={"location": f"{BASE}/elsewhere"}))

    with pytest.raises(ProviderProtocolError, match=f"acme answered observe with {status}: no"):
        read(http)

    assert things.call_count == 1


@pytest.mark.parametrize("body", ["<html>", '{"id": 7}', "[]", "", '{"no": "id"}'])
def test_an_unreadable_answer_keeps_its_body(http: Http, respx_mock: respx.MockRouter, body: str) -> None:
    things = route(respx_mock, httpx.Response(200, text=body, headers={"x-request-id": "req-3"}))

    with pytest.raises(ProviderProtocolError) as caught:
        read(http)

    assert (things.call_count, caught.value.body, caught.value.request_id) == (1, body, "req-3")


def test_a_long_body_is_cut_and_our_key_is_not_in_it(http: Http, respx_mock: respx.MockRouter) -> None:
    route(respx_mock, httpx.Response(200, text="x" * 3990 + KEY + "y" * 5000))

    with pytest.raises(ProviderProtocolError) as caught:
        read(http)

    assert len(caught.value.body) == 4000
    assert KEY[:8] not in caught.value.body


def test_an_answer_that_cannot_be_unpacked_is_a_protocol_error(http: Http, respx_mock: respx.MockRouter) -> None:
    route(respx_mock, httpx.DecodingError("not gzip"))

    with pytest.raises(ProviderProtocolError):
        read(http)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"code": "x", "message": "too big"}}', "too big"),
        ('{"error": "too big"}', "too big"),
        ('{"message": "too big"}', "too big"),
        ('{"detail": "too big"}', "too big"),
        ('{"detail": ["too", "big"]}', '{"detail": ["too", "big"]}'),
        ("too big", "too big"),
        ("", "Unprocessable Entity"),
    ],
)
def test_the_providers_words_are_found(http: Http, respx_mock: respx.MockRouter, body: str, words: str) -> None:
    route(respx_mock, httpx.Response(422, text=body))

    with pytest.raises(ProviderProtocolError) as caught:
        read(http)

    assert caught.value.message == f"acme answered observe with 422: {words}"


def test_a_change_is_tried_again_like_a_read(http: Http, respx_mock: respx.MockRouter) -> None:
    things = route(respx_mock, httpx.Response(503), httpx.ReadTimeout("slow"), FOUND, method="DELETE")

    http.change("DELETE", "/things", Thing, operation="release")

    assert things.call_count == 3


def test_a_change_that_is_refused_is_rejected(http: Http, respx_mock: respx.MockRouter) -> None:
    route(respx_mock, httpx.Response(422, json={"error": "not your data"}), method="POST")

    with pytest.raises(RunRejectedError, match="not your data"):
        http.change("POST", "/things", Thing, operation="stage")


def test_a_file_is_sent_whole_at_every_try(http: Http, respx_mock: respx.MockRouter, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"0123456789")
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.read())
        return httpx.Response(500) if len(sent) < 3 else FOUND

    respx_mock.put(f"{BASE}/things").mock(side_effect=answer)

    http.change("PUT", "/things", Thing, operation="stage", file=tmp_path / "rows")

    assert sent == [b"0123456789"] * 3


def test_an_empty_answer_counts_as_an_empty_object(http: Http, respx_mock: respx.MockRouter) -> None:
    class Nothing(BaseModel):
        pass

    route(respx_mock, httpx.Response(204), method="DELETE")

    assert http.change("DELETE", "/things", Nothing, operation="release") == Nothing()


def test_a_create_answers_with_its_model(http: Http, respx_mock: respx.MockRouter, clock: SlowedClock) -> None:
    things = route(respx_mock, httpx.Response(201, json={"id": "a"}), method="POST")

    assert create(http, clock).id == "a"

    request = things.calls.last.request
    assert json.loads(request.content) == {"tag": "ft-1"}
    assert request.extensions["timeout"]["read"] == 30.0


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
def test_a_create_that_never_left_is_unavailable(
    http: Http, respx_mock: respx.MockRouter, clock: SlowedClock, failure: type[httpx.TransportError]
) -> None:
    things = route(respx_mock, failure("no connection"), method="POST")

    with pytest.raises(ProviderUnavailableError, match="acme did not answer submit"):
        create(http, clock)

    assert (things.call_count, clock.slept) == (1, [])


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ReadTimeout("slow"),
        httpx.WriteTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.WriteError("broken pipe"),
        httpx.CloseError("closed"),
        httpx.RemoteProtocolError("hung up"),
        httpx.LocalProtocolError("odd"),
        httpx.ProxyError("odd"),
        httpx.DecodingError("not gzip"),
        httpx.Response(500),
        httpx.Response(502),
        httpx.Response(503, headers={"retry-after": "1"}),
        httpx.Response(504),
        httpx.Response(408),
        httpx.Response(409),
        httpx.Response(302, headers={"location": f"{BASE}/things"}),
        httpx.Response(307, headers={"location": f"{BASE}/things"}),
        httpx.Response(308, headers={"location": f"{BASE}/things"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(201, json={"no": "id"}),
        httpx.Response(201),
    ],
    ids=str,
)
def test_a_create_whose_answer_we_cannot_trust_is_unknown(
    http: Http, respx_mock: respx.MockRouter, clock: SlowedClock, failure: Any
) -> None:
    things = route(respx_mock, failure, method="POST")

    with pytest.raises(SubmitUnknownError) as caught:
        create(http, clock)

    assert (things.call_count, clock.slept) == (1, [])
    assert (caught.value.provider, caught.value.operation) == ("acme", "submit")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RunRejectedError),
        (402, RunRejectedError),
        (404, RunRejectedError),
        (422, RunRejectedError),
        (401, CredentialsError),
        (403, CredentialsError),
        (429, RateLimitedError),
    ],
)
def test_a_create_that_was_refused_is_proven_not_to_exist(
    http: Http, respx_mock: respx.MockRouter, clock: SlowedClock, status: int, error: type[FtorchError]
) -> None:
    things = route(respx_mock, httpx.Response(status, text="no", headers={"retry-after": "9"}), method="POST")

    with pytest.raises(error) as caught:
        create(http, clock)

    assert (things.call_count, clock.slept) == (1, [])
    if isinstance(caught.value, RateLimitedError):
        assert caught.value.retry_after_s == 9.0


def test_a_rejected_create_keeps_the_providers_words(
    http: Http, respx_mock: respx.MockRouter, clock: SlowedClock
) -> None:
    refusal = httpx.Response(422, json={"error": {"message": "rank 600 is too much"}}, headers={"x-request-id": "r1"})
    route(respx_mock, refusal, method="POST")

    with pytest.raises(RunRejectedError, match="acme refused submit: rank 600 is too much") as caught:
        create(http, clock)

    assert caught.value.request_id == "r1"


@pytest.mark.parametrize(
    ("code", "error"), [("sold_out", NoCapacityError), ("too_many", RateLimitedError), ("other", SubmitUnknownError)]
)
def test_the_providers_own_codes_come_first(
    http: Http, respx_mock: respx.MockRouter, clock: SlowedClock, code: str, error: type[ProviderError]
) -> None:
    route(respx_mock, httpx.Response(503, json={"error": {"code": code, "message": "no"}}), method="POST")

    with pytest.raises(error):
        create(http, clock, rejected={"sold_out": NoCapacityError, "too_many": RateLimitedError})


def test_a_client_that_follows_redirects_does_not_make_us_do_so(
    respx_mock: respx.MockRouter, clock: SlowedClock
) -> None:
    http = Http("acme", BASE, clock=clock, client=httpx.Client(follow_redirects=True))
    things = route(respx_mock, httpx.Response(307, headers={"location": f"{BASE}/things"}), method="POST")

    with pytest.raises(SubmitUnknownError):
        create(http, clock)

    assert things.call_count == 1
    http.close()


def test_after_its_time_nothing_is_sent(http: Http, respx_mock: respx.MockRouter, clock: SlowedClock) -> None:
    things = route(respx_mock, FOUND, method="POST")

    with pytest.raises(ProviderUnavailableError, match="nothing was sent"):
        create(http, clock, send_before=clock.now() - timedelta(microseconds=1))

    assert things.call_count == 0


class RunningOutClock(ManualClock):
    """Every look at it takes twenty seconds."""

    def now(self) -> datetime:
        self.advance(20)
        return super().now()


def test_time_that_runs_out_while_connecting_stops_the_write() -> None:
    clock = RunningOutClock()
    with AcmeEmulator(ManualClock()) as emulator:
        http = Http("acme", emulator.url, clock=clock, key=ACME_KEY)

        with pytest.raises(ProviderUnavailableError, match="nothing was sent"):
            http.create("/runs", Thing, send_before=clock.now() + timedelta(seconds=30), json={})

        assert emulator.requests.total() == 0
        http.close()


def test_an_error_repeats_neither_key_nor_hidden_values(
    http: Http, respx_mock: respx.MockRouter, clock: SlowedClock
) -> None:
    route(respx_mock, httpx.Response(422, text=f"key {KEY} and token hf-77 and 'nothing'"), method="POST")

    with pytest.raises(RunRejectedError) as caught:
        create(http, clock, hidden=["hf-77", ""])

    assert caught.value.message == "acme refused submit: key *** and token *** and 'nothing'"


@pytest.mark.parametrize("answer", [httpx.Response(422), httpx.Response(200, text="<html>"), httpx.ReadError("cut")])
@pytest.mark.parametrize("call", [lambda http, _clock: read(http), create])
def test_a_traceback_with_all_its_variables_shows_no_secret(
    http: Http,
    respx_mock: respx.MockRouter,
    clock: SlowedClock,
    answer: Any,
    call: Callable[[Http, ManualClock], object],
) -> None:
    route(respx_mock, answer)
    route(respx_mock, answer, method="POST")

    with pytest.raises(FtorchError) as caught:
        call(http, clock)

    told = ExceptionDictTransformer(show_locals=True, locals_max_string=10_000)((caught.type, caught.value, caught.tb))
    ours = [frame for one in told for frame in one["frames"] if "ftorch" in frame["filename"]]
    assert ours
    assert KEY not in json.dumps(ours)


@pytest.mark.parametrize("key", ["key\n", "kéy", "key\x00"])
def test_a_key_that_cannot_be_sent_is_refused_at_once(clock: SlowedClock, key: str) -> None:
    with pytest.raises(CredentialsError, match="ACME_API_KEY holds characters") as caught:
        Http("acme", BASE, clock=clock, key=key, key_variable="ACME_API_KEY")

    assert key not in str(caught.value)


@pytest.mark.parametrize("address", ["api.acme.example", "ftp://acme", "http://", "http://api:port", ""])
def test_an_address_that_is_none_is_refused_at_once(clock: SlowedClock, address: str) -> None:
    with pytest.raises(CredentialsError, match="is no address of acme"):
        Http("acme", address, clock=clock)


def test_without_a_key_none_is_sent(respx_mock: respx.MockRouter, clock: SlowedClock) -> None:
    things = route(respx_mock, FOUND)
    http = Http("ray", BASE, clock=clock)

    read(http)

    assert "authorization" not in things.calls.last.request.headers
    http.close()
    http.close()


class Tail(httpx.SyncByteStream):
    """A body that breaks off."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise httpx.ReadError("cut")


def download(http: Http, part: Path) -> None:
    http.download("/things", part, not_found="file x")


def test_a_download_that_was_cut_goes_on(http: Http, respx_mock: respx.MockRouter, tmp_path: Path) -> None:
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("range"))
        first = int(asked[-1].removeprefix("bytes=").removesuffix("-")) if asked[-1] else 0
        status = 206 if first else 200
        return httpx.Response(status, stream=Tail(b"x")) if first < 6 else httpx.Response(status, content=b"end")

    respx_mock.get(f"{BASE}/things").mock(side_effect=answer)

    download(http, tmp_path / "part")

    assert (tmp_path / "part").read_bytes() == b"xxxxxxend"
    assert asked == [None, *(f"bytes={n}-" for n in range(1, 7))]


def test_a_download_without_progress_is_given_up(http: Http, respx_mock: respx.MockRouter, tmp_path: Path) -> None:
    things = route(respx_mock, httpx.Response(503))

    with pytest.raises(ProviderUnavailableError):
        download(http, tmp_path / "part")

    assert things.call_count == 3
    assert not (tmp_path / "part").exists()


def test_a_service_that_sends_the_whole_again_starts_the_file_again(
    http: Http, respx_mock: respx.MockRouter, tmp_path: Path
) -> None:
    (tmp_path / "part").write_bytes(b"half")
    route(respx_mock, httpx.Response(200, content=b"whole"))

    download(http, tmp_path / "part")

    assert (tmp_path / "part").read_bytes() == b"whole"


def test_a_download_that_is_there_already_is_left_alone(
    http: Http, respx_mock: respx.MockRouter, tmp_path: Path
) -> None:
    (tmp_path / "part").write_bytes(b"whole")
    things = route(respx_mock, httpx.Response(416))

    download(http, tmp_path / "part")

    assert things.call_count == 1
    assert (tmp_path / "part").read_bytes() == b"whole"


def test_a_download_of_nothing_is_not_found(http: Http, respx_mock: respx.MockRouter, tmp_path: Path) -> None:
    route(respx_mock, httpx.Response(404))

    with pytest.raises(RunNotFoundError, match="acme has no file x"):
        download(http, tmp_path / "part")


def test_a_download_asks_for_bytes_as_they_are(http: Http, respx_mock: respx.MockRouter, tmp_path: Path) -> None:
    things = route(respx_mock, httpx.Response(200, content=b"whole"))

    download(http, tmp_path / "part")

    assert things.calls.last.request.headers["accept-encoding"] == "identity"


def test_a_download_whose_part_is_no_beginning_of_the_file_starts_again(
    http: Http, respx_mock: respx.MockRouter, tmp_path: Path
) -> None:
    (tmp_path / "part").write_bytes(b"of another file")
    gone = httpx.Response(416, headers={"content-range": "bytes */5"})
    route(respx_mock, gone, httpx.Response(200, content=b"whole"))

    download(http, tmp_path / "part")

    assert (tmp_path / "part").read_bytes() == b"whole"


def test_bytes_from_another_place_of_the_file_are_not_appended(
    http: Http, respx_mock: respx.MockRouter, tmp_path: Path
) -> None:
    (tmp_path / "part").write_bytes(b"wh")
    wrong = httpx.Response(206, headers={"content-range": "bytes 4-4/5"}, content=b"e")
    route(respx_mock, wrong, httpx.Response(200, content=b"whole"))

    download(http, tmp_path / "part")

    assert (tmp_path / "part").read_bytes() == b"whole"


STORE = "https://store.example/a?signature=x"


def test_a_download_from_elsewhere_leaves_our_key_behind(
    http: Http, respx_mock: respx.MockRouter, tmp_path: Path
) -> None:
    (tmp_path / "part").write_bytes(b"wh")
    things = route(respx_mock, httpx.Response(302, headers={"location": STORE}))
    ole = {"content-range": "bytes 2-4/5"}
    store = respx_mock.get(STORE).mock(return_value=httpx.Response(206, headers=ole, content=b"ole"))

    http.download("/things", tmp_path / "part", params={"of": "a"}, is_elsewhere=True)

    assert (tmp_path / "part").read_bytes() == b"whole"
    assert things.calls.last.request.headers["authorization"] == f"Bearer {KEY}"
    asked = store.calls.last.request.headers
    assert ("authorization" in asked, asked["range"], asked["accept-encoding"]) == (False, "bytes=2-", "identity")


@pytest.mark.parametrize("location", ["http://store.example/a", f"{BASE}/things", "https://store:port/", ""])
def test_a_redirect_that_leads_out_of_tls_or_nowhere_is_not_a_file(
    http: Http, respx_mock: respx.MockRouter, tmp_path: Path, location: str
) -> None:
    route(respx_mock, httpx.Response(302, headers={"location": location} if location else {}))

    with pytest.raises(ProviderError):
        http.download("/things", tmp_path / "part", is_elsewhere=True)

    assert not (tmp_path / "part").exists()


def test_a_download_is_not_followed_unless_it_may_be(http: Http, respx_mock: respx.MockRouter, tmp_path: Path) -> None:
    route(respx_mock, httpx.Response(302, headers={"location": STORE}))

    with pytest.raises(ProviderProtocolError, match="answered fetch with 302"):
        download(http, tmp_path / "part")


@pytest.mark.parametrize("call", [lambda http, _clock: read(http), create])
def test_an_account_without_money_is_told_so(
    http: Http, respx_mock: respx.MockRouter, clock: SlowedClock, call: Callable[[Http, ManualClock], object]
) -> None:
    for method in ("GET", "POST"):
        route(respx_mock, httpx.Response(402, json={"error": {"message": "no credit"}}), method=method)

    with pytest.raises(RunRejectedError, match=r"wants money before .*: no credit") as caught:
        call(http, clock)

    assert "add credit" in (caught.value.hint or "")


class Stingy:
    """A peer that takes a connection and then says little: nothing, or a byte of its answer now and then."""

    def __init__(self, head: bytes = b"", pause_s: float = 0.0) -> None:
        self._head, self._pause_s = head, pause_s
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self.taken = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._over.set()
        self._socket.close()

    def _serve(self) -> None:
        peers = []
        with suppress(OSError):
            while True:
                peers.append(self._socket.accept()[0])
                self.taken += 1
                threading.Thread(target=self._drip, args=(peers[-1],), daemon=True).start()

    def _drip(self, peer: socket.socket) -> None:
        with suppress(OSError):
            peer.sendall(self._head)
            while self._head and not self._over.wait(self._pause_s):
                peer.sendall(b" ")


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.fixture(params=["half open", "trickling"])
def stingy(request: pytest.FixtureRequest) -> Iterator[Stingy]:
    peer = Stingy() if request.param == "half open" else Stingy(_HEAD, pause_s=0.05)
    yield peer
    peer.close()


def stingily(peer: Stingy) -> Http:
    return Http("acme", peer.url, clock=SystemClock(), timeout_s=0.2, create_timeout_s=0.2)


def test_a_read_from_a_connection_that_says_nothing_or_trickles_is_given_up(stingy: Stingy) -> None:
    http = stingily(stingy)
    began_s = SystemClock().boot_s()

    with pytest.raises(ProviderUnavailableError, match="did not answer list"):
        http.read("/things", Thing, operation="list")

    assert SystemClock().boot_s() - began_s < 10
    assert stingy.taken >= 1
    http.close()


def test_a_create_on_a_connection_that_says_nothing_or_trickles_is_unknown(stingy: Stingy) -> None:
    http, clock = stingily(stingy), SystemClock()

    with pytest.raises(SubmitUnknownError):
        http.create("/things", Thing, send_before=clock.now() + timedelta(seconds=30), json={})

    assert stingy.taken == 1
    http.close()


def test_a_small_file_is_read_as_it_is(http: Http, respx_mock: respx.MockRouter) -> None:
    route(respx_mock, httpx.Response(200, content=b"\x00\xff"))

    assert http.content("/things", operation="observe") == b"\x00\xff"


def test_a_service_may_say_in_words_that_a_file_is_not_there(http: Http, respx_mock: respx.MockRouter) -> None:
    things = route(respx_mock, httpx.Response(500, text="A file is not found at: /logs/x"))

    with pytest.raises(RunNotFoundError, match="no file x"):
        http.content("/things", operation="fetch", not_found="file x", not_found_words=("A file is not found",))

    assert things.call_count == 1


def test_an_upload_may_take_longer_than_a_question(
    http: Http, respx_mock: respx.MockRouter, clock: SlowedClock, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"x")

    def slow(_request: httpx.Request) -> httpx.Response:
        clock.advance(300)
        return FOUND

    respx_mock.put(f"{BASE}/things").mock(side_effect=slow)

    assert http.change("PUT", "/things", Thing, operation="stage", file=tmp_path / "file") == Thing(id="a")
