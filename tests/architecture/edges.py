"""Which part of the daemon may import which, and who owns each outside library."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.architecture.source import Module

SHARED = (
    "settings", "errors", "clock", "messages", "events", "metrics", "topics", "mqtt_link",
    "supervision", "backoff", "diagnostics", "socket_paths", "terminal",
)  # fmt: skip

ALLOWED: dict[str, tuple[str, ...]] = {
    "__init__": (),
    "errors": (),
    "socket_paths": (),
    "terminal": (),
    "progress": (),
    "settings_agreement": (),
    "settings_report": ("errors", "settings_agreement"),
    "setting_types": (),
    "settings": ("errors", "setting_types", "settings_report", "socket_paths"),
    **dict.fromkeys(set(SHARED) - {"errors", "settings", "socket_paths", "terminal"}, SHARED),
    "domain": ("errors", "events", "messages"),
    "eventlog": ("errors", "settings", "clock"),
    "security": SHARED,
    "inputs": SHARED,
    "local_client": ("errors", "socket_paths"),
    "commands": (*SHARED, "security", "domain", "eventlog"),
    "projections": (*SHARED, "domain", "eventlog"),
    "queries": (*SHARED, "security", "domain", "projections"),
    "sync": (*SHARED, "eventlog", "projections"),
    "log_keeper": (*SHARED, "eventlog"),
    "timekeeping": SHARED,
    "fleet": (*SHARED, "local_client", "sync.wire", "sync.signals"),
}
"""What each stage may import beside itself."""

COMPOSERS = frozenset(
    {
        "app",
        "assembly",
        "asyncapi",
        "background",
        "cli",
        "cli_actions",
        "cli_fleet",
        "cli_fleet_actions",
        "cli_log",
        "cli_rebuild",
        "cqrs_service",
        "examples",
        "testing",
        "__main__",
    }
)
"""These put the stages together, so they may import all of them; no stage imports them."""

OWNERS: dict[str, tuple[str, ...]] = {
    "aiomqtt": ("mqtt_link",),
    "paho": ("mqtt_link",),
    "gpiozero": ("inputs.gpio",),
    "lgpio": ("inputs.gpio",),
    "diskcache": ("projections.store",),
    "starlette": ("inputs.api", "inputs.event_stream", "inputs.http_server"),
    "uvicorn": ("inputs.http_server",),
    "pydantic_settings": ("settings", "settings_report"),
    "msgpack": (
        "events", "inputs.envelopes", "projections.store", "sync.wire", "commands.ends",
        "commands.checkpoint",
    ),
    "pydantic": (
        "settings", "setting_types", "settings_report", "messages", "domain", "inputs", "commands",
        "projections", "queries", "sync", "fleet", "cli_fleet_actions", "asyncapi",
    ),
}  # fmt: skip
"""Which modules may name an outside library; a library that is not here is not ours to use."""

IO_LIBRARIES = frozenset({
    "asyncio", "concurrent", "ctypes", "fcntl", "http", "io", "logging", "multiprocessing", "os",
    "pathlib", "random", "secrets", "select", "shutil", "signal", "socket", "sqlite3", "ssl",
    "subprocess", "tempfile", "threading", "time", "urllib",
})  # fmt: skip


def wrong_edges(module: Module) -> Iterator[str]:
    """Yield imports of a stage that this one must not know."""
    if module.stage in COMPOSERS:
        return
    allowed = (module.stage, *ALLOWED.get(module.stage, ()))
    for target in sorted(module.own_imports()):
        if not _within(target, allowed):
            yield f"{module.name} imports {target}"


def unknown_stage(module: Module) -> Iterator[str]:
    """Yield a part that the table above does not place."""
    if module.stage not in ALLOWED and module.stage not in COMPOSERS:
        yield f"{module.name} has no place in the flow"


def library_without_right(module: Module) -> Iterator[str]:
    """Yield outside libraries that have another owner, or none."""
    for library in sorted(module.libraries() - sys.stdlib_module_names):
        if not _within(module.name, OWNERS.get(library, ())):
            yield f"{module.name} imports {library}"


def io_in_the_domain(module: Module) -> Iterator[str]:
    """Yield what a pure rule has no need of."""
    if module.stage == "domain":
        yield from sorted(
            f"{module.name} imports {name}" for name in module.libraries() & IO_LIBRARIES
        )


def _within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)
