"""The bear's buses as a library: commands and queries as methods, without broker, pins or daemon.

    cqrs = get_cqrs_service()
    await cqrs.initialize()
    result = await cqrs.register_child(...)

Every method ends as on the wire: what is refused comes back as a result with `success` False and an
`error`. What is done is on the card. Where `user_id` is given, that parent asks; else the program
itself does, which sees everything.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from teddy_edge.background import BackgroundAssembly
from teddy_edge.clock import Clock, SystemClock, new_id, rfc3339
from teddy_edge.commands import CommandBus
from teddy_edge.errors import CommandRejected, EnvelopeRejected
from teddy_edge.inputs.envelopes import read_command, read_query, refusal_of, refused_answer
from teddy_edge.messages import Answer, Origin, Result
from teddy_edge.queries import QueryBus
from teddy_edge.settings import Settings, config_file, load_settings

PROGRAM: Final = {"id": "program", "role": "device"}


@functools.cache
def get_cqrs_service() -> CQRSService:
    """Give this process's one service, with the settings of the machine's file and environment."""
    return CQRSService(lambda: load_settings(config_file(None)))


class CQRSService:
    """Commands, queries and what is measured of them. Open between `initialize` and `close`."""

    def __init__(self, settings: Callable[[], Settings], clock: Clock | None = None) -> None:
        """`settings` is asked at `initialize`."""
        self._clock = clock or SystemClock()
        self._parts = BackgroundAssembly(settings, self._clock)

    async def initialize(self) -> None:
        """Open the log and the read models; nothing where they are open.

        Raises `SettingsError`, and what opening the log raises (see `EventLog.open`): above all
        `LogLocked` where a daemon, or another service, has the same folder open.
        """
        await self._parts.open()

    async def close(self) -> None:
        """Bring what was asked to its end, write and close; a program may end without it.

        Raises what a part of the service died of.
        """
        await self._parts.close()

    @property
    def commands(self) -> CommandBus:
        """The command bus, for handlers and middleware of a program's own."""
        return self._parts.opened().commands

    @property
    def queries(self) -> QueryBus:
        """The query bus, for handlers of a program's own."""
        return self._parts.opened().queries

    # Commands

    async def register_child(
        self, parent_id: str, device_id: str, name: str, age: int, udid: str, **options: Any
    ) -> Result:
        """Register a child; the result's data gives its `child_id`."""
        data = {
            "parent_id": parent_id,
            "device_id": device_id,
            "name": name,
            "age": age,
            "udid": udid,
        }
        return await self.execute("register_child", data, **options)

    async def update_child_profile(
        self, child_id: str, changes: dict[str, Any], **options: Any
    ) -> Result:
        """Change name, age or preferences."""
        data = {"child_id": child_id, "changes": changes}
        return await self.execute("update_child_profile", data, **options)

    async def report_safety_violation(
        self, child_id: str, violation_type: str, severity: str, details: Any = None, **options: Any
    ) -> Result:
        """Report a violation; severity is low, medium, high or critical."""
        data = {
            "child_id": child_id,
            "violation_type": violation_type,
            "severity": severity,
            "details": details,
        }
        return await self.execute("report_safety_violation", data, **options)

    async def deactivate_child(
        self, child_id: str, reason: str | None = None, **options: Any
    ) -> Result:
        """End a child's use of the bear."""
        data = {"child_id": child_id, "reason": reason}
        return await self.execute("deactivate_child", data, **options)

    async def start_conversation(self, child_id: str, **options: Any) -> Result:
        """Start a conversation; the result's data gives its `conversation_id`."""
        return await self.execute("start_conversation", {"child_id": child_id}, **options)

    async def record_conversation_turn(
        self, conversation_id: str, speaker: str, **turn_and_options: Any
    ) -> Result:
        """Record a turn: topics, sentiment, duration_s, words."""
        options = {key: turn_and_options.pop(key) for key in OPTIONS & turn_and_options.keys()}
        data = {"conversation_id": conversation_id, "speaker": speaker, **turn_and_options}
        return await self.execute("record_conversation_turn", data, **options)

    async def end_conversation(
        self, conversation_id: str, summary: str | None = None, **options: Any
    ) -> Result:
        """End a conversation."""
        data = {"conversation_id": conversation_id, "summary": summary}
        return await self.execute("end_conversation", data, **options)

    async def execute(
        self,
        name: str,
        data: dict[str, Any],
        *,
        user_id: str | None = None,
        command_id: UUID | None = None,
        correlation_id: str | None = None,
    ) -> Result:
        """Bring any command to its end; the same `command_id` again gives the same result."""
        message = {
            "id": str(command_id or new_id(self._clock)),
            "name": name,
            "actor": _actor(user_id),
            "issued_at": rfc3339(self._clock.wall_ns()),
            "correlation_id": correlation_id,
            "data": data,
        }
        async with self._parts.use() as assembly:
            limits = assembly.settings
            try:
                envelope = read_command(_payload(message), name, limits.bear, limits.commands)
            except EnvelopeRejected as rejection:
                return await assembly.commands.refuse(refusal_of(rejection, Origin.LIBRARY))
            return await assembly.commands.execute(envelope, Origin.LIBRARY)

    # Queries

    async def get_child_profile(self, child_id: str, user_id: str | None = None) -> Answer:
        """Read one child."""
        return await self.ask("get_child_profile", {"child_id": child_id}, user_id)

    async def get_children_by_parent(
        self, parent_id: str, limit: int = 20, cursor: str = "0", user_id: str | None = None
    ) -> Answer:
        """Read a page of a parent's children; `next_cursor` gives the next page."""
        data = {"parent_id": parent_id, "limit": limit, "cursor": cursor}
        return await self.ask("get_children_by_parent", data, user_id)

    async def get_child_safety_report(
        self,
        child_id: str,
        from_date: datetime | None = None,
        to_date: datetime | None = None,
        user_id: str | None = None,
    ) -> Answer:
        """Read a dated report; a date without a zone is UTC."""
        data = {"child_id": child_id, **_dates(from_date, to_date)}
        return await self.ask("get_child_safety_report", data, user_id)

    async def get_child_analytics(
        self,
        child_id: str,
        from_date: datetime | None = None,
        to_date: datetime | None = None,
        user_id: str | None = None,
    ) -> Answer:
        """Read what a child did; a date without a zone is UTC."""
        data = {"child_id": child_id, **_dates(from_date, to_date)}
        return await self.ask("get_child_analytics", data, user_id)

    async def search_children(
        self,
        search_term: str = "",
        age_range: tuple[int, int] = (0, 120),
        parent_id: str | None = None,
        limit: int = 20,
        cursor: str = "0",
        user_id: str | None = None,
    ) -> Answer:
        """Search by a part of the name and by age, both ends included."""
        data = {
            "search_term": search_term,
            "age_min": age_range[0],
            "age_max": age_range[1],
            "parent_id": parent_id,
            "limit": limit,
            "cursor": cursor,
        }
        return await self.ask("search_children", data, user_id)

    async def get_conversations(
        self, child_id: str, limit: int = 20, cursor: str | None = None, user_id: str | None = None
    ) -> Answer:
        """Read a page of a child's conversations, the newest first."""
        data = {"child_id": child_id, "limit": limit, "cursor": cursor}
        return await self.ask("get_conversations", data, user_id)

    async def get_bear_state(self) -> Answer:
        """Read what is known of the bear itself."""
        return await self.ask("get_bear_state", {})

    async def get_health_status(self) -> dict[str, Any]:
        """Measure: command throughput, response time, cache hit rate, error rate, freshness."""
        data = (await self.ask("get_health", {})).data
        assert data is not None
        return data

    async def ask(self, name: str, data: dict[str, Any], user_id: str | None = None) -> Answer:
        """Ask any query."""
        message = {
            "id": str(new_id(self._clock)),
            "name": name,
            "actor": _actor(user_id),
            "data": data,
        }
        async with self._parts.use() as assembly:
            limits = assembly.settings
            try:
                envelope = read_query(_payload(message), name, limits.bear, limits.commands)
            except EnvelopeRejected as rejection:
                return refused_answer(rejection)
            return await assembly.queries.ask(envelope, Origin.LIBRARY)

    async def rebuild(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Build the read models anew from the log, while everything goes on."""
        async with self._parts.use() as assembly:
            await assembly.read_models.rebuild(progress)


OPTIONS = frozenset({"user_id", "command_id", "correlation_id"})


def _actor(user_id: str | None) -> dict[str, str]:
    return PROGRAM if user_id is None else {"id": user_id, "role": "parent"}


def _payload(message: dict[str, Any]) -> bytes:
    """Write a message as it would cross the border, so that the same limits hold for it."""
    try:
        return json.dumps(message).encode()
    except (TypeError, ValueError, RecursionError):
        rejection = CommandRejected("invalid", "data holds something that JSON has not", "data")
        raise EnvelopeRejected(
            rejection, message_id=UUID(message["id"]), name=None, correlation_id=None
        ) from None


def _dates(from_date: datetime | None, to_date: datetime | None) -> dict[str, str]:
    given = {"from_date": from_date, "to_date": to_date}
    return {name: _zoned(moment).isoformat() for name, moment in given.items() if moment}


def _zoned(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
