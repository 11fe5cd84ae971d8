"""Teddy Edge: the daemon inside an AI teddy bear.

Commands come in (`inputs`), a bus checks and decides (`commands`, `domain`), events are remembered
(`eventlog`), read models are derived (`projections`), questions answered (`queries`) and all of it
synced upstream (`sync`). `app.py` wires the parts; `cli.py` is the command line.
"""

__version__ = "0.1.0"
