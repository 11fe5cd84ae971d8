"""The local API: real HTTP over a real Unix socket."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest

from teddy_edge.errors import (
    CommandRejected,
    LogClosed,
    LogOverloaded,
    LogPoisoned,
    ReadModelError,
    RecordTooLarge,
    WireError,
)
from teddy_edge.inputs.exposition import exposition
from teddy_edge.local_client import Reply, RequestRefused, UnixConnection
from teddy_edge.messages import ErrorDetail, Origin
from tests.inputs.served import FakePins, Served, serving
from tests.mqtt_link.linking import until

ID = "0192f0c1-2a3b-7c4d-8e5f-001122334455"
Given = TypeVar("Given")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(Served(tmp_path, FakePins())) as served:
        yield served


async def away(call: Callable[..., Given], *arguments: Any) -> Given:
    """Call the blocking client on another thread."""
    return await asyncio.wait_for(asyncio.to_thread(call, *arguments), 60)


def raw(served: Served, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
    connection = UnixConnection(served.client.path, 60)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


async def test_a_command_with_nothing_but_data_is_filled_in(served: Served) -> None:
    reply = await away(served.client.command, "mute", {"data": {"on": True}})
    [(envelope, origin)] = served.commands.executed
    assert origin is Origin.SOCKET
    assert (envelope.name, envelope.data) == ("mute", {"on": True})
    assert (envelope.actor.id, envelope.actor.role) == ("local", "device")
    assert envelope.issued_at.timestamp() == served.clock.wall_ns() / 1e9
    assert envelope.id.int >> 76 & 0xF == 7, "a UUIDv7"
    assert reply.status == 200
    assert reply.body["command_id"] == str(envelope.id)
    assert reply.body["status"] == "done"


async def test_a_command_keeps_what_its_sender_said(served: Served) -> None:
    body = {
        "id": ID,
        "actor": {"id": "parent-1", "role": "parent"},
        "correlation_id": "c-1",
        "issued_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
        "aud": "bear-001",
    }
    reply = await away(served.client.command, "mute", body)
    [(envelope, _)] = served.commands.executed
    assert envelope.id == UUID(ID)
    assert envelope.actor.role == "parent"
    assert envelope.expires_at is not None
    assert reply.body["correlation_id"] == "c-1"


@pytest.mark.parametrize(("status", "code"), [("rejected", 422), ("expired", 410)])
async def test_the_status_line_tells_how_a_command_ended(
    served: Served, status: Any, code: int
) -> None:
    served.commands.status = status
    reply = await away(served.client.command, "mute", {})
    assert reply.status == code
    assert reply.body["error"]["code"] == "no"


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"{", "malformed", None),
        (b"\xc1", "malformed", None),
        (b"[]", "malformed", None),
        (b'{"name": "other"}', "name_mismatch", "name"),
        (b'{"aud": "bear-002"}', "wrong_bear", "aud"),
        (b'{"id": ""}', "invalid", "id"),
        (b'{"data": 5}', "invalid", "data"),
        (b'{"data": {}, "data": {}}', "repeated_key", "data"),
        (b'{"data": [[[[[]]]]]}', "too_deep", None),
        (b" " * 1025, "payload_too_large", None),
        (b"x" * 3_000_000, "payload_too_large", None),
    ],
)
async def test_bad_input_is_recorded_as_refused_and_answered(
    served: Served, body: bytes, code: str, field: str | None
) -> None:
    status, answer = await away(raw, served, "POST", "/commands/mute", body)
    assert status == 422
    [refusal] = served.commands.refused
    assert (refusal.rejection.code, refusal.rejection.field) == (code, field)
    assert (refusal.origin, refusal.name) == (Origin.SOCKET, "mute")
    assert f'"seq":{1001}'.encode() in answer.replace(b" ", b"")


async def test_a_refusal_keeps_the_id_that_could_be_read(served: Served) -> None:
    reply = await away(served.client.command, "mute", {"id": ID, "colour": "red"})
    assert reply.body["command_id"] == ID
    assert "actor, aud, correlation_id, data" in reply.body["error"]["message"]
    assert "colour" not in str(reply.body)


async def test_a_name_that_is_none_is_refused(served: Served) -> None:
    reply = await away(served.client.command, "Mute the bear!", {})
    assert reply.status == 422
    assert served.commands.refused[0].name is None


async def test_a_query_is_answered(served: Served) -> None:
    reply = await away(served.client.query, "get_bear_state", {"data": {"a": 1}})
    assert (reply.status, reply.body["data"], reply.body["seq"]) == (200, {"a": 1}, 7)
    [(envelope, origin)] = served.queries.asked
    assert reply.body["query_id"] == str(envelope.id)
    assert origin is Origin.SOCKET


async def test_a_refused_query_says_so(served: Served) -> None:
    served.queries.error = ErrorDetail(code="unknown_child", message="no such child")
    reply = await away(served.client.query, "get_child_profile", {})
    assert (reply.status, reply.body["error"]["code"]) == (422, "unknown_child")


async def test_a_query_that_cannot_be_read_is_answered_and_not_recorded(served: Served) -> None:
    reply = await away(served.client.query, "get_bear_state", {"aud": "bear-002"})
    assert (reply.status, reply.body["error"]["code"]) == (422, "wrong_bear")
    assert served.commands.refused == []
    assert served.queries.asked == []


async def test_a_simulated_button_can_be_pressed(served: Served) -> None:
    reply = await away(served.client.press, "belly")
    assert reply == Reply(200, {"button": "belly", "seq": 12})


async def test_an_unknown_button_is_not_found_and_the_known_ones_are_listed(
    served: Served,
) -> None:
    reply = await away(served.client.press, "nose")
    assert reply.status == 404
    assert "belly" in reply.body["error"]["message"]


@pytest.mark.parametrize(("code", "status"), [("bounced", 409), ("muted", 422)])
async def test_a_press_that_does_not_count_says_why(tmp_path: Path, code: str, status: int) -> None:
    pins = FakePins()
    pins.rejection = CommandRejected(code, "no")
    async with serving(Served(tmp_path, pins)) as served:
        reply = await away(served.client.press, "belly")
    assert (reply.status, reply.body["error"]["code"]) == (status, code)


async def test_real_pins_cannot_be_pressed(tmp_path: Path) -> None:
    async with serving(Served(tmp_path)) as served:
        reply = await away(served.client.press, "belly")
    assert (reply.status, reply.body["error"]["code"]) == (409, "not_simulated")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LogOverloaded(5, 1.0), "overloaded"),
        (LogPoisoned("fsync", Path("log"), OSError(5, "broken")), "log_failed"),
        (LogClosed(Path("log")), "log_failed"),
        (ReadModelError(Path("rows"), "a row that is not ours"), "read_models_failed"),
    ],
)
async def test_a_part_that_cannot_work_is_a_clear_503(
    served: Served, error: Any, code: str
) -> None:
    served.commands.error = error
    reply = await away(served.client.command, "mute", {})
    assert (reply.status, reply.body["error"]["code"]) == (503, code)


@pytest.mark.parametrize(
    ("error", "code"), [(RecordTooLarge(9, 8), "record_too_large"), (WireError("no"), "failed")]
)
async def test_what_would_fail_again_is_a_clear_500(served: Served, error: Any, code: str) -> None:
    served.commands.error = error
    reply = await away(served.client.command, "mute", {})
    assert (reply.status, reply.body["error"]["code"]) == (500, code)


async def test_a_defect_is_a_json_error_that_tells_nothing(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.commands.error = ZeroDivisionError("EMMASECRET")
    reply = await away(served.client.command, "mute", {})
    assert (reply.status, reply.body["error"]["code"]) == (500, "defect")
    assert "EMMASECRET" not in str(reply.body)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/nowhere", 404, b"not_found"),
        ("GET", "/commands/mute", 405, b"method_not_allowed"),
        ("GET", "/events?from=0", 422, b"invalid"),
        ("GET", "/events?from=-1", 422, b"invalid"),
        ("GET", "/events?from=abc", 422, b"invalid"),
        ("GET", "/events?from=99999999999999999999999", 422, b"invalid"),
    ],
)
async def test_a_wrong_request_is_answered_with_a_json_error(
    served: Served, method: str, target: str, status: int, code: bytes
) -> None:
    answered, body = await away(raw, served, method, target)
    assert answered == status
    assert b'"' + code + b'"' in body


async def test_status_and_health_answer(served: Served) -> None:
    assert (await away(served.client.status)).body["bear"] == "bear-001"
    status, body = await away(raw, served, "GET", "/health")
    assert (status, json.loads(body)) == (200, {"status": "ok", **served.view.measured})


async def test_metrics_are_plain_text(served: Served) -> None:
    status, body = await away(raw, served, "GET", "/metrics")
    assert status == 200
    assert body.decode() == exposition(served.view.measured)


async def test_a_rebuild_begins_once(served: Served) -> None:
    begun = await away(served.client.rebuild)
    assert (begun.status, begun.body) == (200, served.view.rebuild)
    again = await away(served.client.rebuild)
    assert (again.status, again.body["error"]["code"]) == (409, "rebuild_running")


def take(events: Iterator[dict[str, Any]], count: int) -> list[int]:
    return [next(events)["seq"] for _ in range(count)]


async def test_events_come_from_the_number_asked_for_and_then_live(served: Served) -> None:
    served.view.tell(3)
    events = served.client.events(2)
    assert await away(take, events, 2) == [2, 3]
    live = asyncio.create_task(away(take, events, 1))
    await asyncio.sleep(0)
    served.view.tell(1)
    assert await live == [4]
    await away(events.close)  # type: ignore[attr-defined]


async def test_an_event_with_a_line_break_in_it_stays_one(served: Served) -> None:
    served.view.tell(1, padding="one\ndata: {}\n\n\r\u2028two")
    events = served.client.events(1)
    assert (await away(next, events))["text"] == "one\ndata: {}\n\n\r\u2028two"
    await away(events.close)  # type: ignore[attr-defined]


async def test_listeners_are_limited_and_a_place_is_free_again_when_one_leaves(
    served: Served,
) -> None:
    served.view.tell(1)
    first, second, third = (served.client.events(1) for _ in range(3))
    await away(next, first)
    await away(next, second)
    with pytest.raises(RequestRefused) as caught:
        await away(next, third)
    assert caught.value.reply.status == 503
    assert caught.value.reply.body["error"]["code"] == "too_many_listeners"
    await away(first.close)  # type: ignore[attr-defined]
    await until(lambda: served.api._listeners == 1)
    fourth = served.client.events(1)
    assert (await away(next, fourth))["seq"] == 1
    for events in (second, fourth):
        await away(events.close)  # type: ignore[attr-defined]


async def test_a_listener_that_does_not_read_holds_back_only_its_own_stream(
    served: Served,
) -> None:
    served.view.tell(2000, padding="x" * 10_000)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.connect(str(served.client.path))
        listener.sendall(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await until(lambda: served.view.given > 10)
        before = 0
        while served.view.given != before:  # until its buffers are full
            before = served.view.given
            assert (await away(served.client.status)).ok
        for _ in range(5):
            assert (await away(served.client.status)).ok
        assert served.view.given == before < 200


async def test_too_many_connections_get_an_answer_and_no_place(served: Served) -> None:
    with ExitStack() as stack:
        for _ in range(6):
            idle = stack.enter_context(socket.socket(socket.AF_UNIX))
            idle.connect(str(served.client.path))
        reply = await away(served.client.status)
    assert (reply.status, reply.body["error"]["code"]) == (503, "too_many_connections")
    while not (await away(served.client.status)).ok:
        pass  # until the places are free again


async def test_who_leaves_in_the_middle_of_a_request_harms_nobody(served: Served) -> None:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(served.client.path))
        caller.sendall(b"POST /commands/mute HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
    assert (await away(served.client.status)).ok
    assert served.commands.refused == []


HALF_A_HEAD = b"GET /status HTTP/1.1\r\nhost: x\r\n"
HALF_A_BODY = b"POST /commands/mute HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{"
WHOLE_COMMAND = HALF_A_BODY[:-1].replace(b"10", b"2") + b"{}"
WHOLE = b"GET /status HTTP/1.1\r\nhost: x\r\n\r\n"


def read_to_the_end(caller: socket.socket) -> bytes:
    caller.settimeout(60)
    answer = b""
    while piece := caller.recv(65536):
        answer += piece
    return answer


def connected(stack: ExitStack, served: Served) -> socket.socket:
    caller = stack.enter_context(socket.socket(socket.AF_UNIX))
    caller.connect(str(served.client.path))
    return caller


@pytest.mark.parametrize(
    ("before", "sent"),
    [(b"", b""), (b"", HALF_A_HEAD), (b"", HALF_A_BODY), (WHOLE, HALF_A_HEAD)],
)
async def test_a_request_that_does_not_come_to_its_end_is_answered_and_cut_off(
    tmp_path: Path, before: bytes, sent: bytes
) -> None:
    """Also the second one on a connection."""
    async with serving(Served(tmp_path, request_timeout_s=0.2)) as served:
        with ExitStack() as stack:
            caller = connected(stack, served)
            if before:
                caller.sendall(before)
                assert b"HTTP/1.1 200" in await away(caller.recv, 65536)
            with suppress(BrokenPipeError):  # already cut off, on a machine that stood still
                caller.sendall(sent)
            answer = await away(read_to_the_end, caller)
    assert b'{"error": {"code": "request_timeout"' in answer
    assert served.commands.refused == []


async def test_those_who_say_nothing_do_not_shut_the_api_for_good(tmp_path: Path) -> None:
    async with serving(Served(tmp_path, request_timeout_s=0.3)) as served:
        with ExitStack() as stack:
            silent = [await away(connected, stack, served) for _ in range(7)]
            for caller in silent:
                await away(read_to_the_end, caller)
            async with asyncio.timeout(60):
                while not (await away(served.client.status)).ok:
                    pass  # a request that takes too long is cut off, too


async def test_a_request_may_take_longer_to_do_than_to_send(tmp_path: Path) -> None:
    async with serving(Served(tmp_path, request_timeout_s=0.1)) as served:
        served.commands.free.clear()
        with ExitStack() as stack:
            caller = connected(stack, served)
            caller.sendall(WHOLE_COMMAND)  # before the server has looked: it comes in time
            await until(lambda: served.commands.begun == 1)
            await asyncio.sleep(0.3)
            served.commands.free.set()
            assert b"HTTP/1.1 200" in await away(caller.recv, 65536)


async def test_even_answers_that_there_are_too_many_are_limited(served: Served) -> None:
    with ExitStack() as stack:
        idle = [await away(connected, stack, served) for _ in range(12)]
        over = await away(connected, stack, served)
        assert await away(read_to_the_end, over) == b""
        idle[0].sendall(WHOLE)
        assert b" 503 " in await away(idle[0].recv, 65536)


@pytest.mark.parametrize("nonsense", [b"\x00\xff\n\n" * 100, b"GET /status HTTP/9\r\n\r\n"])
async def test_nonsense_instead_of_http_is_answered_and_harms_nobody(
    served: Served, nonsense: bytes
) -> None:
    with ExitStack() as stack:
        caller = connected(stack, served)
        caller.sendall(nonsense)
        assert b'{"error": {"code": "bad_request"' in await away(read_to_the_end, caller)
    assert (await away(served.client.status)).ok


@pytest.mark.parametrize("sent", [b"", HALF_A_HEAD, HALF_A_BODY])
async def test_a_clean_stop_says_nothing_about_a_half_sent_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    with ExitStack() as stack:
        async with serving(Served(tmp_path)) as served:
            caller = connected(stack, served)
            caller.sendall(sent)
            assert (await away(served.client.status)).ok
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


async def test_a_clean_stop_says_nothing_about_a_command_that_still_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        async with serving(Served(tmp_path)) as served:
            served.commands.free.clear()
            caller = connected(stack, served)
            caller.sendall(WHOLE_COMMAND)
            await until(lambda: served.commands.begun == 1)
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


async def test_it_stops_with_a_stream_open_and_removes_the_socket(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = Served(tmp_path)
    served.view.tell(1)
    async with serving(served):
        events = served.client.events(1)
        await away(next, events)
    assert await away(list, events) == []
    assert not served.client.path.exists()
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


async def test_it_stops_although_somebody_does_not_read_and_somebody_does_not_speak(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = Served(tmp_path)
    served.view.tell(2000, padding="x" * 10_000)
    with socket.socket(socket.AF_UNIX) as stuck, socket.socket(socket.AF_UNIX) as idle:
        async with serving(served):
            idle.connect(str(served.client.path))
            stuck.connect(str(served.client.path))
            stuck.sendall(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
            await until(lambda: served.view.given > 10)
        for left in (stuck, idle):
            with pytest.raises(BrokenPipeError):
                left.sendall(b"x")
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


async def test_a_body_that_is_far_too_large_is_not_kept_in_memory(served: Served) -> None:
    body = b"x" * 32_000_000
    tracemalloc.start()
    try:
        status, _ = await away(raw, served, "POST", "/commands/mute", body)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status == 422
    assert peak_bytes < 8_000_000


async def test_the_signals_stay_with_the_daemon(tmp_path: Path) -> None:
    before = [signal.getsignal(sign) for sign in (signal.SIGTERM, signal.SIGINT)]
    async with serving(Served(tmp_path)) as served:
        assert (await away(served.client.status)).ok
        assert [signal.getsignal(sign) for sign in (signal.SIGTERM, signal.SIGINT)] == before
