"""The topics of the wire contract: prefix `teddy/v1/{bear}`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

PREFIX = "teddy/v1"
REPLY_TOPIC_BYTES_MAX = 256
REPLY_TOPIC_LEVELS_MAX = 8
"""Brokers end the connection of whoever publishes to a longer topic, or to one of more levels.

AWS IoT Core takes 256 bytes and 7 slashes, mosquitto 200 levels.
"""
_OF_A_BEAR: Final = re.compile(rf"{PREFIX}/([A-Za-z0-9_-]{{1,64}})/")


@dataclass(frozen=True, slots=True)
class Topics:
    """Every topic of one bear."""

    bear: str

    def _of(self, rest: str) -> str:
        return f"{PREFIX}/{self.bear}/{rest}"

    @property
    def commands(self) -> str:
        """The filter under which all commands arrive."""
        return self._of("command/+")

    @property
    def queries(self) -> str:
        """The filter under which all queries arrive."""
        return self._of("query/+")

    @property
    def events(self) -> str:
        """Where batches of events go."""
        return self._of("events")

    @property
    def urgent(self) -> str:
        """Where safety events go at once."""
        return self._of("urgent")

    @property
    def confirmed(self) -> str:
        """Where the cloud says what it has stored (retained)."""
        return self._of("confirmed")

    @property
    def replay(self) -> str:
        """Where the cloud asks for events again."""
        return self._of("replay")

    @property
    def pending(self) -> str:
        """Where the bear asks, after each connect, for what has no result."""
        return self._of("pending")

    @property
    def status(self) -> str:
        """Where the birth and the will stand (retained)."""
        return self._of("status")

    @property
    def states(self) -> str:
        """The filter of all that stands for the parents' app."""
        return self._of("state/#")

    def command(self, name: str) -> str:
        """Where the cloud sends a command."""
        return self._of(f"command/{name}")

    def result(self, command_id: UUID) -> str:
        """Where a command's result goes."""
        return self._of(f"result/{command_id}")

    def query(self, name: str) -> str:
        """Where the cloud sends a query."""
        return self._of(f"query/{name}")

    def answer(self, query_id: UUID) -> str:
        """Where a query's answer goes."""
        return self._of(f"answer/{query_id}")

    def state(self, model: str, row_id: str) -> str:
        """Where a read model stands for the parents' app (retained)."""
        return self._of(f"state/{model}/{row_id}")

    def may_be_answered_on(self, topic: str) -> bool:
        """Tell whether a sender may name this topic for the reply.

        Within the contract's own topics only this bear's results and answers: else a bear could be
        made to command another, or to say something as another. Refused are also wildcards and
        whatever belongs to the broker itself (`$`), and what a broker may end the connection for.
        """
        if not topic or len(topic.encode()) > REPLY_TOPIC_BYTES_MAX:
            return False
        if topic.count("/") >= REPLY_TOPIC_LEVELS_MAX:
            return False
        if topic.startswith("$") or any(sign in topic for sign in "+#\0"):
            return False
        replies = (self._of("result/"), self._of("answer/"))
        return topic.startswith(replies) or not f"{topic}/".startswith(f"{PREFIX}/")


def bear_of(topic: str) -> str | None:
    """The bear that a topic of the contract belongs to; None where it names none."""
    found = _OF_A_BEAR.match(topic)
    return None if found is None else found[1]


def last_level(topic: str) -> str:
    """The part after the last slash: a command's or a query's name."""
    return topic.rpartition("/")[2]
