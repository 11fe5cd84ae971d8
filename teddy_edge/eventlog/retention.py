"""Keeping the log within its budget: what goes first, and how it goes.

1. Whole segments that the other end has confirmed, the oldest first.
2. If that is not enough, unconfirmed records of the data classes that may be dropped, one class
   after the other, the oldest segment first: the segment is written again without them.

What else is not confirmed stays, whatever the budget says. A dropped record is a jump in the
numbers for every reader, and is counted; the jumps sum exactly to what was dropped.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from teddy_edge.eventlog import frame as framing
from teddy_edge.eventlog.files import Files, read_whole, write_whole
from teddy_edge.eventlog.frame import Frame
from teddy_edge.eventlog.origin import Origin, write_origin
from teddy_edge.eventlog.recovery import RecoveryReport, missing_count
from teddy_edge.eventlog.segment import HEADER_BYTES, Header, Segment, encode_header
from teddy_edge.eventlog.survey import describe, survey


@dataclass(slots=True)
class Retained:
    """What one run did."""

    removed_records: int = 0
    """Confirmed ones, gone with their segments."""
    dropped_records: Counter[int] = field(default_factory=Counter)
    """Unconfirmed ones, by data class."""
    bytes_after: int = 0
    """What the finished segments take now."""


class Retention:
    """Removes and rewrites finished segments; the last one is the writer's."""

    def __init__(
        self,
        directory: Path,
        origin: Origin,
        segments: list[Segment],
        files: Files,
        report: RecoveryReport,
        guard: threading.Lock,
    ) -> None:
        self._directory = directory
        self._origin = origin
        self._segments = segments
        self._files = files
        self._report = report
        self._guard = guard
        self._one_at_a_time = threading.Lock()

    def run(self, confirmed_seq: int, bytes_max: int, droppable: Sequence[int]) -> Retained:
        """Bring the finished segments within `bytes_max`, as far as that is allowed. Blocks."""
        retained = Retained()
        with self._one_at_a_time:
            self._remove_confirmed(confirmed_seq, bytes_max, retained)
            for data_class in droppable:
                self._drop(data_class, confirmed_seq, bytes_max, retained)
            retained.bytes_after = self._total_bytes()
        return retained

    def _remove_confirmed(self, confirmed_seq: int, bytes_max: int, retained: Retained) -> None:
        leaving: list[Segment] = []
        excess_bytes = self._total_bytes() - bytes_max
        for segment in self._finished():
            if excess_bytes <= 0 or segment.last_seq > confirmed_seq:
                break
            leaving.append(segment)
            excess_bytes -= segment.end_bytes
        if leaving:
            self._begin_after(leaving)
            retained.removed_records += sum(segment.record_count for segment in leaving)

    def _begin_after(self, leaving: list[Segment]) -> None:
        """Say first where the log begins now; a crash after that leaves only files to remove."""
        following = self._segments[len(leaving)]
        self._origin = self._origin._replace(first_seq=following.first_seq)
        write_origin(self._files, self._directory, self._origin)
        with self._guard:
            del self._segments[: len(leaving)]
            self._report.missing_count = missing_count(self._origin, self._segments)
        for segment in leaving:
            self._files.remove(segment.path)
        self._files.sync_directory(self._directory)

    def _drop(
        self, data_class: int, confirmed_seq: int, bytes_max: int, retained: Retained
    ) -> None:
        for segment in self._finished():
            if self._total_bytes() <= bytes_max:
                return
            if segment.last_seq > confirmed_seq:
                retained.dropped_records[data_class] += self._rewrite(segment, data_class)

    def _rewrite(self, segment: Segment, data_class: int) -> int:
        """Write a segment again without a data class; gives how many records that were."""
        data = read_whole(self._files, segment.path)
        found = survey(data, segment.salt, segment.first_seq)
        kept = [f for f in found.frames if not f.is_seal and f.data_class != data_class]
        dropped = sum(not f.is_seal and f.data_class == data_class for f in found.frames)
        if not dropped or any(True for _ in found.holes()):  # damage is kept as it is
            return 0
        fresh, content = self._without(segment, data, kept)
        write_whole(self._files, segment.path, content)
        with self._guard:
            self._segments[self._segments.index(segment)] = fresh
            self._report.missing_count += dropped
        return dropped

    def _without(self, segment: Segment, data: bytes, kept: list[Frame]) -> tuple[Segment, bytes]:
        header = Header(self._origin.epoch, segment.first_seq, segment.chain_before)
        content = encode_header(header)
        content += b"".join(data[frame.offset_bytes : frame.end_bytes] for frame in kept)
        content += framing.encode_seal(segment.salt, segment.last_seq, segment.chain, len(kept))
        fresh = segment.emptied()
        describe(fresh, framing.scan(content, HEADER_BYTES, segment.salt, segment.first_seq))
        return fresh, content

    def _finished(self) -> list[Segment]:
        with self._guard:
            return self._segments[:-1]

    def _total_bytes(self) -> int:
        return sum(segment.end_bytes for segment in self._finished())
