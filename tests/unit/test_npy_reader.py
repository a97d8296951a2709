"""Foreign `.npy` files of objects: what NumPy wrote is read, what a pickle orders is not done."""

from __future__ import annotations

import copyreg
import pickle
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamacs.core.errors import UnreadableFile
from adamacs.demo.suite2p import save_object
from adamacs.modalities.imaging.reader.npy import read_array, read_object


def saved(path: Path, pickled: bytes) -> Path:
    """Put a pickle where `numpy.save` would put one."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(pickled)
    return path


def same(ours, theirs) -> bool:
    """Compare two values with their types, however deep."""
    if isinstance(theirs, np.ndarray):
        flat = ours.dtype == theirs.dtype and ours.shape == theirs.shape
        if theirs.dtype == object:
            return flat and all(map(same, ours.flat, theirs.flat))
        return flat and ours.tobytes() == theirs.tobytes()
    if type(ours) is not type(theirs):
        return False
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[name], theirs[name]) for name in theirs)
    if isinstance(theirs, (list, tuple)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)


# What NumPy wrote is read

NUMBERS = st.sampled_from("?bBhHiIqQefdFD").flatmap(
    lambda code: st.builds(
        lambda shape, order: np.asarray(
            np.random.default_rng(0).integers(0, 2, shape).astype(code), order="F" if order else "C"
        ),
        st.lists(st.integers(0, 4), max_size=3),
        st.booleans(),
    )
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(max_size=20),
        st.binary(max_size=20),
        NUMBERS,
        st.floats(allow_nan=False, width=32).map(np.float32),
        st.integers(-(2**62), 2**62).map(np.int64),
        st.datetimes(timezones=st.just(UTC)),
        st.complex_numbers(allow_nan=False),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=8), inner, max_size=4),
        st.tuples(inner, inner),
    ),
    max_leaves=20,
)


@given(content=st.dictionaries(st.text(max_size=8), VALUES), numpy_1=st.booleans())
@settings(deadline=None)
def test_whatever_numpy_saves_comes_back(tmp_path_factory, content, numpy_1):
    path = tmp_path_factory.mktemp("npy", numbered=True) / "settings.npy"
    save_object(path, content, numpy_1=numpy_1)
    assert same(read_object(path), content)


def test_an_array_of_dicts_comes_back(tmp_path):
    stat = np.empty(3, dtype=object)
    stat[:] = [{"ypix": np.arange(n), "med": [1, 2]} for n in range(3)]
    save_object(tmp_path / "stat.npy", stat)
    assert same(read_object(tmp_path / "stat.npy"), stat)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_that_numpy_used_is_read(tmp_path, protocol):
    content = {"image": np.arange(6.0).reshape(2, 3), "count": np.int16(3), "name": "x", "set": {1, 2}}
    if protocol == 5:  # NumPy itself never writes it, and pickles whole arrays in another way there
        content["image"], content["count"] = 1, 2
    path = saved(tmp_path / "a.npy", pickle.dumps(np.array(content, dtype=object), protocol=min(protocol, 4)))
    assert same(read_object(path), content)


def test_dates_sets_and_paths_come_back(tmp_path):
    content = {
        "at": datetime(2026, 2, 10, 9, 8, 7, tzinfo=UTC),
        "naive": datetime(2024, 1, 2),
        "day": date(2024, 1, 2),
        "took": timedelta(seconds=3),
        "set": {1, 2},
        "frozen": frozenset([3]),
        "text": np.str_("abc"),
        "big": np.arange(3, dtype=">i4"),
    }
    save_object(tmp_path / "a.npy", {**content, "file": PurePosixPath("/a/b"), "windows": PureWindowsPath("C:/a")})
    found = read_object(tmp_path / "a.npy")
    assert (found.pop("file"), found.pop("windows")) == ("/a/b", "C:\\a")  # paths come back as text
    assert same(found, content)


def test_a_value_that_holds_itself_comes_back(tmp_path):
    content: dict = {"list": [1]}
    content["self"] = content["list"]
    content["list"].append(content)
    save_object(tmp_path / "a.npy", content)
    found = read_object(tmp_path / "a.npy")
    assert found["self"] is found["list"]
    assert found["list"][1] is found


def test_an_array_of_numbers_is_opened_and_not_read(tmp_path):
    np.save(tmp_path / "F.npy", np.ones((3, 4), "f4"))
    assert isinstance(read_array(tmp_path / "F.npy"), np.memmap)


def test_numbers_and_objects_are_told_apart(tmp_path):
    np.save(tmp_path / "F.npy", np.ones(3))
    with pytest.raises(UnreadableFile, match="holds numbers"):
        read_object(tmp_path / "F.npy")
    save_object(tmp_path / "ops.npy", {})
    with pytest.raises(UnreadableFile, match="array of numbers"):
        read_array(tmp_path / "ops.npy")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("code", "fits"), [(0x10FFFF, True), (0xD800, True), (0x110000, False)])
def test_text_is_read_unless_it_holds_what_is_no_letter(tmp_path, code, fits, order):
    """NumPy makes such an array, and Python fails when it is looked at."""
    text = np.array([0x61, code], f"{order}u4").view(f"{order}U1")
    save_object(tmp_path / "ops.npy", {"a": text})
    if fits:
        assert read_object(tmp_path / "ops.npy")["a"].tolist() == ["a", chr(code)]
    else:
        with pytest.raises(UnreadableFile, match="no letter"):
            read_object(tmp_path / "ops.npy")


def test_an_array_of_text_is_no_array_of_numbers(tmp_path):
    np.save(tmp_path / "F.npy", np.array(["a", "bc"]))
    with pytest.raises(UnreadableFile, match="array of numbers"):
        read_array(tmp_path / "F.npy")


@given(flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4), end=st.integers(0, 2000))
@settings(max_examples=200, deadline=None)
def test_no_damage_makes_anything_but_a_typed_error(tmp_path_factory, flips, end):
    path = tmp_path_factory.getbasetemp() / "damaged.npy"
    save_object(path, {"a": np.arange(5), "b": [1.5, "x", None, (True,)], "c": np.float32(2), "d": {"e": b"f"}})
    whole = bytearray(path.read_bytes())
    for place, value in flips:
        whole[place % len(whole)] = value
    path.write_bytes(bytes(whole[: max(end, 1)]))
    try:
        read_object(path)
    except UnreadableFile as error:
        assert "damaged.npy" in str(error)


@pytest.mark.parametrize(
    "order",
    [
        b"\x80\x02Nr" + (1 << 30).to_bytes(4, "little") + b".",  # keep this under number 2**30
        b"\x80\x04\x8e" + (1 << 33).to_bytes(8, "little") + b"x.",  # bytes of that length follow
        b"\x80\x05\x96" + (1 << 33).to_bytes(8, "little") + b"x.",  # a bytearray of that length follows
        b"\x80\x02\x8b" + (1 << 30).to_bytes(4, "little") + b"x.",  # an integer of that many bytes follows
    ],
    ids=["memo", "bytes", "bytearray", "integer"],
)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="LINUX ONLY: memory is read from /proc")
def test_a_few_bytes_cannot_order_gigabytes(tmp_path, order):
    path = tmp_path / "large.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(order)
    code = (
        "import re, sys; from pathlib import Path; from adamacs.core.errors import UnreadableFile\n"
        "from adamacs.modalities.imaging.reader.npy import read_object\n"
        "try: read_object(Path(sys.argv[1]))\n"
        "except UnreadableFile: print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 300_000  # kB


# What a pickle orders is not done


def names_of_harm(canary: Path) -> list[tuple[str, str, tuple]]:
    """Functions that do harm or lead to it, with arguments that would make the canary file."""
    code, shell, argv = f"open({str(canary)!r}, 'w').close()", f"touch {canary}", ["touch", str(canary)]
    return [
        ("os", "system", (shell,)),
        ("posix", "system", (shell,)),
        ("nt", "system", (shell,)),
        ("os", "popen", (shell,)),
        ("os", "execvp", ("touch", argv)),
        ("os", "mkdir", (str(canary),)),
        ("os", "symlink", ("/etc/hostname", str(canary))),
        ("os", "_exit", (1,)),
        ("subprocess", "Popen", (argv,)),
        ("subprocess", "run", (argv,)),
        ("subprocess", "check_output", (argv,)),
        ("subprocess", "getoutput", (shell,)),
        ("pty", "spawn", (argv,)),
        ("builtins", "eval", (code,)),
        ("builtins", "exec", (code,)),
        ("builtins", "compile", (code, "x", "exec")),
        ("builtins", "open", (str(canary), "w")),
        ("builtins", "__import__", ("os",)),
        ("builtins", "getattr", ("a", "upper")),
        ("builtins", "setattr", ("a", "b", 1)),
        ("builtins", "globals", ()),
        ("builtins", "map", ("a", [1])),
        ("builtins", "type", ("T", (), {})),
        ("builtins", "object", ()),
        ("builtins", "bytearray", (1 << 50,)),
        ("builtins", "range", (1 << 50,)),
        ("builtins", "breakpoint", ()),
        ("__builtin__", "eval", (code,)),
        ("__builtin__", "execfile", (str(canary),)),
        ("io", "open", (str(canary), "w")),
        ("_io", "FileIO", (str(canary), "w")),
        ("pathlib", "Path.touch", (str(canary),)),
        ("functools", "partial", (str(canary),)),
        ("operator", "attrgetter", ("system",)),
        ("operator", "methodcaller", ("system", shell)),
        ("importlib", "import_module", ("os",)),
        ("runpy", "run_path", (str(canary),)),
        ("runpy", "run_module", ("os",)),
        ("timeit", "timeit", (code,)),
        ("cProfile", "run", (code,)),
        ("pdb", "run", (code,)),
        ("shutil", "copy", ("/etc/hostname", str(canary))),
        ("shutil", "rmtree", (str(canary.parent),)),
        ("tempfile", "mkdtemp", ("x", "y", str(canary.parent))),
        ("pickle", "loads", (pickle.dumps(1),)),
        ("marshal", "loads", (b"N",)),
        ("ctypes", "CDLL", (None,)),
        ("webbrowser", "open", (shell,)),
        ("logging", "FileHandler", (str(canary),)),
        ("copyreg", "_reconstructor", (1, 2, 3)),
        ("collections", "defaultdict", ()),
        ("numpy", "load", (str(canary),)),
        ("numpy", "save", (str(canary), 1)),
        ("numpy", "savetxt", (str(canary), [1])),
        ("numpy", "memmap", (str(canary), "u1", "w+", 0, 8)),
        ("numpy", "fromfile", (str(canary),)),
        ("numpy", "frombuffer", (b"12345678", "O")),
        ("numpy", "vectorize", ("a",)),
        ("numpy", "ndarray.tofile", (str(canary),)),
        ("numpy.testing._private.utils", "runstring", (code, {})),
        ("numpy.f2py.crackfortran", "myeval", (code,)),
        ("numpy.distutils.exec_command", "exec_command", (shell,)),
        ("numpy._core.multiarray", "fromstring", ("1",)),
        ("numpy.core.multiarray", "os.system", (shell,)),
        ("numpy.core.multiarray", "_reconstruct.__class__", ()),
        ("datetime", "sys.modules", ()),
        ("_codecs", "lookup", ("utf8",)),
        ("adamacs.modalities.imaging.reader.npy", "read_object", (str(canary),)),
        ("", "", ()),
    ]


def arguments(values: tuple) -> bytes:
    """Pickle the arguments of a call, without the end of the pickle."""
    return pickle.dumps(values, protocol=2)[2:-1]


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def forms(module: str, name: str, values: tuple) -> dict[str, bytes]:
    """Every way in which a pickle can name a function and have it called."""
    by_text = f"c{module}\n{name}\n".encode()
    by_stack = text(module) + text(name) + b"\x93"
    return {
        "global and reduce": b"\x80\x02" + by_text + arguments(values) + b"R.",
        "stack global and reduce": b"\x80\x04" + by_stack + arguments(values) + b"R.",
        "global and newobj": b"\x80\x02" + by_text + arguments(values) + b"\x81.",
        "stack global and newobj ex": b"\x80\x04" + by_stack + arguments(values) + b"}\x92.",
        "inst": b"(" + f"i{module}\n{name}\n".encode() + b".",
        "obj": b"(" + by_text + b"o.",
        "a bare name": b"\x80\x02" + by_text + b".",
        "build": b"\x80\x02" + by_text + arguments(({"__reduce__": 1},)) + b"b.",
    }


def places(call: bytes) -> dict[str, bytes]:
    """Where in an innocent file a call can hide; `call` is a pickle of protocol 4."""
    inner = call.removeprefix(b"\x80\x04").removeprefix(b"\x80\x02")[:-1]
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R"
    return {
        "in a list": b"\x80\x04](" + inner + b"e.",
        "as a value": b"\x80\x04}(" + text("a") + inner + b"u.",
        "as a key": b"\x80\x04}(" + inner + text("a") + b"u.",
        "in an array": b"\x80\x04" + array + b"(K\x01K\x01\x85" + dtype + b"\x89](" + inner + b"etb.",
        "as an array's type": b"\x80\x04" + array + b"(K\x01K\x01\x85" + inner + b"\x89](K\x01etb.",
        "as an array's class": b"\x80\x04cnumpy.core.multiarray\n_reconstruct\n" + inner + b"K\x00\x85C\x01b\x87R.",
        "before what is kept": b"\x80\x04" + inner + b"0N.",
    }


def refuse(tmp_path: Path, pickled: bytes) -> str:
    with pytest.raises(UnreadableFile) as raised:
        read_object(saved(tmp_path / "hostile.npy", pickled))
    assert "hostile.npy" in str(raised.value)
    return str(raised.value)


HARM = names_of_harm(Path("canary"))


@pytest.mark.parametrize("number", range(len(HARM)), ids=[f"{module}.{name}" for module, name, _ in HARM])
def test_a_name_that_is_not_admitted_is_told_and_not_called(tmp_path, number):
    canary = tmp_path / "canary"
    module, name, values = names_of_harm(canary)[number]
    for form, pickled in forms(module, name, values).items():
        assert f"{module}.{name}" in refuse(tmp_path, pickled), form
        assert not canary.exists(), form
    for place, pickled in places(forms(module, name, values)["stack global and reduce"]).items():
        refuse(tmp_path, pickled)
        assert not canary.exists(), place


def test_the_canary_sings_where_a_file_is_unpickled_plainly(tmp_path):
    """The payloads above are real: the same bytes do harm in Python's own unpickler."""
    canary = tmp_path / "canary"
    sung = 0
    for module, name, values in names_of_harm(canary):
        if (module, name) in {("os", "system"), ("builtins", "exec"), ("builtins", "open"), ("numpy", "memmap")}:
            held = pickle.loads(forms(module, name, values)["global and reduce"])  # noqa: S301
            if hasattr(held, "close"):
                held.close()
            del held
            assert canary.exists(), name
            canary.unlink()
            sung += 1
    assert sung == 4


