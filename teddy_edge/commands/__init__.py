"""The command bus: an envelope comes in, events are decided and made durable, a result goes out.

    envelope ─▶ middleware, outermost first ─▶ handler decides ─▶ journal appends ─▶ result

`bus.py` dispatches, `middleware.py` checks, `handlers.py` knows the commands, `journal.py` appends.
`aggregates.py` holds the states that are decided on, `ends.py` what each command id came to,
`horizon.py` what is older than that; `write_state.py` makes all of it from the log, and
`checkpoint.py` keeps it in a file, so that a start need not read all of the log.

It promises: a result is given only after its events and the record of its end are on the card (P1);
a command id has one effect and one result, however often it comes (P2); one that comes after its
result is forgotten expires; what was refused is recorded too.
"""

from teddy_edge.commands.aggregates import Aggregates
from teddy_edge.commands.bus import (
    CommandBus,
    CommandContext,
    CommandHandler,
    CommandMiddleware,
)
from teddy_edge.commands.checkpoint import Checkpoint
from teddy_edge.commands.ends import Ends
from teddy_edge.commands.handlers import register_handlers
from teddy_edge.commands.journal import Decision, Journal
from teddy_edge.commands.middleware import standard_middleware
from teddy_edge.commands.write_state import WriteState

__all__ = [
    "Aggregates",
    "Checkpoint",
    "CommandBus",
    "CommandContext",
    "CommandHandler",
    "CommandMiddleware",
    "Decision",
    "Ends",
    "Journal",
    "WriteState",
    "register_handlers",
    "standard_middleware",
]
