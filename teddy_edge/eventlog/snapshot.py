"""Reading a log without owning it: a live one, a copied one, a damaged one. Changes nothing.

What a writer has begun and not finished is no damage: whatever follows the last commit that is
proven, in the last segment, counts as unfinished.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from teddy_edge.errors import LogNotFound
from teddy_edge.eventlog.files import DAMAGED, NEW, NOT_OF_THE_FILE, Files, SystemFiles
from teddy_edge.eventlog.origin import origin_among, read_origin
from teddy_edge.eventlog.quarantine import TORN
from teddy_edge.eventlog.segment import (
    Header,
    Segment,
    StoredRecord,
    assumed_header,
    file_name,
    first_seq_of,
    read_header,
)
from teddy_edge.eventlog.segment_view import Look, SegmentView, Standing
from teddy_edge.eventlog.whole_files import read_whole, size_of


@dataclass(slots=True)
class ClassStatistics:
    """How much of one data class a log holds."""

    record_count: int = 0
    body_bytes: int = 0


@dataclass(slots=True)
class Statistics:
    """What a log holds, counted segment by segment."""

    segment_count: int = 0
    record_count: int = 0
    size_bytes: int = 0
    """Of the segment files."""
    first: StoredRecord | None = None
    last: StoredRecord | None = None
    classes: dict[int, ClassStatistics] = field(
        default_factory=lambda: defaultdict(ClassStatistics)
    )

    def take(self, view: SegmentView) -> None:
        """Count the next segment; one that is no part of the log is left out."""
        if not view.belongs:
            return
        if view.begin_bytes == 0:
            self.segment_count += 1
            self.size_bytes += view.size_bytes
        for record in view.records():
            self.record_count += 1
            self.first = self.first or record
            self.last = record
            self.classes[record.data_class].record_count += 1
            self.classes[record.data_class].body_bytes += len(record.body)


class Snapshot:
    """The segments that a directory held at one moment.

    Raises `LogNotFound` if that is no log, `LogFormatUnsupported` if a newer version wrote it,
    `OSError` if it may not be read.
    """

    def __init__(self, directory: Path, files: Files | None = None) -> None:
        self.directory = directory
        self._files = files or SystemFiles()
        try:
            self._names = self._listed()
        except FileNotFoundError as error:
            raise LogNotFound(directory, "there is nothing of this name") from error
        except NotADirectoryError as error:
            raise LogNotFound(directory, "it is no directory") from error
        headers = [read_header(self._files, directory / name) for name in self._names]
        found = read_origin(self._files, directory)
        origin = origin_among(found, headers)
        self.origin_is_sound = origin == found
        if not self._names:
            raise LogNotFound(directory, f"it holds no segment, such as {file_name(1)}")
        if origin is None:
            raise LogNotFound(directory, "no file in it says whose log it is")
        self.origin = origin

    def names(self, first_seq: int = 1) -> list[str]:
        """The segments that must be read for the records from a number on."""
        later = [
            after for _, after in pairwise(self._names) if (first_seq_of(after) or 0) <= first_seq
        ]
        return self._names[len(later) :]

    def names_again(self, seq: int) -> list[str]:
        """List what is left of the segments; gives those for the records from a number on."""
        last = self._names[-1]
        self._names = [name for name in self._listed() if name <= last]
        return self.names(seq)

    def segments(self, first_seq: int = 1) -> Iterator[SegmentView]:
        """Read one segment after the other, only one at a time in memory."""
        names = self.names(first_seq)
        at = len(self._names) - len(names)
        return _Pass(self, first_seq, names[0]).views(self._names[max(at - 1, 0) :])

    def records(self, first_seq: int = 1) -> Iterator[StoredRecord]:
        """Every sound record from a number on."""
        for view in self.segments(first_seq):
            if view.belongs:
                yield from (r for r in view.records() if r.seq >= first_seq)

    def kept_aside(self) -> list[tuple[Path, int | None]]:
        """What recovery put aside: cut ends and damaged files, with sizes; None for no file."""
        kept = [name for name in self._all_names() if name.endswith((TORN, DAMAGED))]
        sizes_bytes = [self._size_bytes(self.directory / name) for name in kept]
        still = self._all_names()  # a bear at work removes what is too much
        return [
            (self.directory / name, size_bytes)
            for name, size_bytes in zip(kept, sizes_bytes, strict=True)
            if name in still
        ]

    def _all_names(self) -> list[str]:
        return self._files.names(self.directory)

    def _size_bytes(self, path: Path) -> int | None:
        try:
            return size_of(self._files, path)
        except OSError as error:
            if error.errno in NOT_OF_THE_FILE:
                raise
        return None

    def _listed(self) -> list[str]:
        names = self._all_names()
        return [
            name
            for name in sorted({name.removesuffix(NEW) for name in names})
            if first_seq_of(name) is not None and (name in names or self._gets_its_name(name))
        ]

    def _gets_its_name(self, name: str) -> bool:
        """Whether a file waits for a name that retention has taken from the one before it."""
        places = (self.directory / (name + NEW), self.directory / name)  # it may just have got it
        return any(read_header(self._files, place) is not None for place in places)

    def _read(self, path: Path) -> bytes:
        """Read a segment, also while retention puts another file in its place."""
        for place in (path, path.with_name(path.name + NEW)):
            with contextlib.suppress(FileNotFoundError):
                return read_whole(self._files, place)
        return read_whole(self._files, path)

    def view(self, name: str, before: Segment | None) -> SegmentView | None:
        """Read a segment that comes behind another; None if it is gone."""
        path, is_last = self.directory / name, name == self._names[-1]
        assumed = assumed_header(self.origin.epoch, name, before)
        try:
            return self._view(path, assumed, before, is_last=is_last)
        except OSError as error:
            if error.errno in NOT_OF_THE_FILE:
                raise
            if isinstance(error, FileNotFoundError) and name not in self._all_names():
                return None
        return SegmentView.unreadable(Segment.empty(path, assumed), is_last=is_last)

    def _view(
        self, path: Path, assumed: Header, before: Segment | None, *, is_last: bool
    ) -> SegmentView:
        # A writer at work may show us a later page before an earlier one: what this look proves to
        # be finished, a second one must find. And while we read a segment, retention may replace
        # it, and the writer take its file for the next one, with another header.
        look = Look.at(path, self._read(path), assumed)
        proven_bytes = look.proven_bytes
        if is_last or not look.is_sound:
            look = Look.at(path, self._read(path), assumed)
        return look.view(before, proven_bytes, is_last=is_last)


class _Pass:
    """One way through the segments, while retention may join them.

    A segment that is gone is a part of one before it. So where one is gone, or where numbers are
    missing, the names are listed again, and what is new is read in the file that was read last, or
    in the one that this was joined to.
    """

    def __init__(self, snapshot: Snapshot, first_seq: int, first_name: str) -> None:
        self._snapshot = snapshot
        self._first_seq = first_seq
        self._first_name = first_name
        self._before: Segment | None = None
        self._seen: set[str] = set()
        self._listed_again_for = 0

    def views(self, names: list[str]) -> Iterator[SegmentView]:
        """Give what belongs to the pass; a name before its first one is read, but not given."""
        while names:
            name = names.pop(0)
            view = self._read(name)
            if self._is_to_list_again(view):
                names = self._names_again()
                continue
            view = None if view is None else self._new_in(view)
            if view is not None:
                yield view
                del view

    def _read(self, name: str) -> SegmentView | None:
        return self._snapshot.view(name, None if name in self._seen else self._before)

    def _is_to_list_again(self, view: SegmentView | None) -> bool:
        """Whether something is missing before this, and was not yet looked for."""
        next_seq = self._first_seq if self._before is None else self._before.last_seq + 1
        is_missed = view is None or view.segment.first_seq > next_seq
        is_to_list_again = is_missed and self._listed_again_for != next_seq
        if is_to_list_again:
            self._listed_again_for = next_seq
        return is_to_list_again

    def _names_again(self) -> list[str]:
        """What to read next: first, what was read last, or what that was joined to."""
        before = self._before
        begin_seq = self._first_seq if before is None else first_seq_of(before.path.name)
        return self._snapshot.names_again(begin_seq or 1)

    def _new_in(self, view: SegmentView) -> SegmentView | None:
        """What was not seen before; None if there is nothing."""
        before, name = self._before, view.path.name
        if name in self._seen:
            if before is None or not view.belongs or view.segment.last_seq <= before.last_seq:
                return None
            view = view.after(before.last_seq)
        self._seen.add(name)
        if view.belongs:
            self._before = view.segment
        is_asked_for = name >= self._first_name or self._reaches(view)
        return view if is_asked_for and view.standing is not Standing.LEFT_OVER else None

    def _reaches(self, view: SegmentView) -> bool:
        return view.belongs and view.segment.last_seq >= self._first_seq
