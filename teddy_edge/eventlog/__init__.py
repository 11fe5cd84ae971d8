"""The event log: opaque bytes in, numbered; the same bytes out, in order, after any crash.

    append ─▶ queue ─▶ writer thread: encode, write, fdatasync ─▶ acknowledged, readable

- Acknowledged means durable: a future is resolved after write and fdatasync of its batch.
- The entries of one append are recovered whole or not at all. Numbers start at 1, without holes.
- `open` always succeeds, whatever the files hold: a torn tail is kept aside and cut, damage is
  passed over and counted, a lost record shows as a jump in the numbers. Only another owner
  (`LogLocked`), a newer format (`LogFormatUnsupported`) and a card that refuses to be written
  (`LogPoisoned`) are refused.
- A failed write or fsync is never tried again: `LogPoisoned`, and the process must end.
- Opening costs what the last segment costs; reading from a number costs an index look-up.
- `retention` keeps the log within its budget, and never takes what is unconfirmed and must stay; a
  reserve keeps room on a full card for the essential data classes. What retention frees is
  recycled: its file becomes a later segment, and no old record in it comes back.

Limits: record, append, batch, queue, segment, budget, spares, reserve, quarantine (`LogSettings`).
What it does not survive: a device that says "synced" and is not, and the loss of the directory.
The byte layout and the recovery rules are in docs/log-format.md.
"""

from teddy_edge.eventlog.cursor import Cursor
from teddy_edge.eventlog.frame import Entry, next_chain
from teddy_edge.eventlog.log import EventLog
from teddy_edge.eventlog.losses import LostRange, untold
from teddy_edge.eventlog.reader import READ_BYTES_MAX, READ_RECORDS_MAX
from teddy_edge.eventlog.report import RecoveryReport
from teddy_edge.eventlog.retention import Policy
from teddy_edge.eventlog.segment import StoredRecord
from teddy_edge.eventlog.survey import Damage, Gap

__all__ = [
    "READ_BYTES_MAX",
    "READ_RECORDS_MAX",
    "Cursor",
    "Damage",
    "Entry",
    "EventLog",
    "Gap",
    "LostRange",
    "Policy",
    "RecoveryReport",
    "StoredRecord",
    "next_chain",
    "untold",
]
