"""Whoever gets a setting wrong is told where, what came and what is accepted."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from teddy_edge import settings
from teddy_edge.errors import SettingsError
from teddy_edge.settings import config_file, load_settings

NOBODY = 65534


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "teddy-edge.toml"


@pytest.fixture
def without_root(tmp_path: Path) -> Iterator[None]:
    """Root may read everything, so look with another user's eyes."""
    tmp_path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(user)
    tmp_path.chmod(0o700)


def complaint(file: Path | None, text: str | bytes = "") -> str:
    if file is not None and text:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as raised:
        load_settings(file)
    return str(raised.value)


HOST = "a host name or an address: parts of 1 to 63 letters, digits or -, with one dot between them"
API_KEYS = ("connections_max", "listeners_max", "request_timeout_s")
WRONG = [
    ('bear = "a b"', 'bear: got "a b"; accepted: text like ^[A-Za-z0-9_-]{1,64}$'),
    ("[broker]\nport = 0", "broker.port: got 0; accepted: a whole number from 1 to 65535"),
    (
        "[broker]\ntimeout_s = 0.0",
        "broker.timeout_s: got 0.0; accepted: a number above 0, up to 120",
    ),
    ("[sync]\nbatch_wait_s = nan", "sync.batch_wait_s: got nan; accepted: a number from 0 to 60"),
    (
        '[broker]\nport = "1883"',
        'broker.port: got "1883"; accepted: a whole number from 1 to 65535',
    ),
    ("[broker]\nport = true", "broker.port: got true; accepted: a whole number from 1 to 65535"),
    ("[commands]\nallow_unsigned = 1", "commands.allow_unsigned: got 1; accepted: true or false"),
    ("data_directory = 1979-05-27", "data_directory: got 1979-05-27; accepted: a path"),
    ("broker = 3", "broker: got 3; accepted: a table"),
    ("[[broker]]", "broker: got a list; accepted: a table"),
    ("[broker.host]\nname = 'x'", f"broker.host: got a table; accepted: {HOST}"),
    *(
        (
            f"[broker]\nhost = '{host}'",
            f"broker.host: got {json.dumps(host)[:80]}; accepted: {HOST}",
        )
        for host in ("", "a b", "a..b", ".x", "x" * 70, "b\u00fccher.de", "x." * 127)
    ),
    (
        "[diagnostics]\nlevel = 'LOUD'",
        'diagnostics.level: got "LOUD"; accepted: one of "DEBUG", "INFO", "WARNING", "ERROR"',
    ),
    (
        "[broker]\npassword = 424242",
        "broker.password: got a value that is not shown; accepted: text",
    ),
    (
        "[buttons.pins]\nnose = 28",
        "buttons.pins.nose: got 28; accepted: a whole number from 0 to 27",
    ),
    (
        "[buttons.pins]\nNose = 8",
        "buttons.pins.Nose: got this name; accepted: names like ^[a-z][a-z0-9_]{0,31}$",
    ),
    (
        "[api]\nlisteners = 8",
        "api.listeners: got an unknown key; accepted: one of " + ", ".join(API_KEYS),
    ),
]


MIDDLEWARE = "each at most once, validation before security, also dedupe and deadline"
NEEDED = ("validation", "security", "dedupe", "deadline")


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_a_wrong_value_is_named_with_its_file_and_what_is_accepted(
    file: Path, text: str, expected: str
) -> None:
    assert complaint(file, text) == f"{file}: {expected}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('["logging"]', f"commands.middleware: got a list; accepted: a list, {MIDDLEWARE}: one of"),
        ("3", f"commands.middleware: got 3; accepted: a list, {MIDDLEWARE}: one of"),
        (
            '["validation", "security", "dedupe", "deadline", "logging", "logging"]',
            f"commands.middleware: got a list; accepted: a list, {MIDDLEWARE}: one of",
        ),
        *[
            (
                json.dumps([name for name in NEEDED if name != left_out]),
                f"commands.middleware: got a list; accepted: a list, {MIDDLEWARE}: one of",
            )
            for left_out in NEEDED
        ],
        (
            '["loging"]',
            'commands.middleware.0: got "loging"; accepted: one of "metrics", "logging"',
        ),
    ],
)
def test_a_wrong_list_of_steps_is_answered_with_the_known_ones(
    file: Path, given: str, expected: str
) -> None:
    assert complaint(file, f"[commands]\nmiddleware = {given}").startswith(f"{file}: {expected}")


def test_a_list_in_the_environment_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEDDY_EDGE_COMMANDS__MIDDLEWARE", "validation,security")
    assert complaint(None).startswith(
        "environment variable TEDDY_EDGE_COMMANDS__MIDDLEWARE: commands.middleware: got other text;"
    )
    monkeypatch.setenv("TEDDY_EDGE_COMMANDS__MIDDLEWARE", json.dumps(NEEDED))
    assert load_settings(None).commands.middleware == NEEDED


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "a_b.example.",
        "10.0.0.1",
        "::1",
        "fe80::1%eth0",
        "x" * 63 + ".de",
        "xn--bcher-kva",
    ],
)
def test_a_name_and_an_address_are_hosts(file: Path, host: str) -> None:
    file.write_text(f"[broker]\nhost = '{host}'")
    assert load_settings(file).broker.host == host