def test_registered_extensions_and_persistent_objects_are_refused(tmp_path):
    canary = tmp_path / "canary"
    copyreg.add_extension("os", "system", 231)
    try:
        for opcode in (b"\x82\xe7", b"\x83\xe7\x00", b"\x84\xe7\x00\x00\x00"):
            refuse(tmp_path, b"\x80\x02" + opcode + arguments((f"touch {canary}",)) + b"R.")
            assert not canary.exists()
    finally:
        copyreg.remove_extension("os", "system", 231)
    refuse(tmp_path, b"\x80\x02\x82\xf0.")  # an extension that nobody registered
    refuse(tmp_path, b"P1\n.")
    refuse(tmp_path, b"\x80\x02K\x01Q.")


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
OBJECTS = b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R"
FLOATS = b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R"
NO_FLAGS = b"(K\x03X\x01\x00\x00\x00|NNNK\x08K\x08K\x00tb"
BYTES = b"C\x08AAAAAAAA"
ONE = b"K\x01\x85"


def filled(dtype: bytes, data: bytes, shape: bytes = ONE, *, memo: bytes = b"") -> bytes:
    """Pickle an array by hand."""
    return b"\x80\x04" + ARRAY + memo + b"(K\x01" + shape + dtype + b"\x89" + data + b"tb."


