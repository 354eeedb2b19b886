"""Files that do not fit the model, are damaged, or are hostile: refused, and nothing is changed."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from batchflow.errors import ArgumentValueError, ModelDefinitionError
from batchflow.models.calls import train
from batchflow.models.checkpoint import load, save
from batchflow.testing import digest

pytestmark = pytest.mark.tensorflow  # needs Keras

DATA = np.random.default_rng(0).normal(size=(16, 5)).astype("float32")


def make_plain_net(keras):
    layers = keras.layers
    inner = keras.Sequential([layers.Dense(6), layers.Dropout(0.2)])
    net = keras.Sequential([keras.Input((5,)), inner, layers.Dropout(0.3), layers.Dense(1)])
    net.compile("sgd", "mse")
    return net


def fingerprint(net):
    return digest(*map(np.asarray, net.variables + net.optimizer.variables))


def step(net):
    train(net, (DATA, DATA.sum(axis=1, keepdims=True)), {})


def state_file(keras, path, edit=lambda arrays: None):
    """Write the state of a fresh model, changed by `edit`."""
    save(make_plain_net(keras), path)
    with np.load(path) as stored:
        arrays = dict(stored)
    edit(arrays)
    with open(path, "wb") as stream:
        np.savez(stream, **arrays)


KERNEL = "model/0/dense/kernel"
EDITS = {
    "another shape": (lambda a: a.update({KERNEL: np.ones((5, 7), "f")}), r"shape \(5, 7\)"),
    "another dtype": (lambda a: a.update({KERNEL: np.ones((5, 6))}), "dtype float64"),
    "a pickle inside": (
        lambda a: a.update({KERNEL: np.full((5, 6), None, object)}),
        "dtype object",
    ),
    "transposed": (lambda a: a.update({KERNEL: np.asfortranarray(a[KERNEL])}), "Fortran"),
    "one missing": (lambda a: a.pop(KERNEL), f"it lacks 1 variables, the first is '{KERNEL}'"),
    "one too many": (lambda a: a.update(extra=np.ones(1)), "the model lacks 1 .*'extra'"),
    "no optimizer": (
        lambda a: [a.pop(name) for name in [*a] if name.startswith("optimizer")],
        "from a model that was not compiled",
    ),
    "no state": (lambda a: a.pop("batchflow_state"), "is not a state that batchflow has saved"),
    "a later format": (lambda a: a.update(batchflow_state=np.array(2)), "has the format 2"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_state_that_does_not_fit_changes_nothing(keras, tmp_path, edit):
    change, message = EDITS[edit]
    state_file(keras, tmp_path / "net.npz", change)
    net = make_plain_net(keras)
    step(net)
    before = fingerprint(net)
    with pytest.raises(ArgumentValueError, match=message):
        load(tmp_path / "net.npz", into=net)
    assert fingerprint(net) == before


def test_a_damaged_file_changes_nothing(keras, tmp_path):
    net, file = make_plain_net(keras), tmp_path / "net.npz"
    step(net)
    save(make_plain_net(keras), file)
    before, whole = fingerprint(net), file.read_bytes()
    at = whole.rindex(b"\x93NUMPY") + 128 + 2  # the data of the last array
    flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    cuts = [whole[:n] for n in (0, 1, 100, len(whole) // 2, len(whole) - 1)]
    noise = np.random.default_rng(0).bytes(1000)
    for data in [*cuts, flipped, noise, b"PK\x03\x04" + noise, pickle.dumps({})]:
        file.write_bytes(data)
        with pytest.raises(ArgumentValueError, match=r"net\.npz"):
            load(file, into=net)
    assert fingerprint(net) == before


@pytest.mark.parametrize("bomb", ["data", "shape"])
def test_a_file_that_would_fill_the_memory_is_not_read(keras, tmp_path, bomb):
    tracemalloc = pytest.importorskip("tracemalloc")
    net, file = make_plain_net(keras), tmp_path / "net.npz"
    save(net, file)
    with np.load(file) as stored:
        arrays = dict(stored)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            stream = io.BytesIO()
            np.save(stream, values)
            data = stream.getvalue()
            if name == KERNEL:
                data = data + bytes(200 * 2**20) if bomb == "data" else data
                data = data.replace(b"(5, 6)", b"(9**9,)") if bomb == "shape" else data
            archive.writestr(f"{name}.npy", data)
    tracemalloc.start()
    try:
        with pytest.raises(ArgumentValueError, match=r"net\.npz"):
            load(file, into=net)
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()


def test_a_model_without_variables_is_refused(keras, tmp_path):
    net = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ModelDefinitionError, match=r"no variables yet.*keras\.Input"):
        save(net, tmp_path / "net.npz")
    assert os.listdir(tmp_path) == []


def test_advice_is_given_where_the_path_or_the_model_is_wrong(keras, tmp_path):
    with pytest.raises(ArgumentValueError, match=r"\.npz .*or a \.keras"):
        save(make_plain_net(keras), tmp_path / "net.weights.h5")
    save(make_plain_net(keras), tmp_path / "net.npz")
    with pytest.raises(ArgumentValueError, match="no model that could take it"):
        load(tmp_path / "net.npz", trust=True)
    (tmp_path / "net.keras").write_bytes(b"PK")
    with pytest.raises(ArgumentValueError, match="is damaged"):
        load(tmp_path / "net.keras")


@pytest.mark.filterwarnings("ignore:You are saving")
def test_a_byte_that_flips_in_a_whole_model_is_told(keras, tmp_path):
    file = tmp_path / "net.keras"
    save(make_plain_net(keras), file)
    whole = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        weights = archive.getinfo("model.weights.h5")
    at = weights.header_offset + weights.file_size // 2
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(ArgumentValueError, match=r"net\.keras is damaged"):
        load(file)
