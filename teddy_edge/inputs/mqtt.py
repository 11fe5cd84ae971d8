"""Commands and queries over MQTT.

The broker gets its PUBACK when a handler here returns (see `mqtt_link`): after the command's end is
on the card and its result has been handed to the broker. A crash or a lost connection before that
makes the broker deliver again, and the bus answers the duplicate with the same result.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from teddy_edge.clock import Clock
from teddy_edge.errors import CommandRejected, EnvelopeRejected, LinkRefused, LogOverloaded
from teddy_edge.inputs.envelopes import read_command, read_query, refusal_of, refused_answer
from teddy_edge.inputs.ports import Commands, Queries
from teddy_edge.messages import Answer, Origin, Refusal, Result
from teddy_edge.mqtt_link import Connection, Incoming, Subscription
from teddy_edge.settings import Settings
from teddy_edge.topics import Topics, is_safe_response_topic, last_level

logger = logging.getLogger("teddy_edge.inputs.mqtt")

CONTENT_TYPE = "application/json"


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
        self._retry_s = settings.log.queue_timeout_s
        self._clock = clock

    def subscriptions(self) -> Sequence[Subscription]:
        """Say what to subscribe to."""
        return (
            Subscription(self._topics.commands, self._on_command),
            Subscription(self._topics.queries, self._on_query),
        )

    async def _on_command(self, connection: Connection, incoming: Incoming) -> None:
        result = await self._end_of(incoming)
        topic = None if result.command_id is None else self._topics.result(result.command_id)
        await _reply(connection, incoming, topic, result)

    async def _end_of(self, incoming: Incoming) -> Result:
        """Bring a command to its end, however long the card takes; the broker keeps it so long."""
        received_ns = self._clock.monotonic_ns()
        while True:
            try:
                return await self._execute(incoming, received_ns)
            except LogOverloaded as error:
                logger.warning("the card takes no command", extra={"reason": str(error)})
                await asyncio.sleep(self._retry_s)

    async def _execute(self, incoming: Incoming, received_ns: int) -> Result:
        name = last_level(incoming.topic)
        try:
            envelope = read_command(incoming.payload, name, self._bear, self._limits)
        except EnvelopeRejected as rejection:
            return await self._commands.refuse(refusal_of(rejection, Origin.MQTT))
        if incoming.retain:
            return await self._commands.refuse(Refusal.of(envelope, Origin.MQTT, _retained()))
        return await self._commands.execute(envelope, Origin.MQTT, received_ns)

    async def _on_query(self, connection: Connection, incoming: Incoming) -> None:
        answer = await self._answer(incoming)
        topic = None if answer.query_id is None else self._topics.answer(answer.query_id)
        await _reply(connection, incoming, topic, answer)

    async def _answer(self, incoming: Incoming) -> Answer:
        name = last_level(incoming.topic)
        try:
            envelope = read_query(incoming.payload, name, self._bear, self._limits)
        except EnvelopeRejected as rejection:
            return refused_answer(rejection)
        return await self._queries.ask(envelope, Origin.MQTT)


def _retained() -> CommandRejected:
    return CommandRejected("retained", "a retained command is refused: it would come again")


async def _reply(
    connection: Connection, incoming: Incoming, topic: str | None, reply: Result | Answer
) -> None:
    """Publish the reply to its own topic, and to the response topic that the sender named.

    Where the broker refuses the reply, the sender can still read it from the events upstream, and
    the message must be acknowledged all the same: it would come back for ever.
    """
    payload = reply.model_dump_json().encode()
    topics = [topic] if topic else []
    if incoming.response_topic and is_safe_response_topic(incoming.response_topic):
        topics.append(incoming.response_topic)
    for each in topics:
        try:
            await connection.publish(
                each,
                payload,
                correlation_data=incoming.correlation_data,
                content_type=CONTENT_TYPE,
            )
        except LinkRefused as error:
            logger.warning("a reply was refused", extra={"reason": error.reason})
