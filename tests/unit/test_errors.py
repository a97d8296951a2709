"""An error says what happened, to which file or key, and what to try."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.core import errors
from adamacs.core.errors import AdamacsError, InvalidKey, describe, nearest, visible

FAMILY = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, AdamacsError)]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("It broke.",), "It broke."),
        (("It broke.", Path("a") / "b"), f"{Path('a') / 'b'}: It broke."),
        (("It broke.", None, "Mend it."), "It broke. Mend it."),
        (("It broke.", "here", "Mend it."), "here: It broke. Mend it."),
        (("It broke.", {"scan_id": "scan9FY6AIRM", "mask": 0}), "scan_id=scan9FY6AIRM,mask=0: It broke."),
        (("It broke.", ""), "It broke."),
    ],
)
def test_a_message_is_place_fault_and_advice(arguments, text):
    error = AdamacsError(*arguments)
    assert str(error) == text
    assert error.what == "It broke."


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_every_kind_is_one_family_with_a_sentence_and_survives_a_process_border(kind):
    assert (kind.__doc__ or "").splitlines()[0].endswith(".")
    error = kind("It broke.", {"scan_id": "scan9FY6AIRM"}, "Mend it.")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  worker processes hand errors back
    assert type(again) is kind
    assert (again.what, again.where, again.hint) == ("It broke.", "scan_id=scan9FY6AIRM", "Mend it.")
    assert str(again) == str(error)


def test_one_kind_is_caught_as_the_family_and_not_as_another():
    with pytest.raises(AdamacsError):
        raise InvalidKey("It broke.")
    assert not issubclass(InvalidKey, errors.InvalidSetting)


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text()) | st.text() | st.integers())
def test_anything_can_be_a_place(where):
    assert "It broke." in str(AdamacsError("It broke.", where))


def test_a_key_is_written_as_the_command_line_reads_it():
    from adamacs.cli.prompt import parse_key

    key = {"session_id": "sess9FY6AIRM", "scan_id": "scan9FY6AIRM", "paramset_idx": 0}
    assert parse_key(describe(key)) == key


@pytest.mark.parametrize(
    ("word", "known", "advice"),
    [
        ("threds", ["threads", "device"], "Did you mean threads?"),
        ("THREADS", ["threads", "device"], "Did you mean threads?"),
        ("scan_idx", ("scan_id", "scan_ids"), "Did you mean scan_id or scan_ids?"),
        ("zebra", ["threads", "device"], "Known: threads, device."),
        ("", ["threads"], "Known: threads."),
        ("anything", [], "Nothing is known here yet."),
    ],
)
def test_the_nearest_names_are_proposed_or_all_are_listed(word, known, advice):
    assert nearest(word, known) == advice


@given(st.text(), st.lists(st.text(min_size=1)))
def test_a_proposal_names_only_what_is_known(word, known):
    advice = nearest(word, known)
    if known:
        assert any(name in advice for name in known)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]52;c;Zm9v\x07", r"\x1b[2J\x1b]52;c;Zm9v\x07"),
        ("one\ntwo\ttab\rback", r"one\ntwo\ttab\rback"),
        ("\x9b31m and \x7f", r"\x9b31m and \x7f"),
        ("gpj.\u202efit", r"gpj.\u202efit"),
        ("byte \udcff", r"byte \udcff"),
        ("Mäuse, µm, 𝄞 and 鼠 stay", "Mäuse, µm, 𝄞 and 鼠 stay"),
    ],
)
def test_what_would_command_a_terminal_is_spelt_out(text, shown):
    assert visible(text) == shown


def test_what_is_asked_for_is_kept():
    assert visible("one\n\ttwo\x1b", keep="\n\t") == "one\n\ttwo\\x1b"


@given(st.text(st.characters()))
def test_what_is_shown_is_printable_in_every_encoding_of_text(text):
    shown = visible(text)
    shown.encode("utf-8")
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    assert visible(shown) == shown
