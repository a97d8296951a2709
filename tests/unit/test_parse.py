"""What `adamacs parse` shows of files, finished or not, of any folder and without a database."""

from __future__ import annotations

import json
import os

import h5py
import pytest
from click.testing import CliRunner

from adamacs import cli
from adamacs.demo import lab as synthetic


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("parse"), size="tiny")


def shown(path, *, status=0):
    answer = CliRunner().invoke(cli.cli, ["parse", str(path), "--json"], catch_exceptions=False)
    assert answer.exit_code == status, answer.output
    (found,) = map(json.loads, answer.output.splitlines())
    return found


def test_a_folder_is_shown_with_its_tokens_and_each_of_its_files(scans):
    folder, *files = shown(scans[1].folder)
    assert folder["content"]["scan_id"] == scans[1].scan_id
    assert [file["path"] for file in files] == [str(path) for path in scans[1].files]
    (file,) = files
    assert (file["reader"], file["problem"]) == ("imaging", "")
    assert (file["content"]["ndepths"], file["content"]["userfunction_info"]) == (2, "bench2p")
    assert file["content"]["fps"] == pytest.approx(scans[1].frame_rate)


def test_a_file_without_an_end_shows_what_its_first_page_says(scans, tmp_path):
    cut = tmp_path / "cut.tif"
    content = scans[0].files[0].read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    (found,) = shown(cut, status=1)
    assert found["problem"]
    assert found["reader"] == "imaging"
    assert found["content"]["frame_rate"] == pytest.approx(scans[0].frame_rate)


def test_what_no_reader_knows_is_shown_by_its_format_and_stops_no_other(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = [1.0, 2.0]
    (tmp_path / "b.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + os.urandom(100))
    (tmp_path / "c.txt").write_text("woke up")
    _, whole, broken, text = shown(tmp_path, status=1)
    assert (whole["format"], whole["problem"]) == ("HDF5", "")
    assert broken["problem"]
    assert text["problem"] == ""
