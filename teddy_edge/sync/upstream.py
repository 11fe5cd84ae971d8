"""All that goes upstream, as one link sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from teddy_edge.clock import Clock
from teddy_edge.eventlog import Cursor, EventLog
from teddy_edge.messages import Result
from teddy_edge.mqtt_link import Session, Subscription, Will
from teddy_edge.projections import ChildProjectionManager
from teddy_edge.settings import SyncSettings
from teddy_edge.sync.pending import PendingRequest
from teddy_edge.sync.presence import Presence
from teddy_edge.sync.state import StatePublisher
from teddy_edge.sync.uplink import Uplink
from teddy_edge.sync.urgent import UrgentLane
from teddy_edge.topics import Topics


class Upstream:
    """The lanes of one bear; each lives with a connection and does not wait for the others."""

    def __init__(
        self,
        log: EventLog,
        cursor: Cursor,
        read_models: ChildProjectionManager,
        topics: Topics,
        settings: SyncSettings,
        clock: Clock,
        *,
        finished: Callable[[int], Sequence[Result]],
    ) -> None:
        """`finished` gives the results that came last."""
        self._topics = topics
        self._presence = Presence(log, cursor, topics, clock)
        self._pending = PendingRequest(
            log, cursor, topics, lambda: finished(settings.pending_finished_max)
        )
        self._state = StatePublisher(read_models, topics, settings, clock)
        self._uplink = Uplink(log, cursor, topics, settings, clock)
        self._urgent = UrgentLane(log, cursor, topics)

    @property
    def will(self) -> Will:
        """What the broker says when the bear is gone."""
        return self._presence.will

    def counts(self) -> dict[str, int]:
        """Say what happened since the start."""
        return dataclasses.asdict(self._uplink.counts)

    def subscriptions(self) -> Sequence[Subscription]:
        """Say what the cloud tells this bear about its log, and what stands of its state."""
        return (
            Subscription(self._topics.confirmed, self._uplink.on_confirmed, ordered=True),
            Subscription(self._topics.replay, self._uplink.on_replay, ordered=True),
            Subscription(
                self._topics.states,
                self._state.on_retained,
                ordered=True,
                no_local=True,
                may_be_refused=True,
            ),
        )

    def sessions(self) -> Mapping[str, Session]:
        """Say what goes out while a connection lives."""
        return {
            "presence": self._presence.run,
            "pending": self._pending.run,
            "urgent": self._urgent.run,
            "uplink": self._uplink.run,
            "state": self._state.run,
        }
