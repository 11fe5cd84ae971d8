"""What recovery found, and what is known to be lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from teddy_edge.eventlog.segment import Segment
from teddy_edge.eventlog.survey import Damage, Gap, Survey


@dataclass(slots=True)
class RecoveryReport:
    """What was found when the log was opened, and later in segments that were then first read."""

    torn_bytes: int = 0
    """What was cut from the end: writes that nobody was told of."""
    torn_file: Path | None = None
    """Where the cut bytes are kept."""
    damage: list[Damage] = field(default_factory=list)
    quarantined: list[Path] = field(default_factory=list)
    """Where damaged files are kept as they were found."""
    gaps: list[Gap] = field(default_factory=list)
    """Lost records whose numbers are known. A gap is seen again as a jump in what is read."""
    missing_count: int = 0
    """All records that are lost between the first and the last, also those lost before."""
    is_new_epoch: bool = False
    """Whether nothing could be read of a log that was there, and another one was begun."""
    is_uncounted: bool = False
    """Whether records are known to be lost, and not all of the log was read to count them."""

    def add(self, segment: Segment, record_count: int, found: Survey, gaps: list[Gap]) -> None:
        """Take up what a scan of a finished segment found, once."""
        damage = [Damage(segment.path, offset, size) for offset, size in found.holes()]
        known_damage, known_gaps = set(self.damage), set(self.gaps)
        self.damage += [item for item in damage if item not in known_damage]
        self.gaps += [gap for gap in gaps if gap not in known_gaps]
        self.missing_count += segment.record_count - record_count

    def replace_gaps(self, first_seq: int, last_seq: int, gaps: list[Gap], lost_now: int) -> None:
        """Take up what is lost in a range that was written again."""
        self.gaps[:] = [g for g in self.gaps if not first_seq <= g.first_seq <= last_seq] + gaps
        self.missing_count += lost_now

    @property
    def complete(self) -> bool:
        """Whether no record is lost; those that were removed after confirmation are not."""
        return self.missing_count == 0 and not self.is_new_epoch and not self.is_uncounted
