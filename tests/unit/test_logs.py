"""What happens is told to people and to programs, as much as was asked for, and never a password."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
import subprocess
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from adamacs import cli
from adamacs.core import logs
from adamacs.core.errors import InvalidSetting
from adamacs.core.settings import Secret
from adamacs.workers import console

log = logging.getLogger("adamacs.test")


@pytest.fixture(autouse=True)
def unasked(monkeypatch):
    """Nobody asks for more, and nobody listens afterwards who did not before."""
    monkeypatch.delenv(logs.VARIABLE, raising=False)
    root = logging.getLogger("adamacs")
    before = list(root.handlers), root.level
    yield
    assert (list(root.handlers), root.level) == before


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def terminal(stream):
    handler = logs.to_terminal(stream, logging.INFO)
    yield stream
    logs.detach(handler)


@pytest.fixture
def file(tmp_path):
    handler = logs.to_file(tmp_path / "logs" / "worker.jsonl", logging.DEBUG, worker=7)
    yield tmp_path / "logs" / "worker.jsonl"
    logs.detach(handler)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---- how much is told


@pytest.mark.parametrize(
    ("word", "level"),
    [
        ("", logging.ERROR),
        ("error", logging.ERROR),
        ("WARNING", logging.WARNING),
        ("info", logging.INFO),
        ("v", logging.INFO),
        ("-v", logging.INFO),
        (" vv ", logging.DEBUG),
        ("Debug", logging.DEBUG),
    ],
)
def test_the_variable_asks_for_a_level(word, level):
    assert logs.level(environ={logs.VARIABLE: word}) == level


def test_without_the_variable_the_default_counts():
    assert logs.level(environ={}) == logging.ERROR
    assert logs.level(logging.INFO, environ={}) == logging.INFO


def test_a_misspelt_level_is_answered_with_the_nearest():
    with pytest.raises(InvalidSetting, match=r"ADAMACS_LOG_LEVEL: 'degub' is no level.* Did you mean debug"):
        logs.level(environ={logs.VARIABLE: "degub"})


def test_more_is_asked_for_inside_the_block_alone(monkeypatch):
    with logs.verbose(2):
        assert logs.level() == logging.DEBUG
        with logs.verbose(0):
            assert logs.level() == logging.DEBUG
    assert logs.VARIABLE not in os.environ
    monkeypatch.setenv(logs.VARIABLE, "debug")
    with logs.verbose(1):
        assert logs.level() == logging.INFO
    assert logs.level() == logging.DEBUG


def test_by_default_a_terminal_shows_errors_and_a_file_what_begins_and_ends(stream, tmp_path):
    shown, kept = logs.to_terminal(stream), logs.to_file(tmp_path / "a.jsonl")
    log.debug("step")
    log.info("start")
    log.error("failed")
    logs.detach(shown)
    logs.detach(kept)
    assert "failed" in stream.getvalue() and "start" not in stream.getvalue()
    assert [line["message"] for line in lines(tmp_path / "a.jsonl")] == ["start", "failed"]


# ---- a terminal


def test_a_line_for_people_is_time_level_message_and_fields(terminal):
    key = {"scan_id": "scan9FY6AIRM", "paramset_idx": 0}
    log.info("done", extra=logs.fields(table="imaging.Processing", key=key, note="two words", nothing=""))
    line = terminal.getvalue()
    told = "INFO    done table=imaging.Processing key=scan_id=scan9FY6AIRM,paramset_idx=0 note='two words' nothing=''\n"
    assert line.endswith(told)
    datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S")


def test_a_key_that_the_message_tells_is_not_repeated(terminal):
    fields = logs.fields(table="imaging.Processing", key={"scan_id": "scan9FY6AIRM"}, tries=3)
    log.error("failed  imaging.Processing scan_id=scan9FY6AIRM: 3 files", extra=fields)
    assert terminal.getvalue().endswith("ERROR   failed  imaging.Processing scan_id=scan9FY6AIRM: 3 files tries=3\n")


def test_fields_stand_before_the_traceback(terminal):
    try:
        raise ValueError("no ROIs")
    except ValueError:
        log.exception("failed", extra=logs.fields(mask=3))
    first, *rest = terminal.getvalue().splitlines()
    assert first.endswith("failed mask=3")
    assert rest[-1] == "ValueError: no ROIs"


def test_there_is_one_terminal(terminal):
    other = io.StringIO()
    handler = logs.to_terminal(other, logging.INFO)
    log.info("done")
    logs.detach(handler)
    assert (terminal.getvalue(), other.getvalue().count("done")) == ("", 1)


def test_a_terminal_that_takes_over_gives_back(terminal):
    other = io.StringIO()
    with logs.showing(logs.Terminal(other, logging.DEBUG)):
        log.debug("inside")
    log.info("afterwards")
    assert "inside" in other.getvalue() and "inside" not in terminal.getvalue()
    assert "afterwards" in terminal.getvalue() and "afterwards" not in other.getvalue()


def test_a_handler_without_a_stream_follows_standard_error(capsys, monkeypatch):
    handler = logs.to_terminal(level=logging.INFO)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    log.info("done")
    assert "done" in sys.stderr.getvalue()
    logs.detach(handler)


@pytest.mark.parametrize(("word", "shown"), [("", False), ("v", True), ("error", False), ("vv", True)])
def test_a_worker_is_as_quiet_as_every_command_unless_asked(stream, monkeypatch, word, shown):
    monkeypatch.setenv(logs.VARIABLE, word)
    with logs.showing(logs.Terminal(io.StringIO())), console.shown(stream):
        log.info("start")
        log.debug("step")
    assert ("start" in stream.getvalue()) == shown
    assert ("step" in stream.getvalue()) == (word == "vv")


# ---- a file


def test_a_line_for_programs_is_one_object(file):
    log.info("done %s", "it", extra=logs.fields(table="imaging.Processing", key={"mask": np.int64(3)}, seconds=1.5))
    (line,) = lines(file)
    when = datetime.fromisoformat(line.pop("time"))
    assert when.utcoffset() == UTC.utcoffset(None)
    assert abs(when.timestamp() - datetime.now(UTC).timestamp()) < 60
    assert line == {
        "level": "INFO",
        "logger": "adamacs.test",
        "message": "done it",
        "worker": 7,
        "table": "imaging.Processing",
        "key": {"mask": 3},
        "seconds": 1.5,
    }


def test_milliseconds_are_told(file):
    log.info("done")
    assert len(lines(file)[0]["time"]) == len("2026-02-10T11:00:00.125+00:00")


def test_a_traceback_and_any_text_stay_on_one_line(file):
    try:
        raise ValueError("zwei\nZeilen: µ")
    except ValueError:
        log.exception("failed\nhere \udcff")
    (line,) = lines(file)
    assert "ValueError: zwei\nZeilen: µ" in line["exception"]


def test_a_field_cannot_pass_for_the_level(file):
    log.info("done", extra=logs.fields(level="root", time=1))
    (line,) = lines(file)
    assert (line["level"], line["level_"], line["time_"]) == ("INFO", "root", 1)


@given(
    st.dictionaries(
        st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates()
    )
)
def test_any_fields_make_one_line_of_json(values):
    record = logging.LogRecord("adamacs.test", logging.INFO, __file__, 1, "done", None, None)
    record.fields = {"nested": [values]}
    line = logs.JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line, parse_constant=pytest.fail)["message"] == "done"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_others_cannot_read_the_file(tmp_path):
    before = os.umask(0)
    try:
        handler = logs.to_file(tmp_path / "new" / "folder" / "a.jsonl")
    finally:
        os.umask(before)
    logs.detach(handler)
    assert stat.S_IMODE((tmp_path / "new" / "folder" / "a.jsonl").stat().st_mode) == 0o640


def test_a_file_is_continued_and_turned_over_when_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "_SIZE", 2000)
    for _ in range(2):
        handler = logs.to_file(tmp_path / "a.jsonl")
        for number in range(60):
            log.info("done", extra=logs.fields(number=number))
        logs.detach(handler)
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["a.jsonl", "a.jsonl.1", "a.jsonl.2", "a.jsonl.3"]
    kept = [line["number"] for name in reversed(found) for line in lines(tmp_path / name)]
    assert kept == list(range(60 - len(kept), 60))
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())


def test_a_file_hears_what_a_quiet_terminal_does_not(file, stream):
    handler = logs.to_terminal(stream)
    log.debug("step")
    logs.detach(handler)
    assert [line["message"] for line in lines(file)] == ["step"]
    assert stream.getvalue() == ""


# ---- secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ana:geheim@db:5432/lab", "postgresql://ana:***@db:5432/lab"),
        ("'mysql://ana:ge:he/im@x@db'", "'mysql://ana:***@db'"),
        ("s3://:geheim@host and more", "s3://:***@host and more"),
        ("host=db password=geheim user=ana", "host=db password=*** user=ana"),
        ("password='ge heim' user=ana", "password=*** user=ana"),
        ('{"password": "geheim", "user": "ana"}', '{"password": ***, "user": "ana"}'),
        ("ADAMACS_DATABASE_PASSWORD=geheim", "ADAMACS_DATABASE_PASSWORD=***"),
        ("secret_key=geheim, aws_secret_access_key = geheim", "secret_key=***, aws_secret_access_key = ***"),
        ("postgresql://ana@db:5432/lab", "postgresql://ana@db:5432/lab"),
        ("http://host:80/path", "http://host:80/path"),
        ("The password: it is wrong.", "The password: it is wrong."),
        ("scan_id=scan9FY6AIRM", "scan_id=scan9FY6AIRM"),
    ],
)
def test_passwords_are_masked_and_nothing_else(text, shown):
    assert logs.masked(text) == shown


def test_no_line_of_a_traceback_tells_a_password():
    def connect(url):
        raise ConnectionError(f"no route to {url}\nwas it {url!r}?")

    try:
        try:
            connect("postgresql://ana:ge:he@im@db:5432/lab")
        except ConnectionError as error:
            raise ValueError("gave up\npassword='ge heim'") from error
    except ValueError:
        text = traceback.format_exc()
    assert len(text.splitlines()) > 8
    shown = logs.masked(text)
    assert "he@im" not in shown
    assert "ge heim" not in shown
    assert shown.count("postgresql://ana:***@db:5432/lab") >= 2
    assert len(shown.splitlines()) == len(text.splitlines())  # where it happened is still told


def test_a_line_for_people_never_commands_their_terminal(terminal):
    log.error("no such file: %s", "a\x1b[2J\x9b1m.tif", extra=logs.fields(name="b\x1b]0;own\x07"))
    (line,) = terminal.getvalue().splitlines()
    assert r"a\x1b[2J\x9b1m.tif" in line
    assert line.isprintable()


def test_no_part_of_a_line_tells_a_password(file, terminal):
    url = "postgresql://ana:geheim@db/lab"
    try:
        raise ValueError(f"no route to {url}")
    except ValueError:
        log.exception(
            "failed at %s", url, extra=logs.fields(url=f"{url}2", password="geheim", key=Secret("geheim"), all=[url])
        )
    for text in (file.read_text(encoding="utf-8"), terminal.getvalue()):
        assert "geheim" not in text
        assert text.count("***") >= 5
    assert lines(file)[0]["password"] == "***"


# ---- the command line


@pytest.fixture
def verb(monkeypatch):
    """A verb that tells what it does."""

    @click.command()
    def told() -> None:
        """Tell."""
        for name in ("debug", "info", "error"):
            getattr(log, name)(f"an {name}")
        click.echo(f"level {logs.level()}", err=True)

    @click.group()
    def group() -> None:
        """Hold a verb."""

    group.add_command(told)
    module = type(sys)("adamacs.cli.told")
    module.told, module.group = told, group
    monkeypatch.setitem(sys.modules, "adamacs.cli.told", module)
    monkeypatch.setitem(cli.VERBS, "told", ("told", "told", "Tell."))
    monkeypatch.setitem(cli.VERBS, "group", ("told", "group", "Hold a verb."))


@pytest.mark.parametrize(
    ("arguments", "variable", "levels"),
    [
        (["told"], None, ["error"]),
        (["told"], "info", ["info", "error"]),
        (["told"], "vv", ["debug", "info", "error"]),
        (["-v", "told"], None, ["info", "error"]),
        (["told", "-v"], None, ["info", "error"]),
        (["-v", "told", "-v"], None, ["debug", "info", "error"]),
        (["told", "-vv"], None, ["debug", "info", "error"]),
        (["told", "--verbose"], "error", ["info", "error"]),
        (["group", "told", "-v"], None, ["info", "error"]),
        (["-vv", "group", "told"], None, ["debug", "info", "error"]),
    ],
)
def test_v_stands_before_or_behind_the_verb_and_goes_over_the_variable(verb, arguments, variable, levels):
    answer = CliRunner(env={logs.VARIABLE: variable}).invoke(cli.cli, arguments)
    assert answer.exit_code == 0, answer.output
    told = [line.split()[-1] for line in answer.stderr.splitlines() if " an " in line]
    assert told == levels
    assert f"level {getattr(logging, levels[0].upper())}" in answer.stderr, "processes that it starts would differ"


def test_a_level_that_does_not_exist_is_an_error_of_one_line(monkeypatch, capsys):
    monkeypatch.setenv(logs.VARIABLE, "loud")
    with pytest.raises(SystemExit) as ended:
        cli.main(["explain", "sess9FY6AIRM"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: ADAMACS_LOG_LEVEL: 'loud' is no level")


def test_help_loads_no_logging():
    code = (
        "import sys\nfrom adamacs.cli import cli\ntry:\n    cli.main(['--help'])\n"
        "except SystemExit:\n    print('loaded', 'logging' in sys.modules, 'json' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "loaded False False"
