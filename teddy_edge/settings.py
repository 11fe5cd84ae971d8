"""Settings: one TOML file, overridden by the environment, checked before anything starts.

`config/teddy-edge.toml` names every key with its unit and default. An environment variable is the
key's path in capitals: `TEDDY_EDGE_BROKER__PORT=1884`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from teddy_edge.errors import SettingProblem, SettingsError
from teddy_edge.setting_types import (
    AbsolutePath,
    BearId,
    ButtonName,
    GpioPin,
    Host,
    MiddlewareName,
)
from teddy_edge.settings_report import SettingsReport
from teddy_edge.socket_paths import default_sockets

SYSTEM_CONFIG = Path("/etc/teddy-edge/teddy-edge.toml")
VARIABLE_PREFIX = "TEDDY_EDGE_"
CONFIG_VARIABLE = "TEDDY_EDGE_CONFIG"


class Section(BaseModel):
    """One table of the file. An unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BrokerSettings(Section):
    """The MQTT broker."""

    host: Host = "localhost"
    port: int = Field(1883, ge=1, le=65535)
    username: str | None = None
    password: SecretStr | None = None
    tls: bool = False
    ca_file: AbsolutePath | None = None
    certificate_file: AbsolutePath | None = None
    key_file: AbsolutePath | None = None
    keepalive_s: int = Field(30, ge=5, le=3600)
    timeout_s: float = Field(10.0, gt=0, le=120)
    session_expiry_s: int = Field(7 * 24 * 3600, ge=60, le=0xFFFFFFFE)
    receive_maximum: int = Field(64, ge=1, le=65535)
    packet_bytes_max: int = Field(1024**2, ge=1024, le=16 * 1024**2)
    held_bytes_max: int = Field(4 * 1024**2, ge=4096, le=64 * 1024**2)
    backoff_s_min: float = Field(1.0, gt=0, le=60)
    backoff_s_max: float = Field(60.0, gt=0, le=3600)


class LogSettings(Section):
    """The event log."""

    segment_bytes_max: int = Field(4 * 1024 * 1024, ge=512, le=16 * 1024**2)
    allocation_bytes: int = Field(64 * 1024, ge=0, le=64 * 1024**2)
    record_bytes_max: int = Field(128 * 1024, ge=1024, le=1024**2)
    queue_records_max: int = Field(4096, ge=1, le=1_000_000)
    queue_bytes_max: int = Field(8 * 1024**2, ge=4096, le=256 * 1024**2)
    queue_timeout_s: float = Field(5.0, gt=0, le=60)
    batch_bytes_max: int = Field(1024 * 1024, ge=4096, le=16 * 1024**2)
    budget_bytes: int = Field(256 * 1024**2, ge=128 * 1024**2, le=64 * 1024**3)
    confirmed_age_s_max: int = Field(30 * 24 * 3600, ge=0, le=10 * 365 * 24 * 3600)
    command_bytes_max: int = Field(8 * 1024**2, ge=0, le=64 * 1024**2)
    state_bytes_max: int = Field(8 * 1024**2, ge=0, le=64 * 1024**2)
    retention_interval_s: float = Field(10.0, gt=0, le=3600)
    reserve_bytes: int = Field(4 * 1024**2, ge=0, le=1024**3)
    spare_segments_max: int = Field(2, ge=0, le=16)
    torn_bytes_max: int = Field(1024**2, ge=1024, le=64 * 1024**2)
    quarantine_bytes_max: int = Field(32 * 1024**2, ge=0, le=1024**3)


