"""What goes upstream: the log's records, the read models, and whether the bear is there.

`uplink.py` sends batches of records in order until the cloud confirms them (P4), `window.py` and
`batch_size.py` say how much goes at a time, `wire.py` is the form of a batch. `urgent.py` sends
safety events ahead of them, `state.py` keeps the retained read models current for the parents' app,
`presence.py` says the bear's birth and will, and `pending.py` asks for commands without a result.
`signals.py` is what both ends say beside events, `upstream.py` all of it for one link. A result
goes out where its command came in.

It promises: records go out in order, at least once, until the cloud has said that it stored them; a
PUBACK of the broker counts for nothing.
"""

from teddy_edge.sync.pending import PendingRequest
from teddy_edge.sync.presence import Presence
from teddy_edge.sync.state import StatePublisher
from teddy_edge.sync.uplink import Uplink
from teddy_edge.sync.upstream import Upstream

__all__ = ["PendingRequest", "Presence", "StatePublisher", "Uplink", "Upstream"]
