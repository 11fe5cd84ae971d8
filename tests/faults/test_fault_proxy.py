"""The proxy does to a connection what it says, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from tests.faults.fault_proxy import FaultProxy, LinkFault
from tests.mqtt_link.peers import PUBACK, PUBLISH, Peer, packet, read_packet

TIMEOUT_S = 60
MESSAGE = packet(PUBLISH, b"x" * 300)
ACKNOWLEDGEMENT = packet(PUBACK, b"\0\1")


class Echo(Peer):
    """Sends every packet back, and remembers how the connections ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[str] = []
        self.has_end = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                kind, body = await read_packet(reader)
                writer.write(packet(kind, body))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.ends.append(type(error).__name__)
            self.has_end.set()


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    async with Echo().serving() as serving:
        yield serving


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(echo.port, Random(1)).serving() as serving:
        yield serving


@pytest.fixture
async def ends(proxy: FaultProxy) -> AsyncIterator[Ends]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    await exchange((reader, writer), MESSAGE)
    yield reader, writer
    writer.transport.abort()
    await asyncio.sleep(0)


async def exchange(ends: Ends, message: bytes) -> None:
    reader, writer = ends
    writer.write(message)
    async with asyncio.timeout(TIMEOUT_S):
        assert await reader.readexactly(len(message)) == message


async def test_a_dropped_connection_ends_on_both_sides(
    proxy: FaultProxy, echo: Echo, ends: Ends
) -> None:
    assert await proxy.inflict(LinkFault.DROP, 1)
    async with asyncio.timeout(TIMEOUT_S):
        assert await ends[0].read() == b""
        await echo.has_end.wait()


async def test_what_is_delayed_arrives_later(proxy: FaultProxy, ends: Ends) -> None:
    delaying = asyncio.create_task(proxy.inflict(LinkFault.DELAY, 0.05))
    await asyncio.sleep(0)
    ends[1].write(MESSAGE)
    await delaying
    async with asyncio.timeout(TIMEOUT_S):
        assert await ends[0].readexactly(len(MESSAGE)) == MESSAGE


async def test_a_half_open_connection_takes_all_and_passes_nothing_on_not_even_its_end(
    proxy: FaultProxy, echo: Echo, ends: Ends
) -> None:
    assert await proxy.inflict(LinkFault.HALF_OPEN, 1)
    ends[1].write(MESSAGE)
    ends[1].close()
    other = await asyncio.open_connection("127.0.0.1", proxy.port)
    await exchange(other, MESSAGE)
    other[1].close()
    async with asyncio.timeout(TIMEOUT_S):
        await echo.has_end.wait()
    await asyncio.sleep(0.05)
    assert len(echo.ends) == 1, "the other's, and nobody else's"


async def test_a_reset_comes_in_the_middle_of_a_packet(proxy: FaultProxy, ends: Ends) -> None:
    setting = asyncio.create_task(proxy.inflict(LinkFault.RESET, TIMEOUT_S))
    await asyncio.sleep(0)
    ends[1].write(MESSAGE)
    assert await setting
    with pytest.raises(ConnectionResetError):
        await ends[0].readexactly(len(MESSAGE))


async def test_an_acknowledgement_is_cut_off_and_what_came_before_it_was_passed(
    proxy: FaultProxy, ends: Ends
) -> None:
    setting = asyncio.create_task(proxy.inflict(LinkFault.CUT, TIMEOUT_S))
    await asyncio.sleep(0)
    await exchange(ends, MESSAGE)
    ends[1].write(ACKNOWLEDGEMENT)
    assert await setting
    with pytest.raises(ConnectionResetError):
        await ends[0].readexactly(1)


async def test_a_trap_that_nothing_springs_is_taken_away(proxy: FaultProxy, ends: Ends) -> None:
    assert not await proxy.inflict(LinkFault.CUT, 0.01)
    await exchange(ends, ACKNOWLEDGEMENT)


async def test_who_connects_meanwhile_is_refused_and_later_is_not(
    proxy: FaultProxy, ends: Ends
) -> None:
    refusing = asyncio.create_task(proxy.inflict(LinkFault.REFUSE, 0.1))
    await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await refusing
    other = await asyncio.open_connection("127.0.0.1", proxy.port)
    await exchange(other, MESSAGE)
    other[1].close()
