"""A finished segment written again without some of its records.

What stays keeps its number and its chain value. What is removed after confirmation leaves a mark
with the chain value of the last of them, so that the chain goes on; what is dropped leaves nothing,
as damage does, and is a jump in the numbers.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.frame import FIRST, LAST, Frame
from teddy_edge.eventlog.segment import HEADER_BYTES, Header, Segment, encode_header
from teddy_edge.eventlog.survey import Gap, describe


class Fate(enum.Enum):
    """What becomes of a record."""

    KEPT = enum.auto()
    REMOVED = enum.auto()
    """The other end has it."""
    DROPPED = enum.auto()
    """It is lost."""


class _Rewriter:
    def __init__(self, salt: int) -> None:
        self.parts: list[bytes] = []
        self.record_count = 0
        self._salt = salt
        self._run: tuple[int, int, bytes] | None = None

    def keep(self, frame: Frame) -> None:
        self.end_run()
        self.parts.append(
            framing.encode(
                self._salt, 0, FIRST | LAST, frame.data_class, frame.seq, frame.body, frame.chain
            )
        )
        self.record_count += 1

    def remove(self, frame: Frame) -> None:
        """Take a record, or a mark of earlier ones, up into the run of what is removed."""
        begin_seq = frame.begin_seq
        if self._run is not None and self._run[1] + 1 == begin_seq:
            begin_seq = self._run[0]
        else:
            self.end_run()
        self._run = (begin_seq, frame.seq, frame.chain)

    def end_run(self) -> None:
        if self._run is None:
            return
        first_seq, last_seq, chain = self._run
        self.parts.append(framing.encode_removed(self._salt, first_seq, last_seq, chain))
        self.record_count += last_seq - first_seq + 1
        self._run = None


def rewrite(
    old: Sequence[Segment],
    header: Header,
    frames: Sequence[Frame],
    fate: Callable[[Frame], Fate],
    *,
    is_reduced: bool,
) -> tuple[Segment, bytes, list[Gap]]:
    """Make one segment of the frames of some; gives it, its bytes, and what is lost in its range.

    It ends where the last of the old ones ended. `is_reduced` says that what may leave after
    confirmation has left, whether there was any or not.
    """
    fresh = Segment.empty(old[0].path, header)
    rewriter = _Rewriter(fresh.salt)
    for frame in frames:
        becomes = fate(frame) if frame.is_record else Fate.REMOVED
        if frame.is_seal:
            continue
        if becomes is Fate.KEPT:
            rewriter.keep(frame)
        elif becomes is Fate.REMOVED:
            rewriter.remove(frame)
    rewriter.end_run()
    seal = framing.encode_seal(
        fresh.salt, old[-1].last_seq, old[-1].chain, rewriter.record_count,
        is_reduced=is_reduced,
    )  # fmt: skip
    content = encode_header(header) + b"".join([*rewriter.parts, seal])
    gaps = describe(fresh, framing.scan(content, HEADER_BYTES, fresh.salt, fresh.first_seq))
    fresh.marks = None  # built again when it is read, so that memory stays bounded
    return fresh, content, gaps
