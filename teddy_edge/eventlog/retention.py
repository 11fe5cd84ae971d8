"""Keeping the log within its budget: which records leave it, and how.

- `reduce`: a finished segment that the other end has confirmed is written again with those data
  classes only that must stay. A mark stands where the others were: they are removed, not lost.
- `trim`: of the classes that stay up to some size, the oldest confirmed records go.
- `plan` and `drop`: records that are not confirmed go only where there is no other way, class by
  class, the oldest first. The caller makes durable what `plan` says before it calls `drop`; then
  nothing can be lost in silence, and a drop that a crash cut short is called again.

The last segment is the writer's and stays as it is. All of this blocks; any thread may call it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from teddy_edge.errors import LogClosed
from teddy_edge.eventlog.files import DAMAGED, NEW, NO_ROOM, Files
from teddy_edge.eventlog.frame import Frame
from teddy_edge.eventlog.losses import LostRange
from teddy_edge.eventlog.quarantine import Quarantine
from teddy_edge.eventlog.recovery import Recovered
from teddy_edge.eventlog.reserve import Reserve
from teddy_edge.eventlog.rewriting import Fate, rewrite
from teddy_edge.eventlog.segment import Header, Segment
from teddy_edge.eventlog.survey import Survey, survey
from teddy_edge.eventlog.whole_files import read_whole, write_unfinished
from teddy_edge.eventlog.writer import poisoning
from teddy_edge.settings import LogSettings

BLOCK_BYTES = 4096
"""What the smallest file costs."""
MERGED_SIZE_RATIO = 2
"""A reduced segment joins the one before it unless that one is so many times larger."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Which data classes may leave the log. One that is not named here never does."""

    removable: frozenset[int] = frozenset()
    """Removed once they are confirmed and old, or in the way."""
    bounded: dict[int, int] = field(default_factory=dict)
    """Kept when confirmed, up to so many bytes."""
    droppable: tuple[int, ...] = ()
    """Dropped before they are confirmed where there is no other way; the first goes first."""


