"""The real receiver, which kills itself between storing a batch and confirming it, once armed.

python -m tests.faults.dies_after_store PORT DATABASE ARMED
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from teddy_edge.fleet.receiver import BATCH_BYTES_MAX, receive
from teddy_edge.fleet.sqlite_sink import SqliteSink
from teddy_edge.settings import BrokerSettings
from tests.acceptance.dies_at_storage import dying


def main(port: int, database: Path, armed: Path) -> None:
    """Receive, with waits that suit a test."""
    SqliteSink.store = dying(SqliteSink.store, armed, before=False)  # type: ignore[method-assign]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    waits = {"keepalive_s": 5, "timeout_s": 2, "backoff_s_min": 0.1, "backoff_s_max": 0.3}
    broker = BrokerSettings(host="127.0.0.1", port=port).model_copy(update=waits)
    asyncio.run(receive(broker, database, BATCH_BYTES_MAX))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
