from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import time
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from media.errors import AgentBusy, AgentError, AgentRefused, AgentUnreachable
from media.ultravox import rest as module
from media.ultravox.rest import AgentCallSpec, CallSummary, UltravoxApi

KEY = "abcd1234.0123456789abcdef0123456789abcdef"
JOIN_URL = "wss://voice.ultravox.example/calls/s3cret"
CREATED = {"callId": "c-1", "joinUrl": JOIN_URL, "ended": None}
SPEC = AgentCallSpec(system_prompt="Be kind.", sample_rate_hz=8000, max_duration_s=300, join_timeout_s=90.5)


class Service:
    """Answers one after the other, the last one for ever; keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.asked = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.asked.set()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content))


def api_of(service: Service, **options: Any) -> UltravoxApi:
    client = httpx.AsyncClient(transport=httpx.MockTransport(service))
    return UltravoxApi("https://api.ultravox.example/", KEY, client=client, **options)


def created(status: int = 201, body: object = CREATED) -> httpx.Response:
    return httpx.Response(status, json=body)


def busy(status: int = 429, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def failure_of(service: Service, **options: Any) -> AgentError:
    """What creating a call raises once the caller has given up; it never shows the key or the join URL."""
    gave_up = asyncio.Event()
    gave_up.set()
    with pytest.raises(AgentError) as caught:
        await api_of(service, **options).create_call(SPEC, gave_up=gave_up)
    assert caught.value.__context__ is None
    shown = repr(caught.value) + "".join(traceback.format_exception(caught.value))
    assert KEY not in shown
    assert JOIN_URL not in shown
    return caught.value


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "_RECONNECT_PAUSE_S", 0.001)


# -- what is asked -----------------------------------------------------------------------------------------------------


async def test_call_is_created_with_the_key_and_the_whole_body(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service = Service(created())
    call = await api_of(service).create_call(SPEC, gave_up=asyncio.Event())
    (request,) = service.requests
    assert (request.method, str(request.url)) == ("POST", "https://api.ultravox.example/api/calls")
    assert request.headers["X-API-Key"] == KEY
    assert request.headers["Content-Type"] == "application/json"
    assert (call.call_id, call.join_url) == ("c-1", JOIN_URL)
    assert JOIN_URL not in repr(call)
    assert JOIN_URL not in caplog.text
    assert KEY not in caplog.text
    assert json.loads(request.content) == {
        "systemPrompt": "Be kind.",
        "firstSpeakerSettings": {"agent": {}},
        "selectedTools": [{"toolName": "hangUp"}],
        "maxDuration": "300s",
        "joinTimeout": "90.5s",
        "medium": {
            "serverWebSocket": {
                "inputSampleRate": 8000,
                "outputSampleRate": 8000,
                "clientBufferSizeMs": 30000,
                "mediaIdleTimeout": "30s",
            }
        },
        "metadata": {},
    }


def test_optional_settings_are_sent_when_given_and_the_first_speaker_in_one_field_only() -> None:
    body = AgentCallSpec(
        system_prompt="",
        sample_rate_hz=16000,
        max_duration_s=0.25,
        join_timeout_s=86400,
        model="m",
        voice="Mark",
        temperature=0.0,
        first_speaker="user",
        metadata={"a": "b"},
    ).body()
    assert (body["model"], body["voice"], body["temperature"], body["metadata"]) == ("m", "Mark", 0.0, {"a": "b"})
    assert (body["maxDuration"], body["joinTimeout"]) == ("0.25s", "86400s")
    assert body["firstSpeakerSettings"] == {"user": {}}
    assert "firstSpeaker" not in body


def test_tools_are_sent_intact_and_a_clients_hang_up_takes_the_place_of_ultravoxs() -> None:
    tool = {"modelToolName": "hangUp", "description": "d", "http": {"httpMethod": "POST"}, "later": [1]}
    body = AgentCallSpec(
        system_prompt="", sample_rate_hz=8000, max_duration_s=1, join_timeout_s=1, tools=({"modelToolName": "a"}, tool)
    ).body()
    assert body["selectedTools"] == [{"temporaryTool": {"modelToolName": "a"}}, {"temporaryTool": tool}]


async def test_prompt_with_half_a_surrogate_pair_is_sent_as_json() -> None:
    service = Service(created())
    spec = AgentCallSpec(system_prompt="a\ud800", sample_rate_hz=8000, max_duration_s=1, join_timeout_s=1)
    await api_of(service).create_call(spec, gave_up=asyncio.Event())
    assert json.loads(service.requests[0].content)["systemPrompt"] == "a\ud800"


@pytest.mark.parametrize(
    ("answer", "summary"),
    [
        ({"ended": None, "endReason": None}, CallSummary(call_id="c/1", ended=False, end_reason=None)),
        (
            {"ended": "2026-07-02T09:00:00Z", "endReason": "hangup"},
            CallSummary(call_id="c/1", ended=True, end_reason="hangup"),
        ),
        ({}, CallSummary(call_id="c/1", ended=False, end_reason=None)),
    ],
)
async def test_call_is_looked_up(answer: dict[str, object], summary: CallSummary) -> None:
    service = Service(httpx.Response(200, json=answer))
    api = api_of(service)
    assert await api.get_call("c/1") == summary
    assert service.requests[0].url.raw_path == b"/api/calls/c%2F1"
    await api.aclose()


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (400, {"detail": "Voice X does not  exist."}, "It says: Voice X does not exist."),
        (
            400,
            {"temperature": ["Too hot.", "Really."], "voice": "?"},
            "It says: temperature: Too hot. Really.; voice: ?",
        ),
        (400, ["odd"], "refused the request (HTTP 400)."),
        (401, {"detail": f"Invalid key {KEY}"}, "Check ultravox.api_key. It says: Invalid key ***"),
        (402, {}, "allowance is used up"),
        (403, {}, "may not do this"),
        (404, {}, "Check ultravox.base_url"),
        (422, {"detail": "no"}, "(HTTP 422). It says: no"),
    ],
)
async def test_refusal_says_what_to_do_and_is_not_tried_again(status: int, body: object, sentence: str) -> None:
    service = Service(created(status, body))
    error = await failure_of(service)
    assert isinstance(error, AgentRefused)
    assert error.status == status
    assert sentence in str(error)
    assert len(service.requests) == 1


async def test_long_detail_is_cut() -> None:
    assert len(str(await failure_of(Service(created(400, {"detail": "x" * 10_000}))))) < 400


@pytest.mark.parametrize("key", ["line\nbreak", " blank "])
async def test_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    async with asyncio.timeout(30):
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        api = UltravoxApi(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", key)
        with pytest.raises(AgentRefused, match=r"ultravox\.api_key") as caught:
            await api.get_call("c")
        await api.aclose()
        server.close()
    assert key not in "".join(traceback.format_exception(caught.value))


# -- no room -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("status", [429, 503])
async def test_busy_service_is_asked_again_until_it_has_room(status: int) -> None:
    service = Service(busy(status, Retry_After="0"), busy(status), created())
    api, told = api_of(service), list[float]()
    api.on_busy = told.append
    call = await api.create_call(SPEC, gave_up=asyncio.Event())
    assert call.call_id == "c-1"
    assert len(service.requests) == 3
    assert len(told) == 2


async def test_giving_up_ends_the_wait_at_once() -> None:
    service = Service(busy(Retry_After="3600"))
    gave_up = asyncio.Event()
    creating = asyncio.create_task(api_of(service).create_call(SPEC, gave_up=gave_up))
    async with asyncio.timeout(30):
        await service.asked.wait()
        gave_up.set()
        with pytest.raises(AgentBusy):
            await creating
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7.0, 7.0),
        (lambda: email.utils.formatdate(time.time() + 600, usegmt=True), 500.0, 600.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0, 0.0),
        ("9" * 400, 3600.0, 3600.0),
    ],
    ids=["seconds", "date", "past date", "absurd"],
)
async def test_retry_after_is_told_in_seconds(header: str | Callable[[], str], low: float, high: float) -> None:
    error = await failure_of(Service(busy(Retry_After=header if isinstance(header, str) else header())))
    assert isinstance(error, AgentBusy)
    assert error.retry_after_s is not None
    assert low <= error.retry_after_s <= high


@pytest.mark.parametrize("header", ["", "soon", "-1", "1.5", "²"])
async def test_retry_after_that_makes_no_sense_is_none(header: str) -> None:
    answer = httpx.Response(503, headers=[(b"Retry-After", header.encode())])
    error = await failure_of(Service(answer))
    assert isinstance(error, AgentBusy)
    assert error.retry_after_s is None


# -- no answer ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
async def test_failed_connection_is_tried_once_more() -> None:
    service = Service(httpx.ConnectError("refused"), created())
    assert (await api_of(service).create_call(SPEC, gave_up=asyncio.Event())).call_id == "c-1"
    service = Service(httpx.ConnectError("Connection refused"))
    error = await failure_of(service)
    assert isinstance(error, AgentUnreachable)
    assert "could not be reached (Connection refused). Check ultravox.base_url" in str(error)
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ReadTimeout(""),
        httpx.ReadError(""),
        httpx.RemoteProtocolError("Server disconnected"),
        httpx.Response(500, text="<html>"),
        httpx.Response(502),
        httpx.Response(302, headers={"Location": "https://elsewhere.example"}),
        httpx.Response(201, text="<html>"),
        httpx.Response(201, json=[CREATED]),
        httpx.Response(201, text="[" * 100_000),
        httpx.Response(201, json={"callId": "c-1"}),
        httpx.Response(201, json={"callId": "", "joinUrl": JOIN_URL}),
        httpx.Response(201, content=b"x" * (5 * 2**20)),
    ],
)
async def test_call_that_may_exist_is_not_created_again(answer: httpx.Response | Exception) -> None:
    service = Service(answer)
    error = await failure_of(service)
    assert isinstance(error, AgentUnreachable)
    assert "Check ultravox.base_url" in str(error)
    assert len(service.requests) == 1


async def test_answer_that_never_ends_is_left_in_time() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing() and not reader.at_eof():
            writer.write(b"1\r\n \r\n")
            await asyncio.sleep(0.01)
        writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    api = UltravoxApi(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", KEY, connect_s=0.1, read_s=0.1)
    with pytest.raises(AgentUnreachable, match="in time"):
        await api.get_call("c")
    await api.aclose()
    server.close()
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_key_is_not_given_to_a_proxy_of_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = {"proxy": b"", "service": b""}

    async def serve(who: str) -> asyncio.Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard[who] += await reader.readuntil(b"\r\n\r\n")
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"ended": true}')
            writer.close()

        return await asyncio.start_server(answer, "127.0.0.1", 0)

    proxy, service = await serve("proxy"), await serve("service")
    async with proxy, service:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        for other in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(other, raising=False)
        api = UltravoxApi(f"http://127.0.0.1:{service.sockets[0].getsockname()[1]}", KEY)
        assert (await api.get_call("c")).ended
        await api.aclose()
    assert heard["proxy"] == b""
    assert KEY.encode() in heard["service"]