class Retention:
    """Works on the segments that it shares with the writer and the reader, under one guard."""

    def __init__(
        self, directory: Path, recovered: Recovered, files: Files, guard: threading.Lock,
        reserve: Reserve, settings: LogSettings, policy: Policy,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._epoch = recovered.origin.epoch
        self._segments = recovered.segments
        self._report = recovered.report
        self._files = files
        self._guard = guard
        self._reserve = reserve
        self._settings = settings
        self._policy = policy
        self._quarantine = Quarantine(directory, files, settings)
        self._is_closed = False
        self._one_at_a_time = threading.Lock()

    def finished_bytes(self) -> int:
        """What all segments but the last take."""
        with self._guard:
            return sum([segment.end_bytes for segment in self._segments[:-1]])

    def shortage_bytes(self) -> int:
        """How much must go so that one more segment fits the budget, and the card."""
        over_bytes = self.finished_bytes() - self._settings.budget_bytes
        free_bytes = self._reserve.spares.size_bytes  # else missed if given up between
        with poisoning("statvfs", self._directory):
            free_bytes += self._files.free_bytes(self._directory)
        lacking_bytes = self._reserve.wanted_bytes - free_bytes
        return max(max(over_bytes, lacking_bytes) + self._settings.segment_bytes_max, 0)

    def oldest_whole(self, confirmed_seq: int) -> int | None:
        """The last number of the segment that `reduce` would take; None if there is none."""
        segment = self._oldest_whole(confirmed_seq)
        return None if segment is None else segment.last_seq

    def reduce(self, confirmed_seq: int) -> bool:
        """Take the removable classes out of the oldest whole segment, if all of it is confirmed.

        False if there is none, or if the card has no room for the few bytes that stay.
        """
        with self._alone():
            segment = self._oldest_whole(confirmed_seq)
            if segment is None:
                return False
            removable = self._policy.removable

            def fate(frame: Frame) -> Fate:
                return Fate.REMOVED if frame.data_class in removable else Fate.KEPT

            joined = [*self._joinable(segment, removable), segment]
            return self._replace(joined, fate, is_reduced=True)

    def trim(self, confirmed_seq: int) -> bool:
        """Take a class that is over its bound out of the oldest reduced segment that has it."""
        with self._alone():
            reduced = [s for s in self._finished() if s.is_reduced and s.last_seq <= confirmed_seq]
            for data_class, bytes_max in self._policy.bounded.items():
                sizes = [self._class_bytes(segment)[data_class] for segment in reduced]
                if sum(sizes) > bytes_max:
                    oldest = next(s for s, size in zip(reduced, sizes, strict=True) if size)
                    return self._replace([oldest], _without(data_class, Fate.REMOVED))
            return False

    def plan(self, confirmed_seq: int) -> LostRange | None:
        """Say what to drop next of what is not confirmed; None if nothing may go."""
        with self._alone():
            for data_class in self._policy.droppable:
                for segment in self._finished():
                    if segment.last_seq > confirmed_seq and self._class_bytes(segment)[data_class]:
                        found = self._records(segment, data_class)
                        seqs = [frame.seq for frame in found if frame.seq > confirmed_seq]
                        if seqs:
                            return LostRange(seqs[0], seqs[-1], len(seqs), data_class)
            return None

    def drop(self, lost: LostRange) -> bool:
        """Carry out what `plan` said and the caller has told; nothing where that was done before.

        False if the card has no room to write what stays.
        """
        with self._alone():
            for segment in self._finished():
                if segment.first_seq > lost.last_seq or segment.last_seq < lost.first_seq:
                    continue
                if self._holds(segment, lost) and not self._replace([segment], _dropping(lost)):
                    return False
            return True

    def close(self) -> None:
        """Change nothing any more; returns when nobody does."""
        with self._one_at_a_time:
            self._is_closed = True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._one_at_a_time, poisoning("retention", self._directory):
            if self._is_closed:
                raise LogClosed(self._directory)
            yield

    def _finished(self) -> list[Segment]:
        """What may be changed: all before the last record, so that the log always has an end."""
        with self._guard:
            last = self._segments[-1]
            is_empty = last.last_seq < last.first_seq
            return self._segments[: -2 if is_empty else -1]

    def _oldest_whole(self, confirmed_seq: int) -> Segment | None:
        whole = (segment for segment in self._finished() if not segment.is_reduced)
        segment = next(whole, None)
        return segment if segment is not None and segment.last_seq <= confirmed_seq else None

    def _joinable(self, segment: Segment, removable: frozenset[int]) -> list[Segment]:
        """The reduced segment before this one, if what stays of both is better in one file.

        Joining only what is about equally large writes a record again a few times, not each time.
        """
        before = [s for s in self._finished() if s.last_seq < segment.first_seq][-1:]
        if not before or not before[0].is_reduced:
            return []
        staying_bytes = sum(
            size for kind, size in self._class_bytes(segment).items() if kind not in removable
        )
        before_bytes = max(before[0].end_bytes, BLOCK_BYTES)
        is_similar = before_bytes <= MERGED_SIZE_RATIO * max(staying_bytes, BLOCK_BYTES)
        fits = before[0].end_bytes + staying_bytes <= self._settings.segment_bytes_max
        return before if is_similar and fits else []

    def _class_bytes(self, segment: Segment) -> Counter[int]:
        if segment.class_bytes is None:
            segment.class_bytes = Counter()
            for frame in self._frames(segment):
                if frame.is_record:
                    size_bytes = frame.end_bytes - frame.offset_bytes
                    segment.class_bytes[frame.data_class] += size_bytes
        return segment.class_bytes

    def _frames(self, segment: Segment) -> list[Frame]:
        return self._survey(segment).frames

    def _survey(self, segment: Segment) -> Survey:
        data = read_whole(self._files, segment.path)
        return survey(data, segment.salt, segment.first_seq)

    def _records(self, segment: Segment, data_class: int) -> Iterator[Frame]:
        frames = self._frames(segment)
        return (f for f in frames if f.is_record and f.data_class == data_class)

    def _holds(self, segment: Segment, lost: LostRange) -> bool:
        fate = _dropping(lost)
        return any(f.is_record and fate(f) is Fate.DROPPED for f in self._frames(segment))

    def _replace(
        self, old: Sequence[Segment], fate: Callable[[Frame], Fate], *, is_reduced: bool = False
    ) -> bool:
        """Put one rewritten segment in the place of some that follow each other."""
        surveys = [self._survey(segment) for segment in old]
        frames = [frame for found in surveys for frame in found.frames]
        header = Header(self._epoch, old[0].first_seq, old[0].chain_before)
        is_reduced = is_reduced or any(segment.is_reduced for segment in old)
        fresh, content, gaps = rewrite(old, header, frames, fate, is_reduced=is_reduced)
        unfinished = self._write(fresh.path, content)
        if unfinished is None:
            return False
        may_keep = self._may_keep_a_file(len(content))
        aside = self._place_for(old[0], surveys[0]) if may_keep else None
        self._files.sync_directory(self._directory)  # one of both files must have a name
        with self._guard:  # a reader must see the new name and the new index together
            if aside is not None:
                self._files.rename(old[0].path, aside)
            self._files.rename(unfinished, fresh.path)
            at = next(i for i, segment in enumerate(self._segments) if segment is old[0])
            self._segments[at : at + len(old)] = [fresh]
            lost_now = sum(segment.record_count for segment in old) - fresh.record_count
            self._report.replace_gaps(fresh.first_seq, fresh.last_seq, gaps, lost_now)
        self._files.sync_directory(self._directory)
        self._keep(aside)
        for segment, found in zip(old[1:], surveys[1:], strict=True):
            self._retire(segment, self._place_for(segment, found) if may_keep else None)
        return True

    def _may_keep_a_file(self, beside_bytes: int) -> bool:
        """Whether budget and card have room for a file that goes out of use, beside a new one."""
        taken_bytes = self.finished_bytes() + self._reserve.spares.size_bytes + beside_bytes
        return taken_bytes <= self._settings.budget_bytes and self._reserve.has_room_beside

    def _place_for(self, segment: Segment, found: Survey) -> Path | None:
        """Say what name a file that goes out of use gets; None if there is no use for it.

        It is kept for the next segment, or to be looked at if it was damaged.
        """
        if found.is_sound:
            return self._reserve.spares.claim(segment.path, segment.last_seq)
        return segment.path.with_name(segment.path.name + DAMAGED)

    def _retire(self, segment: Segment, aside: Path | None) -> None:
        """Take away a file that no reader is led to any more."""
        if aside is None:
            self._files.remove(segment.path)
        else:
            self._files.rename(segment.path, aside)
        self._files.sync_directory(self._directory)
        self._keep(aside)

    def _keep(self, aside: Path | None) -> None:
        """Take up a file that was renamed as `_place_for` said, once no reader is led to it."""
        if aside is None:
            return
        if aside.name.endswith(DAMAGED):
            self._report.quarantined.append(aside)
            self._quarantine.bound()
        else:
            self._reserve.spares.keep(aside)

    def _write(self, path: Path, content: bytes) -> Path | None:
        """Write what shall take the name; None, and nothing left behind, if there is no room."""
        try:
            return write_unfinished(self._files, path, content)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
        unfinished = path.with_name(path.name + NEW)
        if unfinished.name in self._files.names(self._directory):
            self._files.remove(unfinished)
        return None


def _without(data_class: int, fate: Fate) -> Callable[[Frame], Fate]:
    return lambda frame: fate if frame.data_class == data_class else Fate.KEPT


def _dropping(lost: LostRange) -> Callable[[Frame], Fate]:
    def fate(frame: Frame) -> Fate:
        within = lost.first_seq <= frame.seq <= lost.last_seq
        return Fate.DROPPED if within and frame.data_class == lost.data_class else Fate.KEPT

    return fate