CRAFTED = {
    "object pointers out of the file": b"\x80\x02cnumpy\nndarray\n" + arguments(((1,), "O", b"A" * 8)) + b"R.",
    "objects that deny being pointers": filled(OBJECTS + NO_FLAGS, BYTES),
    "bytes as objects": filled(OBJECTS, BYTES),
    "objects as bytes": filled(FLOATS, b"](K\x01e"),
    "an object as a number": b"\x80\x04cnumpy.core.multiarray\nscalar\n" + OBJECTS + BYTES + b"\x86R.",
    "too few bytes": filled(FLOATS, BYTES, b"K\x02\x85"),
    "a huge shape": filled(FLOATS, BYTES, b"\x8a\x08" + b"\xff" * 7 + b"\x0f\x85"),
    "a negative shape": filled(FLOATS, BYTES, b"J\xff\xff\xff\xff\x85"),
    "a shape that is no count": filled(FLOATS, BYTES, b"\x88\x85"),
    "a type with fields": b"\x80\x02cnumpy\ndtype\n" + arguments(([("a", "O")],)) + b"R.",
    "a type of another kind": b"\x80\x02cnumpy\ndtype\n" + arguments(("V8",)) + b"R.",
    "an array never filled": b"\x80\x04" + ARRAY + b".",
    "an array inside itself": filled(OBJECTS, b"](h\x05e", memo=b"q\x05"),
    "an admitted name alone": b"\x80\x02cnumpy\nndarray\n.",
    "a name written into": b"\x80\x02cnumpy\ndtype\n" + arguments((None, {"_make": 1})) + b"b.",
    "foreign codecs": b"\x80\x02c_codecs\nencode\n" + arguments(("x", "rot13")) + b"R.",
    "more bytes than there are": b"\x80\x04\x8e" + (2 << 30).to_bytes(8, "little") + b"x.",
    "deep nesting": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "nothing": b"",
    "an end": b".",
    "no array": b"\x80\x02K\x01.",
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_arrays_and_types_are_refused(tmp_path, name):
    refuse(tmp_path, CRAFTED[name])


def test_a_file_that_spoils_a_name_spoils_only_itself(tmp_path):
    refuse(tmp_path, b"\x80\x02cnumpy\ndtype\n" + arguments((None, {"_make": 1})) + b"b.")
    save_object(tmp_path / "a.npy", {"a": np.arange(3)})
    assert same(read_object(tmp_path / "a.npy"), {"a": np.arange(3)})


def test_text_that_looks_like_a_pickle_stays_text(tmp_path):
    inner = forms("os", "system", (f"touch {tmp_path / 'canary'}",))["global and reduce"]
    save_object(tmp_path / "a.npy", {"a": inner, "b": np.frombuffer(inner, "u1")})
    assert read_object(tmp_path / "a.npy")["a"] == inner
    assert not (tmp_path / "canary").exists()


def test_there_are_more_than_fifty_hostile_forms():
    assert len(HARM) * len(forms("a", "b", ())) > 500
