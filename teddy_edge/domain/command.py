"""What every command type has."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from teddy_edge.messages import Origin


class Command(BaseModel):
    """A request to change something: immutable, validated when made.

    A subclass sets `wire_name` and may narrow `origins`, the ways it may come in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    wire_name: ClassVar[str]
    origins: ClassVar[frozenset[Origin]] = frozenset({Origin.MQTT, Origin.SOCKET, Origin.LIBRARY})