class CommandSettings(Section):
    """The command bus."""

    payload_bytes_max: int = Field(32 * 1024, ge=256, le=64 * 1024)
    depth_max: int = Field(16, ge=2, le=64)
    finished_max: int = Field(10_000, ge=100, le=100_000)
    finished_bytes_max: int = Field(8 * 1024**2, ge=64 * 1024, le=64 * 1024**2)
    checkpoint_records: int = Field(5000, ge=100, le=1_000_000)
    children_max: int = Field(1000, ge=1, le=100_000)
    allow_unsigned: bool = False
    keep_words: bool = False
    per_minute: int = Field(600, ge=1, le=1_000_000)
    skew_s_max: int = Field(300, ge=0, le=24 * 3600)
    unsynced_skew_s_max: int = Field(400 * 24 * 3600, ge=24 * 3600, le=10 * 365 * 24 * 3600)
    middleware: tuple[MiddlewareName, ...] = Field(
        ("metrics", "logging", "validation", "security", "dedupe", "rate_limit", "deadline"),
        description="each at most once, validation before security, also dedupe and deadline",
    )

    @field_validator("middleware")
    @classmethod
    def _has_what_it_needs(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse a chain that would not keep a promise: one effect, none after the deadline."""
        checks = [name for name in names if name in {"validation", "security"}]
        has_all = {"dedupe", "deadline"} <= set(names) and checks == ["validation", "security"]
        if not has_all or len(set(names)) < len(names):
            raise ValueError("each at most once, and without some of them a promise is broken")
        return names


class ProjectionSettings(Section):
    """The read models."""

    write_window_s: float = Field(2.0, gt=0, le=300)
    batch_records_max: int = Field(500, ge=1, le=100_000)
    row_bytes_max: int = Field(64 * 1024, ge=64 * 1024, le=1024**2)
    held_rows_max: int = Field(10_000, ge=1, le=1_000_000)
    renewal_interval_s: float = Field(24 * 3600, ge=60, le=30 * 24 * 3600)


class QuerySettings(Section):
    """The query bus and its cache."""

    catch_up_s_max: float = Field(0.5, ge=0, le=30)
    cache_entries_max: int = Field(1000, ge=0, le=100_000)
    child_profile_ttl_s: float = Field(30 * 60, ge=0, le=7 * 24 * 3600)
    parent_children_ttl_s: float = Field(15 * 60, ge=0, le=7 * 24 * 3600)
    safety_report_ttl_s: float = Field(60 * 60, ge=0, le=7 * 24 * 3600)
    analytics_ttl_s: float = Field(120 * 60, ge=0, le=7 * 24 * 3600)
    warm_up_children_max: int = Field(100, ge=0, le=10_000)
    expensive_per_minute: int = Field(60, ge=1, le=100_000)
    answer_bytes_max: int = Field(64 * 1024, ge=1024, le=1024**2)
    at_once_max: int = Field(4, ge=1, le=64)


class SyncSettings(Section):
    """What goes upstream."""

    batch_records_max: int = Field(500, ge=1, le=10_000)
    batch_bytes_max: int = Field(128 * 1024, ge=1024, le=1024**2)
    batch_wait_s: float = Field(0.05, ge=0, le=60)
    batches_in_flight_max: int = Field(4, ge=1, le=64)
    confirm_timeout_s: float = Field(30.0, gt=0, le=3600)
    history_records_per_s: int = Field(5000, ge=1, le=1_000_000)
    replays_per_minute: int = Field(6, ge=1, le=1000)
    state_window_s: float = Field(0.5, ge=0, le=300)
    pending_finished_max: int = Field(100, ge=0, le=1000)


class ClockSettings(Section):
    """The clock."""

    poll_s: float = Field(5.0, gt=0, le=3600)
    step_s: float = Field(1.0, gt=0, le=3600)


class ApiSettings(Section):
    """The local socket."""

    connections_max: int = Field(32, ge=1, le=1000)
    listeners_max: int = Field(8, ge=1, le=100)
    request_timeout_s: float = Field(10.0, gt=0, le=300)


class ButtonSettings(Section):
    """The buttons: a name and a BCM pin number each."""

    debounce_s: float = Field(0.03, ge=0, le=5)
    queue_max: int = Field(64, ge=1, le=10_000)
    pins: dict[ButtonName, GpioPin] = {"left_paw": 17, "right_paw": 27, "belly": 22}


class DiagnosticsSettings(Section):
    """The daemon's own log lines."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix=VARIABLE_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    bear: BearId = "bear-001"
    data_directory: AbsolutePath = Path("/var/lib/teddy-edge")
    socket: AbsolutePath | None = None
    broker: BrokerSettings = BrokerSettings()
    log: LogSettings = LogSettings()
    commands: CommandSettings = CommandSettings()
    projections: ProjectionSettings = ProjectionSettings()
    queries: QuerySettings = QuerySettings()
    sync: SyncSettings = SyncSettings()
    clock: ClockSettings = ClockSettings()
    api: ApiSettings = ApiSettings()
    buttons: ButtonSettings = ButtonSettings()
    diagnostics: DiagnosticsSettings = DiagnosticsSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file (which comes in as the initial values)."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @property
    def log_directory(self) -> Path:
        """Where the event log lies."""
        return self.data_directory / "log"

    @property
    def read_models_directory(self) -> Path:
        """Where the read models lie."""
        return self.data_directory / "read-models"

    @property
    def cursor_file(self) -> Path:
        """Where the confirmed sequence number is kept."""
        return self.data_directory / "confirmed.json"

    @property
    def checkpoint_file(self) -> Path:
        """Where a start begins to read the log, and with what."""
        return self.data_directory / "checkpoint"

    @property
    def socket_path(self) -> Path:
        """The local socket: the one set, else the first default."""
        return self.socket or default_sockets()[0]


def config_file(given: Path | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Choose the file: the one given, `TEDDY_EDGE_CONFIG`, the system's if there is one."""
    if given is not None:
        return given
    if CONFIG_VARIABLE in environ:
        return Path(environ[CONFIG_VARIABLE])
    return SYSTEM_CONFIG if _may_exist(SYSTEM_CONFIG) else None


def _may_exist(file: Path) -> bool:
    """Count a file that we may not look at as one: reading it then says why it can't be read."""
    try:
        file.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def load_settings(file: Path | None) -> Settings:
    """Read the file (none: the defaults) and the environment, and check everything.

    Raises `SettingsError` with every problem: where it was read, the key, what came and what is
    accepted.
    """
    values = {} if file is None else _read_toml(file)
    report = SettingsReport(Settings, file, _environment())
    if unusable := list(report.of_environment()):
        raise SettingsError(*unusable)
    problems = {problem.key: problem for problem in report.of_types(values)}
    try:
        settings = Settings(**values)
    except ValidationError as error:
        refused = {problem.key: problem for problem in report.of_validation(error)}
        raise SettingsError(*(refused | problems).values()) from error
    unfit = [*problems.values(), *report.of_agreement(settings.model_dump())]
    if unfit:
        raise SettingsError(*unfit)
    return settings


def _environment() -> dict[str, str]:
    """The variables that would be settings, by upper-case name: pydantic ignores their case."""
    ours = {name.upper(): value for name, value in os.environ.items()}
    return {
        name: value
        for name, value in ours.items()
        if name.startswith(VARIABLE_PREFIX) and name != CONFIG_VARIABLE
    }


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        given = error.strerror or str(error)
        raise _unreadable(file, given, "a file that can be read") from error
    except UnicodeDecodeError as error:
        given = f"byte {error.object[error.start]:#04x} at position {error.start}"
        raise _unreadable(file, given, "text in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(file, str(error), "TOML, as in config/teddy-edge.toml") from error


def _unreadable(file: Path, given: str, accepted: str) -> SettingsError:
    return SettingsError(SettingProblem(str(file), None, given, accepted))
