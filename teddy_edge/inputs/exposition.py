"""What is measured, in the plain text that Prometheus and its like read (format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "teddy_edge_"

METRICS: Final = (
    ("commands_total", "counter", "commands.total", 1, "Commands that ended."),
    ("commands_failed_total", "counter", "commands.failed", 1, "Of these, not done."),
    ("command_throughput", "gauge", "command_throughput", 1, "Commands a second, lately."),
    ("queries_total", "counter", "queries.total", 1, "Queries that ended."),
    ("queries_failed_total", "counter", "queries.failed", 1, "Of these, refused."),
    (
        "query_response_seconds", "gauge", "query_response_time", 1e-3,
        "What the newest queries took, the median.",
    ),
    ("cache_hits_total", "counter", "cache.hits", 1, "Answers that came from the cache."),
    ("cache_misses_total", "counter", "cache.misses", 1, "Answers that did not."),
    ("cache_evictions_total", "counter", "cache.evictions", 1, "Answers dropped for want of room."),
    ("cache_entries", "gauge", "cache.entries", 1, "Answers in the cache."),
    ("error_ratio", "gauge", "error_rate", 1, "Commands and queries that failed, of all."),
    (
        "read_models_behind_seconds", "gauge", "read_model_freshness", 1,
        "How long the oldest event that is not in the read models has waited.",
    ),
    ("read_models_position", "gauge", "read_models.position", 1, "The last event in them."),
    ("log_last_seq", "gauge", "log.last_seq", 1, "The last event on the card."),
    ("replays_total", "counter", "sync.replays", 1, "Times the cloud was sent events again."),
    (
        "replays_refused_total", "counter", "sync.replays_refused", 1,
        "Times it asked for what makes no sense, or too often.",
    ),
    (
        "events_too_large_total", "counter", "sync.too_large", 1,
        "Events that stayed in the log because the broker takes no packet of their size.",
    ),
    ("log_events_lost", "gauge", "log.lost", 1, "Events before the last that are lost."),
    (
        "log_damaged_places", "gauge", "log.damaged_places", 1,
        "Places in the log found damaged since the start.",
    ),
    ("log_complete", "gauge", "log.complete", 1, "1 where no event before it is lost, else 0."),
)  # fmt: skip
"""Name, type, where it stands in the health, factor to the unit in the name, help."""


def exposition(health: Mapping[str, Any]) -> str:
    """Write what the daemon measured (`BearView.health`); what has no value yet is left out."""
    return "".join(_lines(health))


def _lines(health: Mapping[str, Any]) -> Iterator[str]:
    for name, kind, place, factor, help_text in METRICS:
        value: Any = health
        for key in place.split("."):
            value = value[key]
        if value is not None:
            yield f"# HELP {PREFIX}{name} {help_text}\n# TYPE {PREFIX}{name} {kind}\n"
            yield f"{PREFIX}{name} {value * factor:.12g}\n"
