"""One settings object: environment over file, secrets apart and never shown, every fault told with its place."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import os
import pickle
import stat
import tomllib
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from adamacs.core import settings
from adamacs.core.errors import InvalidSetting
from adamacs.core.settings import Role, Secret, Settings, Store

CANARY = "canary-hunter2"
posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")


@pytest.fixture
def home(tmp_path):
    (tmp_path / settings.FILE).write_text("", encoding="utf-8")
    return tmp_path


def write(home: Path, text: str) -> None:
    (home / settings.FILE).write_text(text, encoding="utf-8")


def write_secrets(home: Path, text: str, mode: int = 0o600) -> None:
    path = home / settings.SECRETS_FILE
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def load(home: Path, **environ: str) -> Settings:
    return settings.load(home, environ)


def refusal(home: Path, **environ: str) -> InvalidSetting:
    """Return the refusal that loading ends in."""
    with pytest.raises(InvalidSetting) as caught:
        load(home, **environ)
    return caught.value


# ---- files and environment


def test_an_empty_file_gives_every_default(home):
    assert load(home) == Settings(home=home)
    assert dict(load(home).stores) == {"derived": Store()}


def test_every_setting_is_documented_and_can_be_set_in_file_and_environment(home):
    examples = {"str": "text", "int": 7, "float": 7.5, "bool": True, "Secret": "text", "list": ["imaging.Processing"]}
    special = {"time_zone": "Europe/Berlin", "stores.<name>.protocol": "s3", "workers.device": "cuda:1"}
    special |= {"workers.beat": 7.5, "workers.lease": 12.5}  # a beat is shorter than half of the lease
    special |= {"sync.count_warn": 1, "sync.missing_warn": 1.5}  # none warns beyond where it fails
    special |= {f"sync.{name}_fail": 20_000.0 for name in ("rate", "drift", "residual")}
    names = {"shares": "archive", "stores": "derived", "roles": "cpu"}
    there = {"shares": "[shares.archive]\nfolder = 'elsewhere'"}  # a variable names no share of its own
    for name, kind, default, sentence in settings.documented():
        assert sentence.endswith((".", "`"))
        value = special.get(name, examples[kind])
        assert value != default
        section = name.partition(".")[0]
        spelt = name.replace("<name>", names.get(section, ""))
        write(home, there.get(section, ""))
        loaded = load(home, **{f"ADAMACS_{spelt.upper().replace('.', '_')}": spelt_as_variable(value)})
        assert value_of(loaded, spelt) == {"Secret": Secret, "list": tuple}.get(kind, lambda same: same)(value)
        if kind != "Secret":
            write(home, f"{spelt} = {json.dumps(value)}")
            assert load(home) == loaded
            write(home, "")


def spelt_as_variable(value) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def value_of(loaded: Settings, name: str):
    """Return the value of a setting by its name, such as `stores.derived.bucket`."""
    place = loaded
    for part in name.split("."):
        place = place[part] if hasattr(place, "keys") else getattr(place, part)
    return place


def test_the_environment_goes_over_the_file_and_over_the_secrets(home):
    write(home, 'time_zone = "Europe/Berlin"\n[database]\nprefix = "file"\nuse_tls = true\n')
    write_secrets(home, f'[database]\npassword = "{CANARY}"\n')
    loaded = load(home, ADAMACS_DATABASE_PREFIX="environment", ADAMACS_DATABASE_PASSWORD="other")
    assert (loaded.time_zone, loaded.database.prefix, loaded.database.use_tls) == ("Europe/Berlin", "environment", True)
    assert loaded.database.password.reveal() == "other"


def test_the_process_environment_counts_by_default(home, monkeypatch):
    monkeypatch.setenv("ADAMACS_DATABASE_PREFIX", "everywhere")
    assert settings.load(home).database.prefix == "everywhere"


@pytest.mark.parametrize(
    ("word", "value"), [("true", True), ("TRUE", True), ("yes", True), ("1", True), ("false", False), ("0", False)]
)
def test_truth_in_the_environment_is_a_word(home, word, value):
    assert load(home, ADAMACS_DATABASE_USE_TLS=word).database.use_tls is value


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("ADAMACS_DATABASE_USE_TLS", "perhaps", "true or false"),
        ("ADAMACS_WORKERS_THREADS", "many", "whole number"),
        ("ADAMACS_WORKERS_THREADS", "2.5", "whole number"),
        ("ADAMACS_WORKERS_THREADS", "", "whole number"),
        ("ADAMACS_WORKERS_THREADS", "9" * 5000, "whole number"),
        ("ADAMACS_WORKERS_THREADS", "-1", "0 for all cores"),
        ("ADAMACS_WORKERS_DEVICE", "gpu", "cpu, cuda, cuda:1 or mps"),
        ("ADAMACS_TIME_ZONE", "Mars/Olympus", "Europe/Berlin"),
        ("ADAMACS_STORES_DERIVED_PROTOCOL", "ftp", "file or s3"),
        ("ADAMACS_WORKERS_POLL", "often", "a number"),
        ("ADAMACS_WORKERS_POLL", "nan", "a number"),
        ("ADAMACS_WORKERS_POLL", "1e3", "a number"),
        ("ADAMACS_WORKERS_POLL", "0", "more than 0"),
        ("ADAMACS_INGEST_POLL", "0", "more than 0"),
        ("ADAMACS_INGEST_RECHECK_HOURS", "0", "more than 0"),
        ("ADAMACS_INGEST_INCUBATION", "-1", "0 or more"),
        ("ADAMACS_INGEST_INCUBATION_FILE", "-0.1", "0 or more"),
        ("ADAMACS_INGEST_INCUBATION_NETWORK", "-60", "0 or more"),
        ("ADAMACS_ROLES_CPU_TABLES", "imaging.Processing,Processing", "such as imaging.Processing"),
        ("ADAMACS_ROLES_GPU_SLOTS", "-1", "0 for one"),
    ],
)
def test_a_wrong_value_in_the_environment_names_the_variable(home, variable, text, expected):
    error = refusal(home, **{variable: text})
    assert error.where == variable
    assert expected in str(error)


def test_a_misspelt_variable_of_a_section_is_refused_with_the_nearest(home):
    error = refusal(home, ADAMACS_DATABASE_PASWORD=CANARY)
    assert "Did you mean ADAMACS_DATABASE_PASSWORD" in str(error)
    assert CANARY not in str(error)


def test_variables_of_no_section_are_left_alone(home):
    assert load(home, ADAMACS_HOME="/elsewhere", ADAMACS_TEST_REQUIRE="oracle", PATH="/bin") == Settings(home=home)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("timezone = 'UTC'", "time_zone"),
        ("[database]\nulr = 'x'", "database.url"),
        ("[databse]\nurl = 'x'", "database.url"),
        ("[DATABASE]\nurl = 'x'", "database.url"),
        ("[roots]\nshares = 'x'", "roots.share"),
        ("[stores.derived]\nbuckets = 'x'", "stores.derived.bucket"),
        ("[stores.other]\nbuckets = 'x'", "stores.other.bucket"),
        ("[roles.tracking]\nslot = 2", "roles.tracking.slots"),
        ("[role.gpu]\nslots = 2", "roles.gpu.slots"),
        ("[roles.gpu.needs]\ncuda = 1", "roles.gpu.needs"),
        ("[database.url]\ndeep = 1", "database.url"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name_and_the_file(home, text, nearest):
    write(home, text)
    error = refusal(home)
    assert error.where == str(home / settings.FILE)
    assert "is no setting" in error.what
    assert nearest in (error.hint or "")


@pytest.mark.parametrize("name", ["home", "section", ""])
def test_what_resembles_no_setting_is_refused(home, name):
    write(home, f"{json.dumps(name)} = 1")
    assert "is no setting" in refusal(home).what


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("time_zone = 1", "1 is no value of time_zone"),
        ("time_zone = 'Mars/Olympus'", "Europe/Berlin"),
        ("time_zone = ''", "Europe/Berlin"),
        ("time_zone = '../../etc/passwd'", "Europe/Berlin"),
        ("time_zone = 'Europe'", "Europe/Berlin"),
        ("[workers]\nthreads = '4'", "whole number"),
        ("[workers]\nthreads = true", "whole number"),
        ("[workers]\nthreads = 1.0", "whole number"),
        ("[database]\nuse_tls = 1", "true or false"),
        ("[database]\nuse_tls = 'true'", "true or false"),
        ("[database]\nprefix = 'Lab'", "a letter first"),
        ("[database]\nprefix = 'a-b'", "a letter first"),
        ("[database]\nprefix = 'a234567890123456789012'", "21"),
        ("[roots]\nshare = ['a']", "This is no value of roots.share"),
        ("[ingest]\nparamset_idx = -2", "an index, or -1"),
        ("database = 3", "Write [database]"),
        ("stores = 5", "Write [stores]"),
        ("stores = 'derived'", "Write [stores]"),
        ("[stores]\nderived = 'file'", "Write [stores.derived]"),
        ("[stores.Derived]\nbucket = 'x'", "a letter first"),
        ("[stores.my-store]\n", "a letter first"),
        ("[roles.GPU]\nslots = 1", "a letter first"),
        ("[roles]\ngpu = 2", "Write [roles.gpu]"),
        ("[roles.gpu]\nneeds = 'cuda'", "'cuda' is no value of roles.gpu.needs"),
        ("[roles.gpu]\nneeds = ['cuda', 1]", "a list of texts"),
        ("[roles.gpu]\ntables = ['Processing']", "Processing is no value of roles.gpu.tables"),
        ("[roles.gpu]\nmemory = -1", "what workers.memory says"),
        ("[workers]\nmemory = inf", "0 for no limit"),
        ("[workers]\nmemory = '16'", "a number"),
        ("[workers]\nmemory = true", "a number"),
        (f"[workers]\nmemory = {10**400}", "a number"),
        ("[workers]\npoll = 0", "more than 0"),
        ("[workers]\nbeat = nan", "more than 0"),
        ("[workers]\nlease = -30.0", "more than 0"),
        ("[workers]\nattempts = 0", "at least 1"),
        ("[workers]\nkills = 0", "at least 1"),
        ("[workers]\nkeys_per_process = 0", "at least 1"),
        ("[workers]\nkeep_failed_days = -1", "0 keeps nothing"),
        ("[workers]\nlog_folder = ''", "a folder"),
        ("[workers]\nbeat = 15", "shorter than half of the lease"),
        ("[workers]\nlease = 10.0", "workers.beat is 5 s, and workers.lease only 10 s"),
        ("[stores.derived]\nprotocol = 'ftp'", "file or s3"),
        ("[roots", "not valid TOML"),
    ],
)
def test_a_wrong_value_is_refused_with_what_would_fit(home, text, expected):
    write(home, text)
    error = refusal(home)
    assert error.where == str(home / settings.FILE)
    assert expected in str(error)


def test_a_file_in_another_encoding_is_refused_and_a_byte_order_mark_is_not(home):
    path = home / settings.FILE
    path.write_bytes("time_zone = 'UTC' # µ".encode("latin-1"))
    assert "not valid TOML" in refusal(home).what
    path.write_bytes(b"\xef\xbb\xbftime_zone = 'Europe/Berlin'\r\n")
    assert load(home).time_zone == "Europe/Berlin"


@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_no_file_does_worse_than_being_refused(home, text):
    (home / settings.FILE).write_text(text, encoding="utf-8")
    try:
        assert isinstance(load(home), Settings)
    except InvalidSetting as error:
        assert error.where == str(home / settings.FILE)


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
words = ["time_zone", "database", "stores", "derived", "url", "password", "protocol", "roles", "gpu", "needs", "memory"]
names = st.sampled_from([*words, "workers", "lease", "threads", "x"])
tables = st.recursive(plain, lambda inner: st.dictionaries(names, inner, max_size=3) | st.lists(inner, max_size=2))


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, tables, max_size=4), st.dictionaries(names, st.text(), max_size=2))
def test_no_table_and_no_variable_does_worse_than_being_refused(home, monkeypatch, table, variables):
    monkeypatch.setattr(settings, "_read_toml", lambda path: table)
    environ = {f"ADAMACS_DATABASE_{name.upper()}": text for name, text in variables.items()}
    try:
        assert isinstance(settings.load(home, environ), Settings)
    except InvalidSetting as error:
        assert error.where


def test_a_file_that_cannot_be_read_is_named(home, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    error = refusal(home)
    assert error.where == str(home / settings.FILE)
    assert "Permission denied" in error.what


def test_a_missing_file_says_how_to_make_it(tmp_path):
    error = refusal(tmp_path / "nowhere")
    assert "adamacs db init" in str(error)
    assert "ADAMACS_HOME" in str(error)


# ---- secrets


@pytest.mark.parametrize(
    "text",
    [
        f'[database]\npassword = "{CANARY}"',
        f'[stores.derived]\nsecret_key = "{CANARY}"',
        f'[stores.other]\nsecret_key = "{CANARY}"',
        f'[database]\nurl = "postgresql://me:{CANARY}@db.lab.org/adamacs"',
        f'[database]\nurl = "postgresql://me:{CANARY}/@x#?@db.lab.org/adamacs"',
        f'[database]\nurl = "postgresql://[:{CANARY}@db"',
        f'[database]\nurl = "mysql://me@db.lab.org?password={CANARY}"',
        '[database]\nurl = "mysql://me:@db.lab.org"',
    ],
)
def test_a_secret_in_the_readable_file_is_refused_and_not_repeated(home, text):
    write(home, text)
    error = refusal(home)
    assert error.where == str(home / settings.FILE)
    assert CANARY not in str(error)
    assert settings.SECRETS_FILE in str(error) or "no options" in str(error)


@posix_only
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601, 0o777])
def test_a_secrets_file_that_others_can_reach_is_refused(home, mode):
    write_secrets(home, f'[database]\npassword = "{CANARY}"', mode)
    error = refusal(home)
    assert error.where == str(home / settings.SECRETS_FILE)
    assert "chmod 600" in str(error)


@posix_only
@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secrets_file_of_the_owner_alone_is_read(home, mode):
    write_secrets(home, f'[database]\npassword = "{CANARY}"\n[stores.derived]\nsecret_key = "other"', mode)
    loaded = load(home)
    assert loaded.database.password.reveal() == CANARY
    assert loaded.store("derived").secret_key.reveal() == "other"
    assert stat.S_IMODE((home / settings.SECRETS_FILE).stat().st_mode) == mode


def test_faults_of_the_secrets_file_name_it_and_repeat_no_secret(home):
    for text in ("[database]\npassword = 12345678", "[database]\npasword = '12345678'", "password = 12345678 x"):
        write_secrets(home, text)
        error = refusal(home)
        assert error.where == str(home / settings.SECRETS_FILE)
        assert "12345678" not in "".join(traceback.format_exception(error))


def test_the_password_of_a_url_in_the_secrets_file_is_split_off(home):
    write_secrets(home, f'[database]\nurl = "postgresql://me:{CANARY}@db.lab.org/adamacs"')
    loaded = load(home)
    assert loaded.database.url == "postgresql://me@db.lab.org/adamacs"
    assert loaded.database.password.reveal() == CANARY


secrets = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1)


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secrets)
def test_any_password_in_a_url_of_the_environment_is_split_off(home, text):
    loaded = load(home, ADAMACS_DATABASE_URL=f"postgresql://me:{quote(text, safe='')}@db.lab.org:5433/adamacs")
    assert loaded.database.url == "postgresql://me@db.lab.org:5433/adamacs"
    assert loaded.database.password.reveal() == text


@pytest.mark.parametrize("password", ["p@ss", "pa/ss", "p#s?s", "p:ss", "[", "%", "pä ss"])
def test_a_password_that_was_not_quoted_is_split_off_too(home, password):
    loaded = load(home, ADAMACS_DATABASE_URL=f"mysql://me:{password}@db.lab.org:3306")
    assert loaded.database.url == "mysql://me@db.lab.org:3306"
    assert loaded.database.password.reveal() == password


@pytest.mark.parametrize("url", ["postgresql://me@db:5432/adamacs", "mysql://me@db", "postgresql://db:5432/a", ""])
def test_a_url_without_password_stays_as_it_is(home, url):
    loaded = load(home, ADAMACS_DATABASE_URL=url, ADAMACS_DATABASE_PASSWORD=CANARY)
    assert loaded.database.url == url
    assert loaded.database.password.reveal() == CANARY


def test_a_password_of_its_own_goes_over_that_of_the_url(home):
    loaded = load(home, ADAMACS_DATABASE_URL="mysql://me:first@db", ADAMACS_DATABASE_PASSWORD="second")
    assert loaded.database.password.reveal() == "second"


def fail_with(loaded: Settings) -> str:
    """Return the traceback of a failure that has the settings at hand, the locals of its frames included."""
    try:
        raise ValueError(loaded, loaded.database.password)
    except ValueError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{0!r:>40}".format,
        "{0.database} {0.stores}".format,
        "{0.database.password}".format,
        lambda s: "%s %r" % (s.database.password, s.database),  # noqa: UP031
        lambda s: json.dumps(dataclasses.asdict(s.database), default=str),
        lambda s: json.dumps(dataclasses.asdict(s.stores["derived"]), default=repr),
        lambda s: repr(dataclasses.astuple(s.database)),
        lambda s: repr(vars(s)),
        lambda s: repr([s.database.password]),
        lambda s: repr(dataclasses.replace(s.database, prefix="x")),
        lambda s: repr(copy.deepcopy(s.database)),
        lambda s: str(InvalidSetting("Wrong.", {"password": s.database.password})),
        fail_with,
    ],
)
def test_no_way_to_show_settings_shows_a_secret(home, show):
    write_secrets(home, f'[database]\npassword = "{CANARY}"\n[stores.derived]\nsecret_key = "{CANARY}"')
    shown = show(load(home))
    assert shown
    assert CANARY not in shown


def test_a_secret_is_not_logged(home, caplog):
    caplog.set_level(logging.DEBUG)
    loaded = load(home, ADAMACS_DATABASE_PASSWORD=CANARY)
    logging.getLogger("adamacs").info("settings %s", loaded, extra={"settings": loaded})
    assert CANARY not in caplog.text
    assert "***" in caplog.text


def test_a_secret_has_no_attributes_that_tell_it_by_the_way():
    with pytest.raises(TypeError):
        vars(Secret(CANARY))
    assert not dataclasses.is_dataclass(Secret)
    with pytest.raises(TypeError):
        json.dumps(Secret(CANARY))


def test_a_secret_says_whether_it_is_one():
    assert (str(Secret()), str(Secret("a"))) == ("", "***")
    assert not Secret()
    assert Secret("a")
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert Secret(CANARY).reveal() == CANARY
    assert pickle.loads(pickle.dumps(Secret("a"))) == Secret("a")  # noqa: S301  a worker process takes settings along


# ---- roots, stores, zone


def test_roots_are_relative_to_the_lab_home_or_absolute(home, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("share")
    write(home, f"[roots]\nshare = {json.dumps(str(elsewhere))}\nprocessed = 'deep/results'\n")
    loaded = load(home)
    assert loaded.root("share") == elsewhere
    assert loaded.root("processed") == home / "deep" / "results"
    monkeypatch.setenv("HOME", str(elsewhere))
    monkeypatch.setenv("USERPROFILE", str(elsewhere))
    assert load(home, ADAMACS_ROOTS_SHARE="~/scans").root("share") == elsewhere / "scans"


def test_a_home_folder_that_does_not_exist_is_a_sentence(home):
    loaded = load(home, ADAMACS_ROOTS_SHARE="~nobody-of-this-name/scans")
    with pytest.raises(InvalidSetting, match="in full"):
        loaded.root("share")


def test_an_unknown_root_or_store_is_refused_with_the_nearest(home):
    with pytest.raises(InvalidSetting, match="Did you mean share"):
        load(home).root("shares")
    with pytest.raises(InvalidSetting, match="Did you mean derived"):
        load(home).store("derive")


def test_shares_beside_the_first_are_roots_by_their_names(home, tmp_path):
    write(home, f"[shares.archive]\nfolder = '{tmp_path}/old'\n\n[shares.bench]\nfolder = 'bench'\n")
    loaded = load(home)
    assert list(loaded.share_roots()) == ["share", "archive", "bench"]
    assert loaded.root("archive") == tmp_path / "old"
    assert loaded.locate("archive:demo/a.tif") == tmp_path / "old" / "demo" / "a.tif"
    assert loaded.locate("demo/a.tif") == home / "share" / "demo" / "a.tif"
    with pytest.raises(InvalidSetting, match="no root named 'C'"):
        loaded.locate("C:/a.tif")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[shares.share]\nfolder = 'x'", "share is a root already"),
        ("[shares.processed]\nfolder = 'x'", "processed is a root already"),
        ("[shares.old]", "shares.old has no folder"),
        ("[shares.old]\nfolder = ''", "It takes a folder"),
        ("[shares.old]\nfolder = 'share/old'", "old lies in the share share"),
        ("[shares.old]\nfolder = '.'", "share lies in the share old"),
        ("[shares.'a:b']\nfolder = 'x'", "shares"),
    ],
)
def test_a_share_that_would_be_walked_twice_or_nowhere_is_refused(home, text, said):
    write(home, text)
    with pytest.raises(InvalidSetting, match=said):
        load(home)


def test_stores_are_named_tables_and_derived_is_always_there(home):
    write(home, "[stores.raw_movies]\nprotocol = 's3'\nbucket = 'movies'\n\n[stores.copies]\n")
    loaded = load(home, ADAMACS_STORES_RAW_MOVIES_SECRET_KEY=CANARY, ADAMACS_STORES_DERIVED_LOCATION="/fast")
    assert set(loaded.stores) == {"derived", "raw_movies", "copies"}
    assert loaded.store("derived").location == "/fast"
    assert loaded.store("raw_movies").bucket == "movies"
    assert loaded.store("raw_movies").secret_key.reveal() == CANARY
    assert loaded.store("copies") == Store(location="stores/copies")  # no two stores share a folder by default


def test_a_variable_of_a_store_or_role_that_is_not_there_is_refused(home):
    assert "no such setting" in refusal(home, ADAMACS_STORES_OTHER_BUCKET="x").what
    assert "no such setting" in refusal(home, ADAMACS_ROLES_TRACKING_SLOTS="2").what


def test_an_empty_section_of_secrets_leaves_the_store_as_it_is(home):
    write(home, "[stores.derived]\nprotocol = 's3'\n")
    write_secrets(home, "[stores.derived]\n")
    assert load(home).store("derived").protocol == "s3"


def test_roles_are_named_tables_and_those_that_ship_are_always_there(home):
    assert dict(load(home).roles) == {"cpu": Role(), "gpu": Role(needs=("cuda",))}
    write(home, "[roles.tracking]\ntables = ['imaging.Processing']\nslots = 2\nmemory = 16\n\n[roles.gpu]\nneeds = []")
    loaded = load(home, ADAMACS_ROLES_TRACKING_NEEDS="cuda, memory:64", ADAMACS_ROLES_CPU_SLOTS="3")
    assert set(loaded.roles) == {"cpu", "gpu", "tracking"}
    assert loaded.roles["tracking"] == Role(("imaging.Processing",), ("cuda", "memory:64"), 16.0, 2)
    assert (loaded.roles["gpu"], loaded.roles["cpu"]) == (Role(), Role(slots=3))


def test_an_empty_list_in_the_environment_is_a_list_without_entries(home):
    assert load(home, ADAMACS_ROLES_GPU_NEEDS="").roles["gpu"].needs == ()


def test_a_whole_number_is_a_number(home):
    write(home, "[workers]\nlease = 60\n")
    assert repr(load(home).workers.lease) == "60.0"
    assert repr(load(home, ADAMACS_WORKERS_LEASE="40").workers.lease) == "40.0"


def test_logs_are_relative_to_the_lab_home_or_absolute(home, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("logs")
    assert load(home).logs == home / "logs"
    assert load(home, ADAMACS_WORKERS_LOG_FOLDER=str(elsewhere)).logs == elsewhere


def test_settings_do_not_change(home):
    loaded = load(home)
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.time_zone = "UTC"
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.database.url = ""
    with pytest.raises(TypeError):
        loaded.stores["more"] = Store()


def test_the_zone_is_that_of_the_lab(home):
    write(home, "time_zone = 'Europe/Berlin'")
    assert load(home).zone.key == "Europe/Berlin"


# ---- the lab home


def test_the_lab_home_is_named_or_the_nearest_upwards_or_lab(tmp_path, monkeypatch):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    monkeypatch.delenv("ADAMACS_HOME", raising=False)
    assert settings.find_home() == deep / "lab"
    write(tmp_path, "")
    assert settings.find_home() == tmp_path
    write(tmp_path / "a", "time_zone = 'Europe/Berlin'")
    assert settings.find_home() == tmp_path / "a"
    assert settings.load(environ={}).time_zone == "Europe/Berlin"
    monkeypatch.setenv("ADAMACS_HOME", "..")
    assert settings.find_home() == deep / ".."
    assert settings.load(environ={"ADAMACS_HOME": str(tmp_path)}).home == tmp_path


def test_making_a_lab_home_gives_folders_and_a_file_that_loads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = settings.create(Path("lab"), "Europe/Berlin")
    assert made.home == tmp_path / "lab"
    assert made.time_zone == "Europe/Berlin"
    for folder in ("share", "processed", "stores/derived"):
        assert (tmp_path / "lab" / folder).is_dir()
    assert made == settings.load(tmp_path / "lab")


def test_making_a_lab_home_twice_keeps_what_is_there(tmp_path):
    settings.create(tmp_path, "Europe/Berlin")
    before = (tmp_path / settings.FILE).read_bytes()
    assert settings.create(tmp_path, "UTC").time_zone == "Europe/Berlin"
    assert (tmp_path / settings.FILE).read_bytes() == before


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", 'UTC"\n[database]\nprefix = "x'])
def test_a_lab_home_with_a_wrong_time_zone_is_not_made(tmp_path, zone):
    with pytest.raises(InvalidSetting, match="Europe/Berlin"):
        settings.create(tmp_path / "lab", zone)
    assert list(tmp_path.iterdir()) == []


def test_the_template_says_only_defaults(tmp_path):
    write(tmp_path, settings.template())
    assert load(tmp_path) == Settings(home=tmp_path)
    assert tomllib.loads(settings.template("Europe/Berlin"))["time_zone"] == "Europe/Berlin"


def test_the_settings_in_use_are_loaded_once_and_can_be_replaced(home, monkeypatch):
    monkeypatch.setenv("ADAMACS_HOME", str(home))
    before = settings._active
    try:
        settings.use(None)
        first = settings.active()
        assert first.home == home
        write(home, "time_zone = 'Europe/Berlin'")
        assert settings.active() is first
        settings.use(None)
        assert settings.active().time_zone == "Europe/Berlin"
        other = Settings(home=home / "other")
        settings.use(other)
        assert settings.active() is other
    finally:
        settings.use(before)


# ---- thresholds of the certificate


def test_a_certificate_that_would_fail_before_it_warns_is_refused(home):
    write(home, "[sync]\ndrift_warn = 500.0\n")
    assert "sync.drift_warn is 500, and sync.drift_fail only 400" in str(refusal(home))
    assert load(home, ADAMACS_SYNC_DRIFT_FAIL="600").sync.drift_fail == 600.0


def test_a_threshold_is_never_below_zero(home):
    write(home, "[sync]\ncount_warn = -1\n")
    assert "0 or more" in str(refusal(home))
