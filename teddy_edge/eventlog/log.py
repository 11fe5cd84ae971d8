"""The event log as the rest of the daemon sees it: append, read, wait."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path
from uuid import UUID

from teddy_edge.errors import LogClosed, LogFull, LogOverloaded, LogPoisoned, RecordTooLarge
from teddy_edge.eventlog.files import Files, Lock, SystemFiles
from teddy_edge.eventlog.frame import CHAIN_UNKNOWN, POSITION_MAX, Entry
from teddy_edge.eventlog.reader import Reader
from teddy_edge.eventlog.recovery import LOCK_NAME, Recovered, recover
from teddy_edge.eventlog.report import RecoveryReport
from teddy_edge.eventlog.reserve import Reserve
from teddy_edge.eventlog.retention import Policy, Retention
from teddy_edge.eventlog.segment import StoredRecord
from teddy_edge.eventlog.spares import Spares
from teddy_edge.eventlog.survey import Gap
from teddy_edge.eventlog.writer import Append, SegmentWriter, WriteQueue, framed_bytes, poisoning
from teddy_edge.settings import LogSettings


class EventLog:
    """An append-only log in one directory, open for writing. Made by `open`."""

    def __init__(
        self,
        directory: Path,
        settings: LogSettings,
        files: Files,
        lock: Lock,
        recovered: Recovered,
        essential: Collection[int] | None,
        policy: Policy,
    ) -> None:
        self.epoch: UUID = recovered.origin.epoch
        self.report: RecoveryReport = recovered.report
        self._directory = directory
        self._settings = settings
        self._files = files
        self._lock = lock
        self._segments = recovered.segments
        self._guard = threading.Lock()
        self._reader = Reader(self._segments, files, self.report, self._guard)
        self._queue = WriteQueue()
        self._essential = frozenset(essential or ())
        reserve_bytes = 0 if essential is None else settings.reserve_bytes
        spares = Spares(directory, files, settings, self._segments[-1].last_seq)
        self._reserve = Reserve(directory, files, reserve_bytes, spares)
        self._reserve.keep()
        self.retention = Retention(
            directory, recovered, files, self._guard, self._reserve, settings, policy
        )
        self._is_over_budget = False
        self._counted_segments = 0
        self._writer = SegmentWriter(
            directory, self.epoch, self._segments, files, settings, self._guard, self._reserve
        )
        self._next_seq = self._segments[-1].last_seq + 1
        self._unsettled: deque[asyncio.Future[int]] = deque()
        self._settled_seq = self._next_seq - 1
        self._queued_bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None

    @classmethod
    def open(
        cls,
        directory: Path,
        settings: LogSettings,
        files: Files | None = None,
        *,
        essential: Collection[int] | None = None,
        policy: Policy | None = None,
    ) -> EventLog:
        """Lock the log and recover it; makes it if it is not there. Blocks.

        `essential` are the data classes that may still be appended to a card that is full but for
        the reserve; None keeps no reserve. `policy` says which may leave it; by default none.
        Raises `LogLocked` if another process has it open,
        `LogFormatUnsupported` if a newer version wrote it, `LogPoisoned` if the card refuses what
        recovery must write.
        """
        files = files or SystemFiles()
        with contextlib.ExitStack() as undo:
            with poisoning("open", directory):
                files.make_directory(directory)
                lock = files.lock(directory / LOCK_NAME)
            undo.callback(lock.release)
            with poisoning("recovery", directory):
                recovered = recover(directory, settings, files)
                log = cls(
                    directory, settings, files, lock, recovered, essential, policy or Policy()
                )
            undo.pop_all()
        return log

    @property
    def first_seq(self) -> int:
        """The oldest sequence number that can be read."""
        return self._segments[0].first_seq

    @property
    def whole_from_seq(self) -> int:
        """From this number on nothing was removed after confirmation: a jump is a loss."""
        with self._guard:
            reduced = [segment.last_seq for segment in self._segments if segment.is_reduced]
            return max(reduced, default=self._segments[0].first_seq - 1) + 1

    def gaps(self) -> list[Gap]:
        """What is known to be lost now. What was removed after confirmation is not in it."""
        with self._guard:
            return list(self.report.gaps)

    @property
    def last_seq(self) -> int:
        """The last durable sequence number; 0 when the log is empty."""
        with self._guard:
            return self._segments[-1].last_seq

    def skip_beyond(self, seq: int) -> None:
        """Give no number up to `seq` again, since it is known elsewhere; call before `start`.

        The numbers between become a gap. This is for a log whose end was lost, when the cursor
        shows that it once went further. Blocks; raises `LogPoisoned`.
        """
        assert self._loop is None, "numbers are skipped before the log is started"
        gap = Gap(self.last_seq + 1, seq)
        if gap.record_count <= 0:
            return
        self._writer.begin_at(seq + 1, CHAIN_UNKNOWN)
        self._next_seq = seq + 1
        self._settled_seq = seq
        self.report.gaps.append(gap)
        self.report.missing_count += gap.record_count

    def start(self) -> None:
        """Start the writer's thread; call once, in the running loop."""
        assert self._loop is None, "a log is started once"
        self._loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._run_writer, name="teddy-edge-log", daemon=True)
        thread.start()

    def append(self, entries: Sequence[Entry]) -> asyncio.Future[int]:
        """Number the entries and queue them; the future gives the last number once all are durable.

        Call it from the loop's thread, after `wait_for_room`. After a crash all entries of one call
        are there, or none. Raises, before anything is queued, `RecordTooLarge`, `LogOverloaded` if
        the queue is full, `LogFull` if the card or the budget is and no entry is essential,
        `LogPoisoned` if the log has failed, `LogClosed` after `close`.
        """
        assert self._loop is not None, "start the log before appending"
        self._raise_failure()
        size_bytes = self._checked_size(entries)
        if not self._has_room():
            raise LogOverloaded(self._queued_records, 0)
        budget_bytes = None if self._reserve.is_spent else self._settings.budget_bytes
        is_full = budget_bytes is None or self._is_over_budget
        if is_full and self._essential.isdisjoint(e.data_class for e in entries):
            raise LogFull(self._directory, self._settings.reserve_bytes, budget_bytes)
        append = Append(self._next_seq, tuple(entries), size_bytes)
        future: asyncio.Future[int] = self._loop.create_future()
        self._unsettled.append(future)  # from here on nothing may fail: one future, one append
        self._queue.put(append)
        self._next_seq += len(entries)
        self._queued_bytes += size_bytes
        return future

    async def wait_for_room(self) -> None:
        """Return at once unless the queue is full; raises `LogOverloaded` after the time-out."""
        self._raise_failure()
        if self._has_room():
            return
        timeout_s = self._settings.queue_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                while not self._has_room():
                    await self._changed.wait()
                    self._raise_failure()
        except TimeoutError as error:
            raise LogOverloaded(self._queued_records, timeout_s) from error

    async def wait_beyond(self, seq: int) -> int:
        """Wait until a record after `seq` is durable; gives the last durable number."""
        while self.last_seq <= seq:
            self._raise_failure()
            await self._changed.wait()
        return self.last_seq

    def read(self, first_seq: int, records_max: int, bytes_max: int) -> list[StoredRecord]:
        """Read durable records from `first_seq` on, in order. Blocks; any thread may call it.

        At least one record is given if there is one, whatever `bytes_max` (of bodies) says. A jump
        in the sequence numbers is a gap, and in `gaps`: those records are lost. Only before
        `whole_from_seq` there are other jumps, where retention removed what the other end has.
        """
        return self._reader.read(first_seq, records_max, bytes_max)

    def chain_at(self, seq: int) -> bytes:
        """Give the chain value of a record; empty where it is not known. Blocks; any thread may.

        Where retention removed the record, the one behind it tells.
        """
        return self._reader.chain_at(seq)

    def look_through(self, seq: int) -> int | None:
        """Check the segment that holds a number, so that what is damaged in it joins the report.

        Gives the number behind the segment; None at the end. Blocks; any thread may call it.
        """
        return self._reader.look_through(seq)

    def measure_room(self) -> None:
        """Look again whether the card and the budget have room. Blocks; any thread may call it."""
        with poisoning("reserve", self._directory):
            self._reserve.keep()
        self._measure_budget()

    async def watch(self) -> None:
        """Return when the log was closed; raise what ended the writer, above all `LogPoisoned`."""
        await self._ended.wait()
        if not isinstance(self._failure, LogClosed):
            self._raise_failure()

    async def close(self) -> None:
        """Write what is queued, end the thread, release the lock. Raises nothing new on failure."""
        self._queue.close()
        if self._loop is None:
            self._on_writer_ended(None)
        await self._ended.wait()
        await asyncio.to_thread(self._stop_changing)
        self._lock.release()

    def _stop_changing(self) -> None:
        """Wait for who still works on the files in a thread, before they get another owner."""
        self.retention.close()
        self._reserve.close()

    def _checked_size(self, entries: Sequence[Entry]) -> int:
        assert entries, "an append has at least one entry"
        size_bytes = framed_bytes(entries)
        if size_bytes > self._settings.record_bytes_max:  # else no body can be
            largest_bytes = max([len(body) for _, body in entries])
            if largest_bytes > self._settings.record_bytes_max:
                raise RecordTooLarge(largest_bytes, self._settings.record_bytes_max)
        if size_bytes > self._settings.batch_bytes_max or len(entries) > POSITION_MAX:
            raise RecordTooLarge(size_bytes, self._settings.batch_bytes_max)
        return size_bytes

    @property
    def _queued_records(self) -> int:
        return self._next_seq - 1 - self._settled_seq

    def _has_room(self) -> bool:
        return (
            self._queued_records < self._settings.queue_records_max
            and self._queued_bytes < self._settings.queue_bytes_max
        )

    def _measure_budget(self) -> None:
        self._counted_segments = len(self._segments)
        self._is_over_budget = self.retention.finished_bytes() > self._settings.budget_bytes

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run_writer(self) -> None:
        """The thread; a daemon, so that a process which forgets to close can still end."""
        assert self._loop is not None
        failure: BaseException | None = None
        try:
            self._write_until_closed(self._loop)
        except LogPoisoned as error:
            failure = error
        finally:
            self._loop.call_soon_threadsafe(self._on_writer_ended, failure or sys.exception())

    def _write_until_closed(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while batch := self._queue.take(self._settings.batch_bytes_max):
                self._writer.write(batch)
                loop.call_soon_threadsafe(self._settle, batch)
            self._writer.close()
        finally:
            self._writer.abandon()

    def _settle(self, batch: Sequence[Append]) -> None:
        for append in batch:
            self._settled_seq += len(append.entries)
            self._queued_bytes -= append.size_bytes
            future = self._unsettled.popleft()
            if not future.done():
                future.set_result(self._settled_seq)
        if len(self._segments) != self._counted_segments:
            self._measure_budget()
        self._wake()

    def _on_writer_ended(self, failure: BaseException | None) -> None:
        self._failure = failure or LogClosed(self._directory)
        self._ended.set()
        for future in self._unsettled:
            if not future.done():
                future.set_exception(self._failure)
        self._unsettled.clear()
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
