"""The checkpoint reader: right on plain tensors, and deaf to everything else a pickle can ask for."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pickle
import struct

import numpy as np
import pytest

from examples.image_classifier.photo_classifier.checkpoint import CheckpointError, load_checkpoint

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {}}


def opcode_global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def value(item) -> bytes:
    """Return the opcodes that push a plain value."""
    return pickle.dumps(item, protocol=2)[2:-1]


def tensor(key="0", count=6, offset=0, shape=(2, 3), strides=(3, 1), kind="FloatStorage") -> bytes:
    storage = b"(" + value("storage") + opcode_global("torch", kind) + value(key) + value("cpu") + value(count) + b"Nt"
    described = b"(" + storage + b"Q" + value(offset) + value(shape) + value(strides) + b"\x89}t"
    return opcode_global("torch._utils", "_rebuild_tensor_v2") + described + b"R"


def state(**tensors: bytes) -> bytes:
    items = b"".join(value(name) + body for name, body in tensors.items())
    return b"\x80\x02" + opcode_global("collections", "OrderedDict") + b")R(" + items + b"u."


def write(path, body: bytes, storages=None, *, magic=MAGIC, system=SYSTEM):
    storages = {"0": np.arange(6, dtype="<f4")} if storages is None else storages
    stream = io.BytesIO()
    for item in (magic, PROTOCOL, system):
        pickle.dump(item, stream, protocol=2)
    stream.write(body)
    pickle.dump(list(storages), stream, protocol=2)
    for array in storages.values():
        stream.write(struct.pack("<q", array.size) + array.tobytes())
    path.write_bytes(stream.getvalue())
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def test_reads_tensors_whatever_their_strides(path):
    body = state(a=tensor(), b=tensor(shape=(3, 2), strides=(1, 3)), c=tensor(offset=4, shape=(), strides=()))
    read = load_checkpoint(write(path, body))
    np.testing.assert_array_equal(read["a"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(read["b"], np.arange(6).reshape(2, 3).T)
    assert read["c"] == 4.0
    assert not read["a"].flags.writeable


def test_reads_integers_and_several_storages(path):
    body = state(a=tensor(), n=tensor(key="1", count=2, shape=(2,), strides=(1,), kind="LongStorage"))
    storages = {"1": np.array([7, -8], dtype="<i8"), "0": np.arange(6, dtype="<f4")}
    read = load_checkpoint(write(path, body, storages))
    assert read["n"].tolist() == [7, -8]
    assert read["a"][1, 2] == 5.0


class Explosive:
    def __init__(self, call, *arguments):
        self.call = (call, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "payload",
    [
        Explosive(os.system, "touch touched"),
        Explosive(eval, "open('touched', 'w')"),
        Explosive(open, "touched", "w"),
        Explosive(getattr, "x", "upper"),
        collections.Counter(),
        np.arange(3),
    ],
    ids=["os.system", "eval", "open", "getattr", "Counter", "numpy"],
)
@pytest.mark.parametrize("place", ["state", "system", "magic"])
def test_refuses_every_other_global(path, payload, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = pickle.dumps({"a": payload}, protocol=2) if place == "state" else state(a=tensor())
    write(path, body, **({place: payload} if place != "state" else {}))
    with pytest.raises(CheckpointError, match=r"asks for \S+, which plain tensors do not need\. Refused"):
        load_checkpoint(path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        # BUILD with a dictionary of attributes, on each name the reader resolves
        opcode_global("torch", "FloatStorage") + value({"dtype": 1}) + b"b",
        opcode_global("torch", "FloatStorage") + b"N" + value({"dtype": 1}) + b"\x86b",
        opcode_global("torch._utils", "_rebuild_tensor_v2") + value({"__call__": 1}) + b"b",
        opcode_global("collections", "OrderedDict") + value({"update": 1}) + b"b",
        # calls of things that are no functions, and of the rebuild function with nonsense
        opcode_global("torch", "FloatStorage") + b")R",
        opcode_global("torch._utils", "_rebuild_tensor_v2") + b"(" + value("x") * 6 + b"tR",
        opcode_global("torch._utils", "_rebuild_tensor_v2") + b")R",
    ],
)
def test_refuses_to_be_rewired(path, opcodes):
    body = b"\x80\x02}" + value("a") + opcodes + b"s."
    with pytest.raises(CheckpointError):
        load_checkpoint(write(path, body))
    assert load_checkpoint(write(path, state(a=tensor())))["a"].shape == (2, 3)


@pytest.mark.parametrize(
    "described",
    [
        {"shape": (3, 3)},
        {"shape": (2, 3), "strides": (3, 2)},
        {"offset": 1},
        {"offset": -1},
        {"shape": (2, -3)},
        {"strides": (-3, 1)},
        {"shape": (10**9, 10**9), "strides": (0, 0)},
        {"strides": (1,)},
        {"offset": 0.0},
        {"offset": True},
    ],
)
def test_refuses_views_outside_of_the_storage(path, described):
    with pytest.raises(CheckpointError):
        load_checkpoint(write(path, state(a=tensor(**described))))


def test_refuses_a_storage_larger_than_the_file_before_reserving_it(path):
    with pytest.raises(CheckpointError, match="more data than the file holds"):
        load_checkpoint(write(path, state(a=tensor(count=10**15))))


def test_every_truncation_is_one_clear_error(path):
    whole = write(path, state(a=tensor())).read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"weights\.pth"):
            load_checkpoint(path)


def test_every_flipped_byte_is_read_or_refused(path):
    whole = write(path, state(a=tensor())).read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with contextlib.suppress(CheckpointError):
            load_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04zip", b"not a checkpoint", b"\x80\x02}."])
def test_refuses_other_files(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_says_that_a_file_is_missing(path):
    with pytest.raises(CheckpointError, match="No such file"):
        load_checkpoint(path)


def test_refuses_state_that_is_no_tensors(path):
    with pytest.raises(CheckpointError, match="something else than named tensors"):
        load_checkpoint(write(path, pickle.dumps({"a": 1}, protocol=2), {}))