def test_all_wrong_values_are_named_at_once(file: Path) -> None:
    lines = complaint(file, "bare = 1\n[broker]\nport = true\ntimeout_s = -1.0").splitlines()
    assert [line.removeprefix(f"{file}: ").partition(":")[0] for line in lines] == [
        "broker.timeout_s",
        "bare",
        "broker.port",
    ]


def test_an_unknown_section_is_answered_with_the_known_ones(file: Path) -> None:
    text = complaint(file, "[brokr]\nport = 1")
    assert text.startswith(
        f"{file}: brokr: got an unknown key; accepted: one of api, bear, broker,"
    )


def test_a_syntax_error_is_named_with_its_line(file: Path) -> None:
    text = complaint(file, 'bear = "b"\nsocket = = 1\n')
    assert text.startswith(f"{file}: got ")
    assert "at line 2" in text
    assert text.endswith("accepted: TOML, as in config/teddy-edge.toml")


def test_a_key_given_twice_is_an_error(file: Path) -> None:
    assert "at line 2" in complaint(file, 'bear = "a"\nbear = "b"\n')


def test_a_file_that_is_not_utf_8_is_named_with_the_byte(file: Path) -> None:
    expected = f"{file}: got byte 0xff at position 8; accepted: text in UTF-8"
    assert complaint(file, b'bear = "\xff"') == expected


def test_a_missing_file_is_named(file: Path) -> None:
    expected = f"{file}: got No such file or directory; accepted: a file that can be read"
    assert complaint(file) == expected


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    expected = f"{tmp_path}: got Is a directory; accepted: a file that can be read"
    assert complaint(tmp_path) == expected


@pytest.mark.usefixtures("without_root")
def test_a_file_in_a_folder_that_may_not_be_read_is_named(file: Path) -> None:
    expected = f"{file}: got Permission denied; accepted: a file that can be read"
    assert complaint(file) == expected


@pytest.mark.usefixtures("without_root")
def test_a_system_file_that_may_not_be_looked_at_is_not_taken_for_absent(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "SYSTEM_CONFIG", file)
    assert config_file(None, {}) == file


def test_without_a_system_file_there_is_none(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "SYSTEM_CONFIG", file)
    assert config_file(None, {}) is None


VARIABLES = [
    ("BROKER__PORT", "70000", 'broker.port: got "70000"; accepted: a whole number from 1 to 65535'),
    ("broker__port", "x", 'broker.port: got "x"; accepted: a whole number from 1 to 65535'),
    ("BROKER", '{"port": 0}', "broker.port: got 0; accepted: a whole number from 1 to 65535"),
    ("BUTTONS__PINS", "17", "buttons.pins: got other text; accepted: a table, as JSON"),
    (
        "BUTTONS__PINS__NOSE",
        "99",
        'buttons.pins.nose: got "99"; accepted: a whole number from 0 to 27',
    ),
    (
        "BROKR__PORT",
        "1",
        "got a name that is no setting; accepted: a key's path, as in TEDDY_EDGE_BROKER__PORT",
    ),
]


@pytest.mark.parametrize(("name", "value", "expected"), VARIABLES)
def test_a_wrong_variable_is_named_in_place_of_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    variable = f"TEDDY_EDGE_{name}"
    monkeypatch.setenv(variable, value)
    assert complaint(file, "[broker]\nport = 1884") == (
        f"environment variable {variable.upper()}: {expected}"
    )


def test_a_wrong_value_of_the_file_is_not_blamed_on_a_variable_of_the_same_section(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEDDY_EDGE_BROKER", '{"host": "cloud"}')
    assert complaint(file, "[broker]\nport = 0").startswith(f"{file}: broker.port: got 0;")


PASSWORDS = [
    ("[broker]\npassword = 'hunter2'\nport = 0", {}),
    ("[broker]\npassword = ['hunter2']", {}),
    ("[broker.password]\nword = 'hunter2'", {}),
    ("[broker]\npasswort = 'hunter2'", {}),
    ("broker = {password = 'hunter2', port = 0}", {}),
    ("", {"TEDDY_EDGE_BROKER": '{"password": ["hunter2"]}'}),
    ("", {"TEDDY_EDGE_BROKER": '{"password": "hunter2"'}),
    ("", {"TEDDY_EDGE_BROKER": '"hunter2"'}),
]


@pytest.mark.parametrize(("text", "environment"), PASSWORDS)
def test_a_password_is_never_shown(
    file: Path, monkeypatch: pytest.MonkeyPatch, text: str, environment: dict[str, str]
) -> None:
    file.write_text(text)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings(file)
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


def test_good_settings_do_not_show_their_password(file: Path) -> None:
    file.write_text("[broker]\npassword = 'hunter2'")
    assert "hunter2" not in repr(load_settings(file))


def test_a_variable_wins_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[broker]\nport = 1884\nhost = 'cloud'")
    monkeypatch.setenv("TEDDY_EDGE_BROKER__PORT", "1885")
    broker = load_settings(file).broker
    assert (broker.host, broker.port) == ("cloud", 1885)


def test_the_variable_that_names_the_file_is_not_a_setting(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("bear = 'b'")
    monkeypatch.setenv("TEDDY_EDGE_CONFIG", str(file))
    assert load_settings(config_file(None, os.environ)).bear == "b"


def test_a_path_is_made_absolute_at_once(file: Path) -> None:
    file.write_text("data_directory = 'here'")
    assert load_settings(file).data_directory == Path.cwd() / "here"
