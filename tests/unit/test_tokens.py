"""The naming grammar: what is read, what is refused, and with which words."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.core import tokens
from adamacs.core.errors import InvalidToken

payloads = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=8, max_size=8)
subjects = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,15}", fullmatch=True)
initials = st.from_regex(r"[A-Z]{2}", fullmatch=True)


@pytest.mark.parametrize(
    "name",
    [
        "XX_ANM-2172_2026-02-10_scan9FY6AIRM_sess9FY6AIRM",
        "XX_ANM-2172_2026-02-10_sess9FY6AIRM_scan9FY6AIRM",
        "/share/demo/XX_ANM-2172_2026-02-10_sess9FY6AIRM/scan9FY6AIRM/",
        "share\\demo\\XX_ANM-2172_2026-02-10_sess9FY6AIRM\\scan9FY6AIRM",
        PurePosixPath("XX_ANM-2172_2026-02-10_sess9FY6AIRM/scan9FY6AIRM"),
        PureWindowsPath("D:/demo/XX_ANM-2172_2026-02-10_sess9FY6AIRM/scan9FY6AIRM"),
    ],
)
def test_every_layout_gives_the_same_keys(name):
    folder = tokens.parse(name)
    assert (folder.initials, folder.subject, folder.date) == ("XX", "ANM-2172", date(2026, 2, 10))
    assert (folder.session_id, folder.scan_id) == ("sess9FY6AIRM", "scan9FY6AIRM")


def test_several_scans_share_a_session():
    scans = [tokens.parse(f"XX_ANM-1_2026-01-13_scan9FY6AIR{n}_sess9FY6AIRM") for n in "ABC"]
    assert {scan.session_id for scan in scans} == {"sess9FY6AIRM"}
    assert len({scan.scan_id for scan in scans}) == 3


def test_a_nested_session_folder_names_no_scan():
    folder = tokens.parse("XX_ANM-2172_2026-02-10_sess9FY6AIRM")
    assert folder.scan_id is None
    assert folder.layout == "nested"


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("", "4 or 5"),
        ("XX_ANM-2172_2026-02-10", "4 or 5"),
        ("xx_ANM-2172_2026-02-10_scan9FY6AIRM_sess9FY6AIRM", "initials"),
        ("XX_ANM 2172_2026-02-10_scan9FY6AIRM_sess9FY6AIRM", "subject"),
        ("XX_ANM-2172-1234567890_2026-02-10_scan9FY6AIRM_sess9FY6AIRM", "subject"),
        ("XX_ANM-2172_2026-02-30_scan9FY6AIRM_sess9FY6AIRM", "date"),
        ("XX_ANM-2172_20260210_scan9FY6AIRM_sess9FY6AIRM", "date"),
        ("XX_ANM-2172_2026-02-10_scanXYZ_sess9FY6AIRM", "scan token's payload"),
        ("XX_ANM-2172_2026-02-10_scan9fy6airm_sess9FY6AIRM", "scan token's payload"),
        ("XX_ANM-2172_2026-02-10_scan9FY6AIRM_sess9FY6AIRM - copy", "sess token's payload"),
        ("XX_ANM-2172_2026-02-10_scan9FY6AIRM_scan9FY6AIRM", "two scan tokens"),
        ("XX_ANM-2172_2026-02-10_scan9FY6AIRM", "no session token"),
        ("XX_ANM-2172_2026-02-10_scan9FY6AIRM_old", "neither"),
        ("scan9FY6AIRM", "session folder above"),
        ("XX_ANM-1_2026-02-10_scan9FY6AIRA_sess9FY6AIRM/scan9FY6AIRM", "already names a scan"),
    ],
)
def test_a_refusal_names_the_field_and_shows_the_form(name, field):
    with pytest.raises(InvalidToken, match=field) as refusal:
        tokens.parse(name)
    assert "9FY6AIRM" in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("XX_ANM-2172_2026-02-10_sess9FY6AIRM/scan9FY6AIRM_old", "scan token's payload is '9FY6AIRM_old'"),
        ("XX_ANM-2172_2026-02-10_sess9FY6AIRM/scan9FY6AIR", "scan token's payload is '9FY6AIR'"),
        ("XX_ANM-2172_20260210_sess9FY6AIRM/scan9FY6AIRM", "date"),
        ("demo/scan9FY6AIRM", "4 or 5"),
        ("XX_ANM-1_2026-02-10_scan9FY6AIRA_sess9FY6AIRM/scan9FY6AIRM", "already names a scan"),
        ("scan9FY6AIRM_old", "session folder above"),
    ],
)
def test_a_refused_scan_folder_shows_the_nested_form(name, field):
    with pytest.raises(InvalidToken, match=field) as refusal:
        tokens.parse(name)
    assert refusal.value.hint == f"Expected {tokens.NESTED_EXAMPLE}."


def test_legacy_payloads_pass_only_where_a_setting_admits_them():
    name = "XX_ANM-2172_2025-01-20_scanXYZ_sessABC"
    with pytest.raises(InvalidToken):
        tokens.parse(name)
    assert tokens.parse(name, legacy=True).scan_id == "scanXYZ"


@pytest.mark.parametrize(
    ("payload", "moment"),
    [
        ("9FAK32BA", "2022-02-15 14:36:53"),
        ("9FB2LN5C", "2022-03-18 17:00:44"),
        ("9FGLEFJ3", "2023-02-15 14:46:59"),
        ("9FHF1JT7", "2023-04-06 09:40:59"),
        ("9FUDDIBK", "2025-05-28 15:53:56"),
    ],
)
def test_a_payload_decodes_to_the_known_local_time(payload, moment):
    assert tokens.decode(payload).isoformat(" ", "seconds") == moment


def test_a_date_that_does_not_match_is_a_warning():
    assert "2026-01-13" in tokens.parse("XX_ANM-2172_2026-02-10_scan9FY6AIRM_sess9FY6AIRM").warnings[1]
    assert tokens.parse("XX_ANM-2172_2026-01-13_scan9FY6AIRM_sess9FY6AIRM").warnings == ()


def test_expid_is_the_payload():
    assert tokens.expid("scan9FY6AIRM") == "9FY6AIRM"
    with pytest.raises(InvalidToken):
        tokens.expid("9FY6AIRM")


def test_explain_tells_a_folder_a_token_and_a_refusal():
    assert "2022-02-15 14:36:53" in tokens.explain("scan9FAK32BA")
    assert "warning" in tokens.explain("XX_ANM-2172_2026-02-10_scan9FY6AIRM_sess9FY6AIRM")
    assert "Expected" in tokens.explain("holiday pictures")


@given(initials, subjects, st.dates(date(1970, 1, 1), date(2144, 12, 31)), payloads, payloads)
def test_format_then_parse_gives_the_same(who, subject, day, session, scan):
    for scan_id in (f"scan{scan}", None):
        folder = tokens.parse(tokens.format_folder(who, subject, day, f"sess{session}", scan_id))
        assert (folder.initials, folder.subject, folder.date) == (who, subject, day)
        assert (folder.session_id, folder.scan_id) == (f"sess{session}", scan_id)


@given(initials, subjects, st.dates(date(1970, 1, 1), date(2144, 12, 31)), payloads, payloads)
def test_tokens_in_each_others_place_are_never_written(who, subject, day, session, scan):
    for given_tokens in ((f"scan{scan}", f"sess{session}"), (f"sess{session}_scan{scan}", None), (f"scan{scan}", None)):
        with pytest.raises(InvalidToken):
            tokens.format_folder(who, subject, day, *given_tokens)


@given(st.dates(date(1970, 1, 1), date(2144, 12, 31)), st.sampled_from("\u0660\u0966\uff10"), st.integers(0, 9))
def test_digits_of_other_scripts_are_no_date(day, zero, place):
    digits = [letter if letter == "-" else chr(ord(zero) + int(letter)) for letter in day.isoformat()]
    one = list(day.isoformat())
    place += one[place] == "-"
    one[place] = digits[place]
    for written in ("".join(digits), "".join(one)):
        with pytest.raises(InvalidToken, match="date"):
            tokens.parse(f"XX_ANM-2172_{written}_scan9FY6AIRM_sess9FY6AIRM")


@given(st.datetimes(datetime(1970, 1, 1), datetime(2144, 1, 1)))
def test_encode_then_decode_is_within_half_a_tick(moment):
    assert abs(tokens.decode(tokens.encode(moment)) - moment) <= timedelta(microseconds=43_200)


@given(st.text() | st.from_regex(r"[A-Z]{2}_[^/]{1,20}_\d{4}-\d\d-\d\d_(scan|sess)\w{0,10}(_(scan|sess)\w{0,10})?"))
def test_no_string_crashes_the_parser(text):
    for legacy in (False, True):
        try:
            tokens.parse(text, legacy=legacy)
        except InvalidToken as refusal:
            assert refusal.what
        assert isinstance(tokens.explain(text, legacy=legacy), str)
