"""Random histories: whatever may be asked of a bear, by way of the real command bus."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from hypothesis import strategies as st

from teddy_edge.clock import Trust
from teddy_edge.eventlog import EventLog
from teddy_edge.messages import CommandEnvelope, Origin, Result
from teddy_edge.testing import FakeClock
from tests.commands.box import EMMA, Box

NAME, WORDS = "Canary Zwitscherfink", "canary words about the hidden treehouse"
YEAR_S = 365 * 24 * 3600
SEVERITIES = ("low", "medium", "high", "critical")

small = st.integers(0, 3)
label = st.sampled_from(["dragons", "castles", "école", "moon"])
turns = st.fixed_dictionaries({
    "speaker": st.sampled_from(["child", "bear"]),
    "topics": st.lists(label, max_size=3),
    "sentiment": st.none() | st.floats(-1, 1),
    "duration_s": st.floats(0, 60),
    "words": st.just(WORDS),
})  # fmt: skip
changes = st.fixed_dictionaries(
    {},
    optional={
        "age": st.integers(0, 18),
        "name": st.just(NAME + " II"),
        "preferences": st.fixed_dictionaries({}, optional={"interests": st.lists(label)}),
    },
)
violations = st.fixed_dictionaries({
    "violation_type": label,
    "severity": st.sampled_from([*SEVERITIES, "unheard_of"]),
    "details": st.none() | st.just(WORDS) | st.dictionaries(label, st.floats() | st.just(WORDS)),
})  # fmt: skip
steps = st.one_of(
    st.tuples(st.just("register"), small, st.integers(0, 18)),
    st.tuples(st.just("update"), small, changes),
    st.tuples(st.just("violation"), small, violations),
    st.tuples(st.just("deactivate"), small, st.none()),
    st.tuples(st.just("start"), small, st.none()),
    st.tuples(st.just("turn"), small, turns),
    st.tuples(st.just("end"), small, st.just(WORDS)),
    st.tuples(st.just("press"), small, st.none()),
    st.tuples(st.just("advance"), small, st.floats(0, 40 * 24 * 3600)),
    st.tuples(st.just("clock"), st.integers(-50, 50), st.sampled_from(Trust)),
)
histories = st.lists(steps, max_size=40)


class Commanded(Protocol):
    """What takes commands."""

    clock: FakeClock

    def envelope(self, name: str, data: dict[str, Any]) -> CommandEnvelope:
        """Put a command into an envelope, as of now."""

    async def send(self, envelope: CommandEnvelope, origin: Origin) -> Result:
        """Bring a command to its end."""


@dataclass
class Player:
    """Brings the steps of a history to the bus."""

    box: Commanded
    results: list[Result] = field(default_factory=list)
    children: list[str] = field(default_factory=lambda: ["nobody"])
    talks: list[str] = field(default_factory=lambda: ["nothing"])
    years: int = 0

    async def play(self, step: tuple[str, int, Any]) -> None:
        kind, number, given = step
        if kind == "advance":
            self.box.clock.advance(given)
        elif kind == "clock":
            self.box.clock.step_wall((number - self.years) * YEAR_S, given)
            self.years = number
        elif kind == "press":
            await self.send("press_button", {"button": "left_paw"}, Origin.BUTTON)
        else:
            await self.command(kind, number, given)

    async def command(self, kind: str, number: int, given: Any) -> None:
        child_id = self.children[number % len(self.children)]
        talk = self.talks[number % len(self.talks)]
        match kind:
            case "register":
                child = {**EMMA, "udid": f"udid-{number}", "name": NAME, "age": given}
                data = await self.send("register_child", child)
                self.children += data.values()
            case "update":
                await self.send("update_child_profile", {"child_id": child_id, "changes": given})
            case "violation":
                await self.send("report_safety_violation", {"child_id": child_id, **given})
            case "deactivate":
                await self.send("deactivate_child", {"child_id": child_id})
            case "start":
                data = await self.send("start_conversation", {"child_id": child_id})
                self.talks += data.values()
            case "turn":
                await self.send("record_conversation_turn", {"conversation_id": talk, **given})
            case "end":
                await self.send("end_conversation", {"conversation_id": talk, "summary": given})

    async def send(
        self, name: str, data: dict[str, Any], origin: Origin = Origin.SOCKET
    ) -> dict[str, Any]:
        result = await self.box.send(self.box.envelope(name, data), origin)
        self.results.append(result)
        return result.data


async def fill(log: EventLog, box: Box, conversations: int) -> Player:
    """Play a plain history: one child, and as many conversations with a violation each."""
    player = Player(box)
    await player.play(("register", 1, 7))
    for _ in range(conversations):
        await player.play(("start", 1, None))
        await player.play(("violation", 1, {"violation_type": "x", "severity": "low"}))
    return player
