"""Fakes that assert misuse and can be told to fail; they pass the same tests as the real parts."""

from __future__ import annotations

import uuid

from teddy_edge.clock import NS_PER_S, KnownTime, Trust


class FakeClock:
    """A `Clock` that stands still until it is moved."""

    def __init__(self, wall_ns: int = 1_795_000_000 * NS_PER_S, monotonic_ns: int = 0) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._trust = Trust.SYNCED
        self._boot_id = uuid.UUID(int=1)
        self._held: KnownTime | None = None

    @property
    def boot_id(self) -> uuid.UUID:
        """See `Clock`."""
        return self._boot_id

    def wall_ns(self) -> int:
        """See `Clock`."""
        if self._held is None or self._trust is not Trust.UNSYNCED:
            return self._wall_ns
        return self._monotonic_ns + self._held.offset_ns

    def monotonic_ns(self) -> int:
        """See `Clock`."""
        return self._monotonic_ns

    def trust(self) -> Trust:
        """See `Clock`."""
        if self._held is None or self._trust is not Trust.UNSYNCED:
            return self._trust
        return self._held.trust

    def hold(self, known: KnownTime) -> None:
        """See `Clock`."""
        self._held = known

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        assert seconds >= 0, "monotonic time never goes back"
        self._monotonic_ns += round(seconds * NS_PER_S)
        self._wall_ns += round(seconds * NS_PER_S)

    def step_wall(self, seconds: float, trust: Trust) -> None:
        """Set the wall clock forward or back, as a time server or a dead battery does."""
        self._wall_ns += round(seconds * NS_PER_S)
        self._trust = trust

    def reboot(self) -> None:
        """Start a new boot: another boot id, monotonic time from zero, and nothing is held."""
        self._boot_id = uuid.UUID(int=self._boot_id.int + 1)
        self._monotonic_ns = 0
        self._held = None
