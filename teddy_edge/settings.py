"""Settings: one TOML file, overridden by the environment, checked before anything starts.

`config/teddy-edge.toml` names every key with its unit and default. An environment variable is the
key's path in capitals: `TEDDY_EDGE_BROKER__PORT=1884`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from teddy_edge.errors import SettingsError

SYSTEM_CONFIG = Path("/etc/teddy-edge/teddy-edge.toml")
SOCKET_NAME = "api.sock"

BearId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
ButtonName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
GpioPin = Annotated[int, Field(ge=0, le=27)]


class Section(BaseModel):
    """One table of the file. An unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BrokerSettings(Section):
    """The MQTT broker."""

    host: str = "localhost"
    port: int = Field(1883, ge=1, le=65535)
    username: str | None = None
    password: SecretStr | None = None
    tls: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: int = Field(30, ge=5, le=3600)
    timeout_s: float = Field(10.0, gt=0, le=120)
    session_expiry_s: int = Field(7 * 24 * 3600, ge=0, le=0xFFFFFFFE)
    receive_maximum: int = Field(64, ge=1, le=65535)
    backoff_s_min: float = Field(1.0, gt=0, le=60)
    backoff_s_max: float = Field(60.0, gt=0, le=3600)


class LogSettings(Section):
    """The event log."""

    segment_bytes_max: int = Field(4 * 1024 * 1024, ge=4096, le=64 * 1024**2)
    record_bytes_max: int = Field(128 * 1024, ge=1024, le=1024**2)
    queue_records_max: int = Field(4096, ge=1, le=1_000_000)
    queue_bytes_max: int = Field(8 * 1024**2, ge=4096, le=256 * 1024**2)
    queue_timeout_s: float = Field(5.0, gt=0, le=60)
    batch_bytes_max: int = Field(1024 * 1024, ge=4096, le=16 * 1024**2)
    torn_bytes_max: int = Field(1024**2, ge=1024, le=64 * 1024**2)
    quarantine_bytes_max: int = Field(32 * 1024**2, ge=0, le=1024**3)


class CommandSettings(Section):
    """The command bus."""

    payload_bytes_max: int = Field(32 * 1024, ge=256, le=64 * 1024)
    depth_max: int = Field(16, ge=2, le=64)
    finished_max: int = Field(10_000, ge=100, le=1_000_000)
    allow_unsigned: bool = False


class ProjectionSettings(Section):
    """The read models."""

    write_window_s: float = Field(2.0, gt=0, le=300)
    batch_records_max: int = Field(500, ge=1, le=100_000)
    row_bytes_max: int = Field(64 * 1024, ge=1024, le=1024**2)
    answer_wait_s: float = Field(0.5, ge=0, le=30)


class SyncSettings(Section):
    """What goes upstream."""

    batch_records_max: int = Field(100, ge=1, le=10_000)
    batch_bytes_max: int = Field(64 * 1024, ge=1024, le=1024**2)
    batch_wait_s: float = Field(0.05, ge=0, le=60)
    batches_in_flight_max: int = Field(4, ge=1, le=64)
    confirm_timeout_s: float = Field(30.0, gt=0, le=3600)
    state_window_s: float = Field(0.5, ge=0, le=300)


class ApiSettings(Section):
    """The local socket."""

    connections_max: int = Field(32, ge=1, le=1000)
    listeners_max: int = Field(8, ge=1, le=100)


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
        env_prefix="TEDDY_EDGE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    bear: BearId = "bear-001"
    data_directory: Path = Path("/var/lib/teddy-edge")
    socket: Path | None = None
    broker: BrokerSettings = BrokerSettings()
    log: LogSettings = LogSettings()
    commands: CommandSettings = CommandSettings()
    projections: ProjectionSettings = ProjectionSettings()
    sync: SyncSettings = SyncSettings()
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
    def socket_path(self) -> Path:
        """The local socket: the one set, else the first default."""
        return self.socket or default_sockets()[0]


def default_sockets() -> list[Path]:
    """Where a daemon's socket may lie, most likely first; the command line tries them in order.

    systemd gives `/run/teddy-edge` (also to root); a person has `$XDG_RUNTIME_DIR`, or a private
    folder in /tmp.
    """
    system = Path("/run/teddy-edge") / SOCKET_NAME
    private = Path(f"/tmp/teddy-edge-{os.getuid()}") / SOCKET_NAME  # noqa: S108 (mode 0700)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    users = [Path(runtime) / "teddy-edge" / SOCKET_NAME] if runtime else []
    if os.getuid() == 0 or "RUNTIME_DIRECTORY" in os.environ:
        return [system]
    return [*users, private, system]


def config_file(given: Path | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Choose the file: the one given, `TEDDY_EDGE_CONFIG`, the system's if there is one."""
    if given is not None:
        return given
    if "TEDDY_EDGE_CONFIG" in environ:
        return Path(environ["TEDDY_EDGE_CONFIG"])
    return SYSTEM_CONFIG if SYSTEM_CONFIG.exists() else None


def load_settings(file: Path | None) -> Settings:
    """Read the file (none: defaults and environment) and check everything.

    Raises `SettingsError` with every problem: the key, what came and what is accepted.
    """
    source = "defaults and environment" if file is None else str(file)
    values = {} if file is None else _read_toml(file)
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = [_problem(detail) for detail in error.errors()]
        raise SettingsError(source, problems) from error
    except ValueError as error:  # an environment variable that is not the JSON its key needs
        raise SettingsError(
            "environment", [("TEDDY_EDGE_*", str(error), "a valid value")]
        ) from error


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        problem = ("(file)", error.strerror or str(error), "a file that can be read")
        raise SettingsError(str(file), [problem]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = ("(syntax)", str(error), "TOML, as in config/teddy-edge.toml")
        raise SettingsError(str(file), [problem]) from error


def _problem(detail: Any) -> tuple[str, str, str]:
    location = [str(part) for part in detail["loc"] if part != "[key]"]
    key = ".".join(location)
    given = "***" if "password" in key else repr(detail["input"])[:80]
    if detail["type"] == "extra_forbidden":
        return key, "an unknown key", "one of " + ", ".join(_known_keys(location[:-1]))
    accepted = detail["msg"].removeprefix("Input should be ").removeprefix("String should ")
    return key, given, accepted


def _known_keys(sections: list[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for section in sections:
        inner = model.model_fields[section].annotation
        assert isinstance(inner, type) and issubclass(inner, BaseModel)  # noqa: PT018
        model = inner
    return sorted(model.model_fields)
