"""Commands and queries over MQTT.

The broker gets its PUBACK when a handler here returns (see `mqtt_link`): after the command's end is
on the card and its result has been handed to the broker. A crash or a lost connection before that
makes the broker deliver again, and the bus answers the duplicate with the same result.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from teddy_edge.clock import Clock
from teddy_edge.errors import CommandRejected, EnvelopeRejected, LinkRefused, LogFull, LogOverloaded
from teddy_edge.inputs.envelopes import read_command, read_query, refusal_of, refused_answer
from teddy_edge.inputs.ports import Commands, Queries
from teddy_edge.messages import (
    Actor,
    Answer,
    CommandEnvelope,
    ErrorDetail,
    Origin,
    QueryEnvelope,
    Result,
)
from teddy_edge.mqtt_link import Connection, Incoming, Subscription
from teddy_edge.settings import Settings
from teddy_edge.topics import Topics, last_level

logger = logging.getLogger("teddy_edge.inputs.mqtt")

CONTENT_TYPE = "application/json"
RETAINED = CommandRejected("retained", "a retained message is refused: it would come again")
_Sent = tuple[UUID, str, Actor]
"""What a command must have in common with an earlier one to be the same."""

CORRELATION_BYTES_MAX = 1024
"""Longer correlation data does not come back: it would make each reply as long."""
NO_ROOM_MAX = 1000
"""Commands of which it is remembered that the card had no room for them."""


class MqttInput:
    """Turns messages into commands and queries, and sends back what they came to."""

    def __init__(
        self,
        commands: Commands,
        queries: Queries,
        topics: Topics,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._commands = commands
        self._queries = queries
        self._topics = topics
        self._bear = settings.bear
        self._limits = settings.commands
        self._answers = settings.queries
        self._retry_s = settings.log.queue_timeout_s
        self._clock = clock
        self._no_room: OrderedDict[_Sent, Result] = OrderedDict()

    def subscriptions(self) -> Sequence[Subscription]:
        """Say what to subscribe to."""
        return (
            Subscription(self._topics.commands, self._on_command, retained_once=True),
            Subscription(
                self._topics.queries,
                self._on_query,
                retained_once=True,
                at_once_max=self._answers.at_once_max,
            ),
        )

    async def _on_command(self, connection: Connection, incoming: Incoming) -> None:
        if _clears_a_topic(incoming):
            return
        result = await self._end_of(incoming)
        topic = None if result.command_id is None else self._topics.result(result.command_id)
        await self._reply(connection, incoming, topic, _encoded(result))

    async def _end_of(self, incoming: Incoming) -> Result:
        """Bring a command to its end, however long the card takes; the broker keeps it so long."""
        received_ns = self._clock.monotonic_ns()
        while True:
            try:
                return await self._execute(incoming, received_ns)
            except LogFull as error:
                return self._no_room_for(incoming, error)
            except LogOverloaded as error:
                logger.warning("the card takes no command", extra={"reason": str(error)})
                await asyncio.sleep(self._retry_s)

    async def _execute(self, incoming: Incoming, received_ns: int) -> Result:
        name = last_level(incoming.topic)
        try:
            envelope = read_command(incoming.payload, name, self._bear, self._limits)
        except EnvelopeRejected as unread:
            rejection = _retained(unread) if incoming.retain else unread
            return await self._commands.refuse(refusal_of(rejection, Origin.MQTT))
        if (refused := self._no_room.get(_sent(envelope))) is not None:
            return refused.model_copy(update={"duplicate": True})
        if incoming.retain:
            return await self._commands.refuse_command(envelope, Origin.MQTT, RETAINED)
        return await self._commands.execute(envelope, Origin.MQTT, received_ns)

    def _no_room_for(self, incoming: Incoming, error: LogFull) -> Result:
        """Refuse without a record, for which there is no room.

        Held back, such commands would take every place of what is essential. What was refused stays
        so when it comes again, until the next start.
        """
        name = last_level(incoming.topic)
        try:
            envelope = read_command(incoming.payload, name, self._bear, self._limits)
        except EnvelopeRejected as unread:
            return _card_full(error, unread.message_id, name, unread.correlation_id)
        result = _card_full(error, envelope.id, name, envelope.correlation_id)
        self._no_room[_sent(envelope)] = result
        if len(self._no_room) > NO_ROOM_MAX:
            self._no_room.popitem(last=False)
        return result

    async def _on_query(self, connection: Connection, incoming: Incoming) -> None:
        if _clears_a_topic(incoming):
            return
        answer = await self._answer(incoming)
        topic = None if answer.query_id is None else self._topics.answer(answer.query_id)
        payload = _encoded(answer)
        if len(payload) > self._answers.answer_bytes_max:
            payload = _encoded(_too_long(answer, self._answers.answer_bytes_max))
        await self._reply(connection, incoming, topic, payload)

    async def _answer(self, incoming: Incoming) -> Answer:
        name = last_level(incoming.topic)
        try:
            envelope = read_query(incoming.payload, name, self._bear, self._limits)
        except EnvelopeRejected as unread:
            return refused_answer(_retained(unread) if incoming.retain else unread)
        if incoming.retain:
            return refused_answer(_refused(RETAINED, envelope))
        return await self._queries.ask(envelope, Origin.MQTT)

    async def _reply(
        self, connection: Connection, incoming: Incoming, topic: str | None, payload: bytes
    ) -> None:
        """Publish the reply to its own topic, and to the response topic that the sender named.

        Where the broker refuses the reply, the sender can still read it from the events upstream,
        and the message must be acknowledged all the same: it would come back for ever.
        """
        correlation_data = incoming.correlation_data
        if correlation_data is not None and len(correlation_data) > CORRELATION_BYTES_MAX:
            correlation_data = None
        topics = [topic] if topic else []
        wanted = incoming.response_topic
        if wanted is not None and self._topics.may_be_answered_on(wanted):
            topics.append(wanted)
        for each in topics:
            try:
                await connection.publish(
                    each,
                    payload,
                    correlation_data=correlation_data,
                    content_type=CONTENT_TYPE,
                )
            except LinkRefused as error:
                logger.warning("a reply was refused", extra={"reason": error.reason})


def _sent(envelope: CommandEnvelope) -> _Sent:
    return envelope.id, envelope.name, envelope.actor


def _card_full(
    error: LogFull, command_id: UUID | None, name: str, correlation_id: str | None
) -> Result:
    return Result(
        command_id=command_id,
        name=name,
        status="rejected",
        seq=0,
        error=ErrorDetail(code="card_full", message=str(error)),
        correlation_id=correlation_id,
    )


def _encoded(reply: Result | Answer) -> bytes:
    return reply.model_dump_json().encode()


def _too_long(answer: Answer, bytes_max: int) -> Answer:
    rejection = CommandRejected("too_large", f"the answer has over {bytes_max} bytes; ask for less")
    return refused_answer(
        EnvelopeRejected(
            rejection,
            message_id=answer.query_id,
            name=answer.name,
            correlation_id=answer.correlation_id,
        )
    )


def _clears_a_topic(incoming: Incoming) -> bool:
    """Tell whether somebody took back what the broker had retained: that is no message."""
    return incoming.retain and not incoming.payload


def _retained(unread: EnvelopeRejected) -> EnvelopeRejected:
    """Refuse what could not be read for having been retained, which its sender must know first."""
    return EnvelopeRejected(
        RETAINED,
        message_id=unread.message_id,
        name=unread.name,
        correlation_id=unread.correlation_id,
    )


def _refused(rejection: CommandRejected, envelope: QueryEnvelope) -> EnvelopeRejected:
    return EnvelopeRejected(
        rejection,
        message_id=envelope.id,
        name=envelope.name,
        correlation_id=envelope.correlation_id,
    )
