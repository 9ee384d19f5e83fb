import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from core.one_loss import Location, OneLoss
from core.state import differing, state
from core.two_player import TwoPlayer
from keras import ops

import kgen

BACKEND = keras.config.backend()
OTHER = "tensorflow" if BACKEND != "tensorflow" else "torch"
MAKERS = [OneLoss, TwoPlayer]


def rows(n):
    return np.random.default_rng(0).normal(size=(n, 4)).astype("float32")


# Going on as if nothing had happened.


@pytest.mark.parametrize("make", MAKERS)
def test_save_load_and_fit_equals_never_having_stopped(make, tmp_path):
    model = make(dim=4, ema=0.9)
    model.compile("adam")
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    model.fit(rows(16), epochs=2, **options)
    model.save(tmp_path / "m.keras")
    at_save = state(model)
    through = model.fit(rows(16), epochs=2, **options).history

    loaded = kgen.load(tmp_path / "m.keras")
    assert differing(at_save, state(loaded)) == []
    history = loaded.fit(rows(16), epochs=2, **options).history
    assert history == through
    assert differing(state(model), state(loaded)) == []
    assert len(differing(at_save, state(loaded))) > 15
    np.testing.assert_array_equal(model.sample(4, seed=0), loaded.sample(4, seed=0))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_keras_loads_the_file_too(make, policy, tmp_path):
    model = make(dim=4, ema=0.9, dtype=policy)
    model.compile(keras.optimizers.AdamW(0.125))
    for value in [*model.weights, *model.optimizer.variables]:
        if "float" in value.dtype and value.path.split("/")[-1] != "learning_rate":
            value.assign(np.random.default_rng(1).uniform(0.5, 2.0, size=value.shape))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert type(loaded) is make and loaded.get_config() == model.get_config()
    assert differing(state(model), state(loaded)) == []
    optimizer = loaded.optimizer if make is OneLoss else loaded.optimizer["discriminator"]
    assert float(optimizer.learning_rate) == 0.125
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    assert isinstance(inner, keras.optimizers.AdamW)
    assert (inner is not optimizer) == (policy == "mixed_float16")


def test_a_model_that_was_not_compiled_is_saved_and_loaded(tmp_path):
    model = TwoPlayer(dim=4)
    model.save(tmp_path / "m.keras")
    loaded = kgen.load(tmp_path / "m.keras")
    assert not loaded.compiled
    assert differing(state(model), state(loaded)) == []


def test_weights_alone_carry_the_random_state_too(tmp_path):
    model, other = OneLoss(ema=0.9), OneLoss(ema=0.9)
    model.noise.next()
    model.save_weights(tmp_path / "m.weights.h5")
    other.load_weights(tmp_path / "m.weights.h5")
    assert differing(state(model), state(other)) == []


def test_a_runs_folder_is_loaded_by_its_model(tmp_path):
    Location(3).save(tmp_path / "model.keras")
    assert kgen.load(tmp_path).dim == 3


# Another backend.

ELSEWHERE = """
import sys, warnings
warnings.simplefilter("error", UserWarning)
import numpy as np, keras, kgen
from core.one_loss import OneLoss
from core.state import state
from core.two_player import TwoPlayer
folder = sys.argv[1]
out = {}
for name in ("OneLoss", "TwoPlayer"):
    model = kgen.load(f"{folder}/{name}.keras")
    assert model.get_compile_config()["jit_compile"] == "auto"  # chosen anew, not what it became on the other backend
    for (kind, i, path), value in state(model).items():
        out[f"{name}/{kind}/{i}"] = value
    out[f"{name}/sample"] = model.sample(4, seed=0)
    x = np.ones((8, 4), "float32")
    if name == "OneLoss":
        assert np.isfinite(model.fit(x, verbose=0).history["loss"]).all()
        assert int(model.optimizer.iterations) == 2, model.optimizer.iterations
    else:
        assert sorted(model.optimizer.members) == ["discriminator", "generator"]
np.savez(f"{folder}/there.npz", **out)
"""


