"""What every command type has."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from teddy_edge.messages import Origin


class Part(BaseModel):
    """A part of a command: immutable, checked when made, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Command(Part):
    """A request to change something.

    A subclass sets `wire_name` and may narrow `origins`, the ways it may come in. It sets
    `needs_trusted_time` where it cannot be taken back: a broker may have held such a command for
    days, and a bear that does not know the time would obey it long after its deadline. It sets
    `corrects_time` where a time that a parent told wrongly must not keep it out.
    """

    wire_name: ClassVar[str]
    origins: ClassVar[frozenset[Origin]] = frozenset({Origin.MQTT, Origin.SOCKET, Origin.LIBRARY})
    needs_trusted_time: ClassVar[bool] = False
    corrects_time: ClassVar[bool] = False
