"""What `teddy-edge log` does: it reads a log without the daemon or its lock, and changes nothing.

The log may be written to in the meantime, or be a copy on another machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from teddy_edge.cli_actions import fail
from teddy_edge.errors import EXIT_FORMAT, EXIT_IO, EXIT_OK, LogFormatUnsupported, LogNotFound
from teddy_edge.progress import with_progress
from teddy_edge.terminal import printable

if TYPE_CHECKING:
    from teddy_edge.eventlog.inspection import Defect, Verification
    from teddy_edge.eventlog.segment import StoredRecord
    from teddy_edge.eventlog.segment_view import SegmentView
    from teddy_edge.eventlog.snapshot import Snapshot, Statistics
    from teddy_edge.eventlog.survey import Damage, Gap

EXIT_DAMAGED: Final = 1
EXIT_NOT_A_LOG: Final = 2

WHAT_IS_WRONG: Final = {
    "origin": "the file is missing or damaged; the next start makes it again from the segments",
    "header": "the header is damaged",
    "bytes": "{size} bytes are no record",
    "end": "the segment breaks off, {size} bytes follow that are no record",
    "altered": "does not continue from what is before it: someone changed it",
    "cut_out": "records were taken out, with their bytes",
    "missing": "there is no such segment",
    "foreign": "the segment is no part of this log",
    "unreadable": "this cannot be read; expected is a regular file of at most 128 MiB",
}


def dump(arguments: argparse.Namespace) -> int:
    """Print the records, one on each line."""
    return _look(arguments, _dump)


def verify(arguments: argparse.Namespace) -> int:
    """Check every byte, and list what is wrong."""
    return _look(arguments, _verify)


def stats(arguments: argparse.Namespace) -> int:
    """Say how much the log holds, and of what."""
    return _look(arguments, _stats)


def _look(
    arguments: argparse.Namespace, look: Callable[[Snapshot, str, argparse.Namespace], int]
) -> int:
    from teddy_edge.eventlog.snapshot import Snapshot  # noqa: PLC0415

    directory, bear = _place(arguments)
    try:
        snapshot = Snapshot(directory)
        return look(snapshot, bear or f"log-{snapshot.origin.epoch}", arguments)
    except LogNotFound as error:
        hint = f"; the log of a bear's data is in {directory}/log" if _has_log(directory) else ""
        return fail(f"{error}{hint}", EXIT_NOT_A_LOG)
    except LogFormatUnsupported as error:
        return fail(str(error), EXIT_FORMAT)
    except BrokenPipeError:
        raise
    except OSError as error:
        return fail(f"{directory} cannot be read: {error.strerror}", EXIT_IO)


def _has_log(directory: Path) -> bool:
    return any((directory / "log").glob("*.log"))


def _place(arguments: argparse.Namespace) -> tuple[Path, str | None]:
    """The directory to read, and whose log it is: a copy does not say that of itself."""
    if arguments.directory is not None and arguments.config is None:
        return arguments.directory, None
    from teddy_edge.settings import config_file, load_settings  # noqa: PLC0415

    settings = load_settings(config_file(arguments.config))
    return arguments.directory or settings.log_directory, settings.bear


def _dump(snapshot: Snapshot, bear: str, arguments: argparse.Namespace) -> int:
    from teddy_edge.eventlog.inspection import Verifier  # noqa: PLC0415

    first_seq, last_seq = arguments.first_seq or 1, arguments.last_seq
    verifier = Verifier(snapshot)
    if first_seq > 1:
        verifier.begin_at(first_seq)
    is_shown = not sys.stdout.isatty()
    for view in _views(snapshot, first_seq, is_shown=is_shown):
        verifier.take(view)
        for record in view.records() if view.belongs else ():
            if last_seq is not None and record.seq > last_seq:
                return _tell(verifier.verification)
            if record.seq >= first_seq:
                print(_record_text(record, bear, arguments))
    return _tell(verifier.finish())


def _record_text(record: StoredRecord, bear: str, arguments: argparse.Namespace) -> str:
    event = _event(record, bear)
    if not (arguments.json or arguments.show_data):
        return _record_line(record, event)
    if not arguments.show_data:
        event = {name: value for name, value in event.items() if name != "data"}
    try:
        return json.dumps(event, default=_hex, allow_nan=False)
    except (ValueError, TypeError):  # data that JSON does not know
        return json.dumps(_unreadable(record))


def _event(record: StoredRecord, bear: str) -> dict[str, Any]:
    """Show a record as a CloudEvent."""
    from teddy_edge.events import cloud_event, decode_record  # noqa: PLC0415

    try:
        return cloud_event(decode_record(record.seq, record.data_class, record.body), bear)
    except (ValueError, TypeError, OverflowError):  # a body that is no event of ours
        return _unreadable(record)


def _unreadable(record: StoredRecord) -> dict[str, Any]:
    """What the frame says."""
    from teddy_edge.events import data_class_name  # noqa: PLC0415

    name = data_class_name(record.data_class)
    return {"seq": record.seq, "dataclass": name, "unreadable": len(record.body)}


def _hex(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"no JSON: {type(value).__name__}")


def _record_line(record: StoredRecord, event: dict[str, Any]) -> str:
    columns = f"{record.seq:>8}  {event['dataclass']:<11}  {len(record.body):>6} B"
    if "unreadable" in event:
        return f"{columns}  a body that this version cannot read"
    when = f"{event['time']}  {event['clocktrust']:<8}"
    return printable(f"{columns}  {when}  {event['type']:<20}  {event['subject']}")


def _verify(snapshot: Snapshot, bear: str, arguments: argparse.Namespace) -> int:
    from teddy_edge.eventlog.inspection import Verifier  # noqa: PLC0415

    del bear
    verifier = Verifier(snapshot)
    for view in _views(snapshot):
        verifier.take(view)
    verification = verifier.finish()
    if arguments.json:
        print(json.dumps(_verification_object(snapshot, verification)))
    else:
        _print_verification(snapshot, verification)
    return EXIT_OK if verification.is_whole else EXIT_DAMAGED


def _verification_object(snapshot: Snapshot, verification: Verification) -> dict[str, Any]:
    unfinished = verification.unfinished
    return {
        "directory": str(snapshot.directory),
        "epoch": str(verification.epoch),
        "whole": verification.is_whole,
        "segments": verification.segment_count,
        "records": verification.record_count,
        "removed": verification.removed_count,
        "first_seq": verification.first_seq,
        "last_seq": verification.last_seq,
        "defects": [_defect_object(defect) for defect in verification.defects],
        "unfinished": None if unfinished is None else _place_object(unfinished),
        "kept_aside": [
            {"file": path.name, "bytes": size_bytes}
            for path, size_bytes in verification.kept_aside
        ],
    }  # fmt: skip


def _defect_object(defect: Defect) -> dict[str, Any]:
    records = defect.records
    return {
        "kind": defect.kind.value,
        **_place_object(defect),
        "first_seq": None if records is None else records.first_seq,
        "last_seq": None if records is None else records.last_seq,
    }


def _place_object(place: Defect | Damage) -> dict[str, Any]:
    return {"segment": place.path.name, "offset": place.offset_bytes, "bytes": place.size_bytes}


def _print_verification(snapshot: Snapshot, verification: Verification) -> None:
    lost_count = sum(gap.record_count for gap in verification.gaps)
    print(f"log       {printable(str(snapshot.directory))}")
    print(f"epoch     {verification.epoch}")
    print(f"segments  {verification.segment_count}")
    print(f"events    {verification.record_count}, the last is {verification.last_seq}")
    if verification.removed_count:
        print(f"removed   {verification.removed_count}, after they were confirmed")
    if lost_count:
        print(f"lost      {lost_count}")
    if verification.unfinished is not None:
        at = _place_text(verification.unfinished)
        size_bytes = verification.unfinished.size_bytes
        print(f"at work   {at}: {size_bytes} bytes are being written, or the power was cut there")
    for path, size_bytes in verification.kept_aside:
        print(f"aside     {printable(path.name)}, {size_bytes} bytes")
    for defect in verification.defects:
        print(f"damaged   {_defect_text(defect)}")
    print("whole" if verification.is_whole else "not whole")


def _place_text(place: Defect | Damage) -> str:
    return f"{place.path.name} at byte {place.offset_bytes}"


def _defect_text(defect: Defect) -> str:
    what = WHAT_IS_WRONG[defect.kind.value].format(size=defect.size_bytes)
    if defect.records is None:
        return f"{_place_text(defect)}: {what}"
    concerned = "changed" if defect.kind == "altered" else "lost"
    return f"{_place_text(defect)}: {what}; {concerned}: {_range_text(defect.records)}"


def _range_text(gap: Gap) -> str:
    return str(gap.first_seq) if gap.record_count == 1 else f"{gap.first_seq} to {gap.last_seq}"


def _stats(snapshot: Snapshot, bear: str, arguments: argparse.Namespace) -> int:
    from teddy_edge.eventlog.inspection import Verifier  # noqa: PLC0415
    from teddy_edge.eventlog.snapshot import Statistics  # noqa: PLC0415

    verifier, statistics = Verifier(snapshot), Statistics()
    for view in _views(snapshot):
        verifier.take(view)
        statistics.take(view)
    verification = verifier.finish()
    found = _statistics_object(snapshot, bear, statistics, verification)
    if arguments.json:
        print(json.dumps(found))
    else:
        _print_statistics(found)
    return _tell(verification)


def _statistics_object(
    snapshot: Snapshot, bear: str, statistics: Statistics, verification: Verification
) -> dict[str, Any]:
    from teddy_edge.events import data_class_name  # noqa: PLC0415

    first, last, count = statistics.first, statistics.last, statistics.record_count
    return {
        "directory": str(snapshot.directory),
        "epoch": str(verification.epoch),
        "whole": verification.is_whole,
        "segments": statistics.segment_count,
        "records": count,
        "bytes": statistics.size_bytes,
        "bytes_per_record": round(statistics.size_bytes / count, 1) if count else None,
        "first_seq": None if first is None else first.seq,
        "last_seq": None if last is None else last.seq,
        "first_time": None if first is None else _event(first, bear).get("time"),
        "last_time": None if last is None else _event(last, bear).get("time"),
        "classes": {
            data_class_name(data_class): {"records": held.record_count, "bytes": held.body_bytes}
            for data_class, held in sorted(statistics.classes.items())
        },
    }


def _print_statistics(found: dict[str, Any]) -> None:
    print(f"log       {printable(found['directory'])}")
    print(f"epoch     {found['epoch']}")
    print(f"segments  {found['segments']}, {found['bytes']} bytes")
    if found["records"]:
        print(f"events    {found['records']}, {found['bytes_per_record']} bytes each")
        print(f"first     {found['first_seq']}, {found['first_time']}")
        print(f"last      {found['last_seq']}, {found['last_time']}")
    else:
        print("events    none")
    for name, held in found["classes"].items():
        print(f"          {name:<11}  {held['records']:>8} events  {held['bytes']:>10} bytes")


def _tell(verification: Verification) -> int:
    """Say on stderr what was damaged in what was read."""
    for defect in verification.defects:
        fail(_defect_text(defect), EXIT_DAMAGED)
    return EXIT_OK if verification.is_whole else EXIT_DAMAGED


def _views(
    snapshot: Snapshot, first_seq: int = 1, *, is_shown: bool = True
) -> Iterator[SegmentView]:
    views = snapshot.segments(first_seq)
    if not (is_shown and sys.stderr.isatty()):
        return views
    return with_progress(views, len(snapshot.names(first_seq)), sys.stderr)
