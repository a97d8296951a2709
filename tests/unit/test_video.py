"""Videos: their frames are counted by the index or by packets, never decoded; one that was never ended is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamacs.core.errors import AdamacsError, MissingFile, ToolMissing, UnreadableFile
from adamacs.demo.video import can_write, write_video
from adamacs.modalities.behavior.reader.video import read_video

KINDS = {
    "MP4": ("top.mp4", {}, False),
    "MP4 of H.264": ("top.mp4", {"codec": "libx264"}, False),
    "MP4 in fragments": ("top.mp4", {"movflags": "frag_keyframe+empty_moov"}, True),
    "MP4 whose first fragment alone is in the index": ("top.mp4", {"movflags": "frag_keyframe"}, True),
    "QuickTime": ("top.mov", {}, False),
    "AVI": ("top.avi", {}, False),
    "Matroska": ("top.mkv", {}, True),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    name, how, is_counted = KINDS[request.param]
    return write_video(tmp_path_factory.mktemp("video") / name, 75, rate=25.0, **how), is_counted


def test_the_tests_have_pyav():
    assert can_write(), "pip install 'adamacs[video]'"


def test_frames_rate_and_times_are_those_that_were_written(kind):
    path, is_counted = kind
    found = read_video(path)
    assert (found.frames, found.frame_rate, found.is_counted) == (75, 25.0, is_counted)
    assert (found.first, found.last) == (pytest.approx(0.0, abs=0.1), pytest.approx(74 / 25, abs=0.1))
    assert found.codec in ("mpeg4", "h264")


def test_without_an_index_nothing_is_counted_where_that_is_not_wanted(kind):
    path, is_counted = kind
    found = read_video(path, count=False)
    assert found.frames == (None if is_counted else 75)
    assert not found.is_counted


def test_what_a_container_is_follows_from_its_bytes_and_not_from_its_name(kind, tmp_path):
    path, _ = kind
    other = tmp_path / "top.dat"
    other.write_bytes(path.read_bytes())
    assert read_video(other) == read_video(path)


@pytest.mark.parametrize("frames", [1, 2, 500])
def test_any_number_of_frames_is_counted(tmp_path, frames):
    for name in ("a.mp4", "a.mkv"):
        assert read_video(write_video(tmp_path / name, frames)).frames == frames


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "The file is empty"),
        (b"This is no video.", "no MP4, AVI or Matroska: it begins with"),
        (b"\x1a\x45\xdf\xa3" + bytes(60), "FFmpeg cannot read it"),
        (b"RIFF\0\0\0\0AVI LIST", "has not ended it yet"),
    ],
)
def test_what_is_no_video_is_refused_with_its_name(tmp_path, content, said):
    path = tmp_path / "top.mp4"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile) as caught:
        read_video(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_a_recording_that_was_cut_before_its_index_is_refused(tmp_path):
    path = write_video(tmp_path / "top.mp4", 60)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"moov") - 4])
    with pytest.raises(UnreadableFile, match="no index"):
        read_video(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFile, match="The file ends at byte"):
        read_video(path)


def test_an_index_of_more_frames_than_the_file_has_bytes_is_refused(tmp_path):
    path = write_video(tmp_path / "top.mp4", 60)
    data = bytearray(path.read_bytes())
    at = data.index(b"stts") + 12
    data[at : at + 4] = (10**7).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(UnreadableFile, match="10000000 frames"):
        read_video(path)


def test_sound_alone_is_no_video(tmp_path):
    import av
    import numpy as np

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
        frame.rate = 44_100
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(UnreadableFile, match="no video"):
        read_video(path)


def test_a_missing_video_and_a_link_are_told_apart_from_a_damaged_one(tmp_path):
    with pytest.raises(MissingFile):
        read_video(tmp_path / "top.mp4")
    write_video(tmp_path / "real.mp4", 3)
    (tmp_path / "top.mp4").symlink_to(tmp_path / "real.mp4")
    with pytest.raises(UnreadableFile, match="link"):
        read_video(tmp_path / "top.mp4")


def test_without_pyav_the_error_says_what_to_install_and_a_cut_video_is_refused_all_the_same(tmp_path, monkeypatch):
    path = write_video(tmp_path / "top.mp4", 5)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ToolMissing, match=r"pip install 'adamacs\[video\]'"):
        read_video(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UnreadableFile):
        read_video(path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    names = ("a.mp4", "a.avi", "a.mkv")
    return [write_video(folder / name, 20).read_bytes() for name in names]


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_video_is_read_or_refused_and_nothing_else(tmp_path, sound, data):
    content = bytearray(data.draw(st.sampled_from(sound)))
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = Path(tmp_path / "top.mp4")
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_video(path)
    except AdamacsError as error:
        assert isinstance(error, UnreadableFile)
        assert str(path) in str(error)
    else:
        assert 0 < found.frames <= len(content)
