"""Reading durable records by number, from any thread, while the writer and retention go on."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from operator import attrgetter
from typing import Final

from teddy_edge.eventlog.files import Files
from teddy_edge.eventlog.frame import CHAIN_UNKNOWN
from teddy_edge.eventlog.report import RecoveryReport
from teddy_edge.eventlog.segment import INDEXES_MAX, Region, Segment, StoredRecord, read_region
from teddy_edge.eventlog.survey import Gap, describe, survey
from teddy_edge.eventlog.whole_files import read_whole

READ_RECORDS_MAX: Final = 500
READ_BYTES_MAX: Final = 1024 * 1024
"""What to read at a time where one goes through the log."""


class Reader:
    """Finds records in the segments that it shares with the writer, under one guard."""

    def __init__(
        self,
        segments: list[Segment],
        files: Files,
        report: RecoveryReport,
        guard: threading.Lock,
    ) -> None:
        self._segments = segments
        self._files = files
        self._report = report
        self._guard = guard
        self._indexed: OrderedDict[int, Segment] = OrderedDict()

    def read(self, first_seq: int, records_max: int, bytes_max: int) -> list[StoredRecord]:
        """See `EventLog.read`."""
        records: list[StoredRecord] = []
        seq = first_seq
        while (found := self._find(seq, records_max, bytes_max)) is not None:
            segment, region = found
            part = self._read_region(segment, region, seq)
            if part is None:
                continue
            for record in part:
                bytes_max -= len(record.body)
                if records and bytes_max < 0:
                    return records
                records.append(record)
                if len(records) == records_max:
                    return records
            seq = region.last_seq + 1
        return records

    def chain_at(self, seq: int) -> bytes:
        """See `EventLog.chain_at`."""
        for stored in self.read(seq, 1, 1):
            if stored.seq == seq:
                return stored.chain
            if stored.seq == seq + 1:
                return stored.chain_before
        return CHAIN_UNKNOWN

    def look_through(self, seq: int) -> int | None:
        """See `EventLog.look_through`."""
        with self._guard:
            segment = self._segment_of(seq)
        if segment is None:
            return None
        if segment.marks is None:
            self._index(segment)
        return segment.last_seq + 1

    def _read_region(self, segment: Segment, region: Region, seq: int) -> list[StoredRecord] | None:
        """Read the records from `seq` on; None if retention changed the file in the meantime."""
        try:
            records = [r for r in read_region(self._files, segment, region) if r.seq >= seq]
        except FileNotFoundError:
            if self._is_current(segment):
                raise
            return None
        return records if self._is_current(segment) else None

    def _find(self, seq: int, records_max: int, bytes_max: int) -> tuple[Segment, Region] | None:
        """Choose what to read."""
        while True:
            with self._guard:
                segment = self._segment_of(seq)
                if segment is None:
                    return None
                if segment.marks is not None:
                    return segment, segment.region(seq, records_max, bytes_max)
            self._index(segment)

    def _segment_of(self, seq: int) -> Segment | None:
        """The segment of a number, or the one after it where that number is lost."""
        if seq > self._segments[-1].last_seq:
            return None
        at = max(bisect_right(self._segments, seq, key=attrgetter("first_seq")) - 1, 0)
        while seq > self._segments[at].last_seq:
            at += 1
        return self._segments[at]

    def _index(self, segment: Segment) -> None:
        """Scan a finished segment for its marks; what is found damaged in it joins the report."""
        try:
            found = survey(read_whole(self._files, segment.path), segment.salt, segment.first_seq)
        except FileNotFoundError:
            if self._is_current(segment):
                raise
            return
        fresh = segment.emptied()
        gaps = describe(fresh, found.frames)
        with self._guard:
            if not any(segment is one for one in self._segments):
                return
            if fresh.last_seq < segment.last_seq:
                gaps.append(Gap(fresh.last_seq + 1, segment.last_seq))
            self._report.add(segment, fresh.record_count, found, gaps)
            segment.marks, segment.record_count = fresh.marks, fresh.record_count
            self._indexed[segment.first_seq] = segment
            if len(self._indexed) > INDEXES_MAX:
                self._indexed.popitem(last=False)[1].marks = None

    def _is_current(self, segment: Segment) -> bool:
        with self._guard:
            return any(segment is one for one in self._segments)