@pytest.mark.across(OTHER)
def test_a_file_loads_whole_on_another_backend(tmp_path):
    here = {}
    for make in MAKERS:
        model = make(dim=4, ema=0.9)
        model.compile(keras.optimizers.Adam(0.01), jit_compile="auto")
        model.fit(rows(8), batch_size=8, verbose=0)
        model.save(tmp_path / f"{make.__name__}.keras")
        here.update({f"{make.__name__}/{kind}/{i}": v for (kind, i, _), v in state(model).items()})
        here[f"{make.__name__}/sample"] = model.sample(4, seed=0)
    environment = {
        **os.environ,
        "KERAS_BACKEND": OTHER,
        "PYTHONPATH": str(pathlib.Path(__file__).parent.parent),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    there = np.load(tmp_path / "there.npz")
    assert sorted(there) == sorted(here)
    for name, value in here.items():
        if name.endswith("sample"):
            np.testing.assert_allclose(there[name], value, atol=1e-5)
        else:
            np.testing.assert_array_equal(there[name], value, err_msg=name)


# Whole or not at all.


def failing(error):
    def save_own_variables(store):
        raise error

    return save_own_variables


@pytest.mark.parametrize("error", [RuntimeError("in the middle"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(error, tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    model = OneLoss()
    model.save(path)
    old = path.read_bytes()
    monkeypatch.setattr(model.network.layers[-1], "save_own_variables", failing(error))
    with pytest.raises(type(error)):
        model.save(path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["m.keras"]


def test_a_full_disk_is_named_and_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    model = OneLoss()
    model.save(path)
    old = path.read_bytes()
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(model.network.layers[-1], "save_own_variables", failing(full))
    with pytest.raises(
        OSError, match=r"m.keras could not be written \(No space left on device\); nothing was changed"
    ) as e:
        model.save(path)
    assert e.value.errno == errno.ENOSPC
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["m.keras"]


def test_a_file_that_the_system_will_not_let_grow(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "m.keras"
    model = OneLoss()
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
        with pytest.raises(OSError, match=r"m.keras could not be written \(.*\); nothing was changed there"):
            model.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


def test_where_to_save_is_checked_first(tmp_path):
    model = Location()
    with pytest.raises(ValueError, match=r"filepath: expected a path that ends in '.keras', received .*m.h5"):
        model.save(tmp_path / "m.h5")
    model.save(tmp_path / "new" / "m.keras")
    with pytest.raises(FileExistsError, match="m.keras exists; pass overwrite=True to replace it"):
        model.save(tmp_path / "new" / "m.keras", overwrite=False)


# What is not ours to read.


def rewrite(path, change):
    """Writes a .keras file again with another config.json."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    change(config)
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("load", [kgen.load, keras.saving.load_model])
def test_a_file_of_another_version_names_both(load, tmp_path):
    path = tmp_path / "m.keras"
    Location().save(path)
    rewrite(path, lambda config: config["config"].update(kgen_version="99.0.0"))
    with pytest.raises(ValueError, match=rf"written by kgen 99\.0\.0; this is kgen {kgen.__version__}.*kgen==99\.0\.0"):
        load(path)
    patch = ".".join([*kgen.__version__.split(".")[:2], "99"])
    for version in (patch, "0.1.0", "0.1.7"):  # files of 0.1 are read
        rewrite(path, lambda config, version=version: config["config"].update(kgen_version=version))
        assert load(path).dim == 1


def in_words_of_0_1(value):
    if isinstance(value, dict):
        return {"image_shape" if k == "shape" else k: in_words_of_0_1(v) for k, v in value.items()}
    return [in_words_of_0_1(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("load", [kgen.load, keras.saving.load_model])
def test_a_file_of_0_1_has_another_word_for_the_shape(load, tmp_path):
    model = kgen.diffusion.DDPM(
        (4, 4, 1), network=kgen.networks.UNet((4, 4, 1), channels=(4,), blocks=1, attention=(False,), groups=2)
    )
    model.save(tmp_path / "m.keras")
    rewrite(tmp_path / "m.keras", lambda config: config.update(config=in_words_of_0_1(config["config"])))
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        text = archive.read("config.json").decode()
    assert text.count('"image_shape"') == 2 and '"shape"' not in text
    assert differing(state(model), state(load(tmp_path / "m.keras"))) == []


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "m.keras"
    OneLoss().save(path)
    whole = path.read_bytes()
    middle = whole.index(b"moving_mean") if b"moving_mean" in whole else len(whole) // 2
    for content in [
        whole[: len(whole) // 2],
        b"not a model",
        b"",
        whole[:middle] + bytes(b ^ 0xFF for b in whole[middle : middle + 64]) + whole[middle + 64 :],
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"m.keras is not a .keras file, or it is damaged"):
            kgen.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("something.else", "else")
    with pytest.raises(ValueError, match=r"damaged: .*config.json"):
        kgen.load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="m.keras does not exist"):
        kgen.load(tmp_path / "m.keras")
    with pytest.raises(
        FileNotFoundError,
        match=r"model.keras does not exist \(a run's folder holds model.keras, a preset's metadata.json\)",
    ):
        kgen.load(tmp_path)


def test_samples_follow_the_average_that_was_saved(tmp_path):
    model = OneLoss(ema=0.5)
    model.network.layers[-1].bias.assign([9.0] * 4)
    before = model.sample(3, seed=0)
    model.ema_network.layers[-1].bias.assign([1.0] * 4)
    np.testing.assert_allclose(model.sample(3, seed=0) - before, 1.0, rtol=1e-5)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(kgen.load(tmp_path / "m.keras").sample(3, seed=0), model.sample(3, seed=0))
    assert ops.convert_to_numpy(model.network.layers[-1].bias)[0] == 9.0
