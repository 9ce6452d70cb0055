"""Files from elsewhere: a valid value or one clear error, in bounded memory, and no wait for a pipe."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import threading
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_labelleak import BaselineError, InvalidArgumentError, Update
from pytest_labelleak.core.files import exclusive, obstacle, write_text
from pytest_labelleak.core.sensitive import sensitive_terms
from pytest_labelleak.plugin.baseline import Baseline

GOOD = Update.from_arrays(np.ones((2, 3), np.float32), bias_gradient=np.ones(3, np.float32))
META = {"format": "pytest-labelleak-update", "version": 1}
#: Above the bound of a small file, 256 MiB.
LARGE = 512 * 1024**2
needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


def header(shape, *, dtype="<f4", version=1):
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"
    text = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


def archive(path, members, *, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression, allowZip64=True) as target:
        for name, content in members.items():
            target.writestr(f"{name}.npy", content)


def npy(array):
    handle = io.BytesIO()
    np.save(handle, array)
    return handle.getvalue()


def bomb(path, name, start, size, **others):
    """Write zeros that unpack to `size` bytes behind `start`."""
    archive(path, others)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as target, target.open(f"{name}.npy", "w") as member:
        member.write(start)
        block = bytes(1024**2)
        for _ in range(size // len(block)):
            member.write(block)


def refused(path, complaint="Expected"):
    """Load an update, and return the error and the peak of memory."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgumentError, match=complaint) as caught:
            Update.load(path)
        assert caught.value.__cause__ is None
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_zeros_that_unpack_to_more_than_the_file_explains_are_refused_before_they_take_memory(tmp_path):
    path = tmp_path / "bomb.npz"
    bomb(path, "kernel_gradient", header((LARGE // 4 // 64, 64)), LARGE)
    assert path.stat().st_size < 2 * 1024**2
    assert refused(path, "far more memory than its size explains.*without compression") < 10 * 1024**2


@pytest.mark.slow
def test_members_that_nobody_asked_for_are_not_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    GOOD.save(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as target, target.open("unused.npy", "w") as member:
        member.write(header((LARGE // 4,)))
        for _ in range(LARGE // 1024**2):
            member.write(bytes(1024**2))
    tracemalloc.start()
    update = Update.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(update.kernel_gradient, GOOD.kernel_gradient)
    assert peak < 10 * 1024**2


@pytest.mark.slow
def test_a_header_as_large_as_a_disk_is_not_read(tmp_path):
    path = tmp_path / "header.npz"
    start = b"\x93NUMPY\x02\x00" + struct.pack("<I", 300 * 1024**2)
    bomb(path, "kernel_gradient", start, 300 * 1024**2)
    assert refused(path) < 10 * 1024**2


def test_an_archive_that_lies_about_the_size_of_a_member_takes_no_memory(tmp_path):
    path = tmp_path / "lie.npz"
    archive(path, {"kernel_gradient": header((1000, 50_000))})
    assert refused(path, "no plain .npz archive") < 10 * 1024**2


def test_sparse_gradients_may_be_compressed(tmp_path):
    gradient = np.zeros((500, 10_000), np.float32)
    gradient[::10, ::10] = np.random.default_rng(0).normal(size=(50, 1000))
    np.savez_compressed(tmp_path / "sparse.npz", kernel_gradient=gradient)
    assert np.array_equal(Update.load(tmp_path / "sparse.npz").kernel_gradient, gradient)


def test_columns_first_arrays_are_read_as_they_were(tmp_path):
    gradient = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.savez(tmp_path / "columns.npz", kernel_gradient=gradient)
    assert np.array_equal(Update.load(tmp_path / "columns.npz").kernel_gradient, gradient)


HOSTILE = {
    "another compression": ({"kernel_gradient": npy(np.ones((2, 3)))}, zipfile.ZIP_BZIP2),
    "an unclosed header": ({"kernel_gradient": header("(2, 3), 'x': (((")}, zipfile.ZIP_STORED),
    "a deep header": ({"kernel_gradient": header("(" * 3000 + "1" + ")" * 3000)}, zipfile.ZIP_STORED),
    "a header of another type": ({"kernel_gradient": header("'ab'")}, zipfile.ZIP_STORED),
    "a type of no size": ({"kernel_gradient": header((10**15, 3), dtype="|V0")}, zipfile.ZIP_STORED),
    "a negative shape": ({"kernel_gradient": header((-1, -1)) + bytes(4)}, zipfile.ZIP_STORED),
    "a shape that is too large": ({"kernel_gradient": header((10**30, 10**30))}, zipfile.ZIP_STORED),
    "a record type": ({"kernel_gradient": npy(np.zeros((2, 3), "f4,f4"))}, zipfile.ZIP_STORED),
    "an unknown format": ({"kernel_gradient": b"\x93NUMPY\x09\x00" + bytes(100)}, zipfile.ZIP_STORED),
    "nothing": ({"kernel_gradient": b""}, zipfile.ZIP_STORED),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_get_one_clear_error(kind, tmp_path):
    members, compression = HOSTILE[kind]
    archive(tmp_path / "bad.npz", members, compression=compression)
    assert refused(tmp_path / "bad.npz") < 10 * 1024**2


@pytest.mark.parametrize(
    "meta",
    [
        "[" * 100_000,
        '{"format": 1e999}',
        json.dumps({**META, "head": {}, "update": {"defences": 5}}),
        json.dumps({**META, "head": {}, "update": {"compute_dtype": []}}),
        json.dumps({**META, "head": {"kernel": {}}, "update": {}}),
        json.dumps({**META, "head": {"layer": 5}, "update": {}}),
        json.dumps({**META, "head": {"tied": "yes"}, "update": {}}),
        json.dumps({**META, "head": {"kernel": None}, "update": {}}),
        json.dumps({**META, "head": {}, "update": {"learning_rate": 10**400}}),
        json.dumps({**META, "version": "9" * 5000, "head": {}, "update": {}}),
        json.dumps({**META, "head": [[]], "update": {}}),
    ],
)
def test_hostile_metadata_gets_one_clear_error(meta, tmp_path):
    archive(tmp_path / "bad.npz", {"meta": npy(np.array(meta)), "gradient/kernel": npy(np.ones((2, 3)))})
    refused(tmp_path / "bad.npz", "'meta' entry|compute_dtype=<list")


def _valid(compressed):
    handle = io.BytesIO()
    meta = {**META, "head": {"layer": "head", "kernel": "kernel"}, "update": {"defences": ["clip_norm"]}}
    save = np.savez_compressed if compressed else np.savez
    save(handle, meta=np.array(json.dumps(meta)), **{"gradient/kernel": np.ones((2, 3), np.float32)})
    return handle.getvalue()


VALID = {compressed: _valid(compressed) for compressed in (False, True)}


@given(
    compressed=st.booleans(),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
    end=st.floats(0.0, 1.0),
    checked=st.booleans(),
)
def test_flipped_bytes_give_an_update_or_one_clear_error(compressed, flips, end, checked, tmp_path_factory):
    content = bytearray(VALID[compressed])
    for place, bits in flips:
        content[int(place * len(content))] ^= bits
    if end < 0.2:
        content = content[: int(5 * end * len(content))]
    path = tmp_path_factory.getbasetemp() / "flipped.npz"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        if not checked:  # past the checksum, which a hostile file has right
            patch.setattr(zipfile.ZipExtFile, "_update_crc", lambda self, data: None)
        with contextlib.suppress(InvalidArgumentError):
            assert isinstance(Update.load(path), Update)


def test_wrong_zlib_data_is_refused(tmp_path):
    content = bytearray(VALID[True])
    at = content.index(b"PK\x03\x04") + 60
    content[at : at + 8] = b"\xff" * 8
    (tmp_path / "bad.npz").write_bytes(content)
    refused(tmp_path / "bad.npz")


@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3))
def test_flipped_bytes_of_a_baseline_give_a_baseline_or_one_clear_error(flips, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "flipped.json"
    Baseline(entries={"tests/test_a.py::test_a": (0.25, None, 1.0)}).save(path)
    content = bytearray(path.read_bytes())
    for place, bits in flips:
        content[int(place * len(content))] ^= bits
    path.write_bytes(content)
    with contextlib.suppress(BaselineError):
        assert isinstance(Baseline.load(path), Baseline)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"version": ' + "9" * 5000 + "}"])
def test_hostile_baselines_get_one_clear_error(text, tmp_path):
    (tmp_path / "base.json").write_text(text)
    with pytest.raises(BaselineError, match="version control"):
        Baseline.load(tmp_path / "base.json")


def test_a_baseline_beyond_any_sense_is_not_read(tmp_path):
    with (tmp_path / "base.json").open("wb") as handle:
        handle.truncate(LARGE)
    tracemalloc.start()
    with pytest.raises(BaselineError, match="larger than 64 MiB"):
        Baseline.load(tmp_path / "base.json")
    assert tracemalloc.get_traced_memory()[1] < 200 * 1024**2
    tracemalloc.stop()


def _within(seconds, action):
    """Run `action` in a thread of its own, for at most some seconds; return its error."""
    caught = []

    def act():
        try:
            action()
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it waits"
    return caught[0] if caught else None


@needs_pipes
def test_nobody_waits_for_a_pipe(tmp_path):
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    assert "it is no regular file" in obstacle(pipe)
    assert isinstance(_within(10, lambda: Baseline.load(pipe)), BaselineError)
    assert isinstance(_within(10, lambda: Update.load(pipe)), InvalidArgumentError)
    assert isinstance(_within(10, lambda: sensitive_terms(str(pipe))), InvalidArgumentError)
    assert isinstance(_within(10, lambda: GOOD.save(pipe)), InvalidArgumentError)
    assert isinstance(_within(10, lambda: write_text(pipe, "text")), OSError)
    assert pipe.is_fifo()


def test_a_lock_is_waited_for_and_not_for_ever(tmp_path):
    path = tmp_path / "base.json"
    order = []
    with exclusive(path):
        waiting = threading.Thread(target=lambda: [order.append("second") for _ in _once(path)])
        waiting.start()
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]
    (tmp_path / ".base.json.lock").touch()
    with pytest.raises(OSError, match=r"another run is writing it.*delete that file"), exclusive(path, patience=0.1):
        pass
    assert (tmp_path / ".base.json.lock").exists()


def _once(path):
    with exclusive(path):
        yield
