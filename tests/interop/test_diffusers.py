"""Models of diffusers: folders that it wrote, and what its networks and schedulers computed (``make_folders.py``)."""

import copy
import json
import pathlib
import shutil
import sys
import types
import warnings

import keras
import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner
from diffusion.analytic import OF_A_NETWORK, RUNS, noise, trailing
from keras import ops

import kgen
from kgen import backend
from kgen.core import presets, random
from kgen.diffusion import DDPM, AncestralSampler, DDIMSampler, KarrasGrid, samplers
from kgen.interop import diffusers, schedulers, unet2d
from kgen.networks import UNet
from kgen.tools import cli

HERE = pathlib.Path(__file__).parent
NAMES = ("plain", "attention", "older")
# What runs once costs least as it is, but for JAX, which compiles each operation by itself then.
jit = backend.jit if keras.config.backend() == "jax" else lambda fn: fn


@pytest.fixture(scope="module")
def models():
    return {name: diffusers.load(HERE / name, ema=None) for name in NAMES}


def relative(a, b):
    return np.abs(ops.convert_to_numpy(a) - b).max() / np.abs(b).max()


ONCE = pytest.mark.once(
    "names and orders of weights are read in NumPy; the network with attention runs on every backend"
)


@pytest.mark.parametrize("name", [n if n == "attention" else pytest.param(n, marks=ONCE) for n in NAMES])
def test_networks_and_runs_are_those_of_diffusers(name, models):
    model, expected = models[name], np.load(HERE / name / "expected.npz")
    tensors = {k: ops.convert_to_tensor(expected[k]) for k in expected.files}
    values = {"label": tensors["labels"]} if "labels" in tensors else {}
    t = ops.cast(tensors["t"] + 1, "float32") / model.schedule.num_steps  # step k of N is t = (k + 1)/N
    sampler, seeds = DDIMSampler(10, grid=model.sampler.grid), np.zeros((3, 2), "int32")
    denoiser = model.denoiser()
    if keras.config.backend() == "tensorflow":  # a graph of the network alone, not of the loop around it
        network = backend.jit(lambda *inputs: model.network(list(inputs)))
        denoiser.network = lambda inputs, training: network(*inputs)

    # By the noise of clipped data, by the network's as diffusers' pipelines of DDIM do, and as DDPM with the noise of row seeds.
    as_it_is = copy.copy(denoiser)
    as_it_is.clip = denoiser.clip and "data"
    runs = {"sample": (sampler, denoiser), "sample_of_its_noise": (sampler, as_it_is)}
    if "sample_ddpm" in tensors:
        runs["sample_ddpm"] = samplers.get(model.sampler, steps=10), denoiser

    def all_of_them(x, t, noise, values):
        found = {"output": denoiser.output(x, t, values)}
        for key, (sampler, denoise) in runs.items():
            estimate = lambda x, t, denoise=denoise: denoise(x, t, values)  # noqa: E731
            found[key] = sampler.sample(estimate, model.schedule, seeds, (8, 8, 1), x=noise)
        return found

    found = jit(all_of_them)(tensors["x"], t, tensors["noise"], values)
    for key, value in found.items():
        assert relative(value, expected[key]) < 1e-4, key


@pytest.fixture(scope="module")
def denoise(models):
    """Of ``older``: one graph of the network for every solver."""
    denoiser = copy.copy(models["older"].denoiser())
    denoiser.clip = False
    network = backend.jit(lambda *inputs: denoiser_network(list(inputs)))
    denoiser_network, denoiser.network = denoiser.network, lambda inputs, training: network(*inputs)
    return lambda x, t: denoiser(x, t, {})


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
@pytest.mark.parametrize("name", np.load(OF_A_NETWORK).files)
def test_trajectories_of_a_network_are_those_of_diffusers(name, models, denoise):
    """10, 20 and 50 steps of its scheduler from one noise, within 1e-4 of their range; rows of each in one run."""
    sampler = samplers.names()[name.split(",")[0]](**({"stochastic": True} if "," in name else {}))
    last = 1e-3 if name == "deis" else 0.0  # that of diffusers ends at the noise of its first step
    times = np.repeat([np.pad(trailing(n, last), (0, max(RUNS) - n), mode="edge") for n in RUNS], 3, axis=0)
    first, seeds = np.tile(noise(3, shape=(8, 8, 1)), (3, 1, 1, 1)), np.tile(random.row_seeds(0, 3), (3, 1))
    given = (ops.convert_to_tensor(v) for v in (seeds, first, times.astype("float32")))
    run = backend.jit(lambda *given: sampler.run(denoise, models["older"].schedule, *given))
    found = ops.convert_to_numpy(run(*given))
    for n, ends, expected in zip(RUNS, np.split(found, len(RUNS)), np.load(OF_A_NETWORK)[name], strict=True):
        np.testing.assert_allclose(ends, expected, rtol=0, atol=1e-4 * np.ptp(expected), err_msg=f"{n} steps")


def test_what_a_folder_says_is_kept(models):
    plain, attention, older = (models[name] for name in NAMES)
    found = plain.schedule.get_config()
    assert found == {"beta_start": 0.0005, "beta_end": 0.08, "num_steps": 200} and type(plain.sampler) is DDIMSampler
    assert plain.num_classes == 3 and not plain.clip and plain.network.get_config()["scale_shift"]
    assert (
        attention.sampler == AncestralSampler(1000, "leading")
        and attention.clip
        and attention.schedule.num_steps == 1000
    )
    assert (
        older.sampler == AncestralSampler(1000, "leading", "large")
        and type(older.schedule).__name__ == "ScaledLinearSchedule"
    )


def test_ddim_with_clipping_keeps_the_networks_noise():
    config = json.loads((HERE / "attention/scheduler/scheduler_config.json").read_text())
    assert (
        config["clip_sample"] and schedulers.arguments(config, "there")["clip"] is True
    )  # DDPM, which uses the data alone
    assert schedulers.arguments(config, "there", of="DDIMScheduler")["clip"] == "data"
    network = UNet((8, 8, 1), (4,), 1, (), groups=4)
    for clip, warned in ((True, 1), ("data", 0), (False, 0)):
        model = DDPM((8, 8, 1), network=network, clip=clip, sampler="ddim")
        assert DDPM.from_config(model.get_config()).clip == clip
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            assert schedulers.configuration(model)["clip_sample"] == bool(clip)
        assert sum("use_clipped_model_output=True" in str(w.message) for w in found) == warned
    with pytest.raises(ValueError, match="clip: expected one of 'data', received 'noise'"):
        DDPM((8, 8, 1), network=network, clip="noise")


def read(folder):
    """The weights of a folder, under the names of now, in single precision."""
    (path,) = folder.rglob("*.safetensors")
    return {unet2d.renamed(k): v.astype("float32") for k, v in safetensors.numpy.load_file(path).items()}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_is_what_was_loaded(name, models, tmp_path):
    folder = diffusers.save(models[name], tmp_path / "there")
    given, written = read(HERE / name), read(folder)
    if name == "older":  # whose sines stood before the cosines
        given[unet2d.FIRST] = np.roll(given[unet2d.FIRST], 3, axis=1)
    assert set(given) == set(written)
    for key, value in given.items():
        np.testing.assert_array_equal(written[key], value, err_msg=key)
    assert (folder / "model_index.json").exists() == (name != "plain")  # diffusers' pipelines pass no label
    if name == "attention":
        model, again = models[name], diffusers.load(folder, ema=None)
        assert (again.schedule, again.prediction, again.sampler) == (model.schedule, model.prediction, model.sampler)
        assert again.network.get_config() == model.network.get_config() and again.clip
        for a, b in zip(again.network.get_weights(), model.network.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_model_of_kgen_there_and_back(tmp_path):
    network = UNet((8, 8, 1), (8,), 1, (8,), head_dim=4, groups=4, num_classes=2)
    rng = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(rng.normal(0.0, 0.3, weight.shape).astype("float32"))
    model = DDPM((8, 8, 1), network=network, num_classes=2, label_dropout=0.1)
    network.get_layer("conv_out").bias.assign([9.0])  # the average, which is what is saved, has not followed yet
    with pytest.warns(UserWarning, match=r"sampler: the folder names DDIM.*from_config.*algorithm_type='sde-dpmsolver"):
        again = diffusers.load(diffusers.save(model, tmp_path / "there"), ema=None)
    assert again.num_classes == 3 and again.sampler == DDIMSampler(50, grid="trailing")  # the last is "no class"
    inputs = [
        ops.convert_to_tensor(v.astype("float32")) for v in (rng.normal(size=(3, 8, 8, 1)), np.array([0.001, 0.5, 1.0]))
    ]
    for levels in ("alpha", "sigma"):
        expected = ops.convert_to_numpy(getattr(model.schedule, levels)(inputs[1]))
        np.testing.assert_allclose(getattr(again.schedule, levels)(inputs[1]), expected, rtol=2e-3)
    inputs.append(ops.convert_to_tensor(np.array([0, 1, 2], "int32")))
    ours, theirs = jit(lambda *inputs: (model.ema_network(inputs), again.network(inputs)))(*inputs)
    assert relative(theirs, ops.convert_to_numpy(ours)) < 1e-5


def changed(tmp_path, name="attention", file="unet/config.json", **values):
    """A folder of which one file says something else."""
    folder = tmp_path / "changed"
    shutil.copytree(HERE / name, folder, dirs_exist_ok=True)
    config = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**config, **values}))
    return folder


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"time_embedding_type": "fourier"},
            r"config.json: time_embedding_type: expected 'positional', received 'fourier'",
        ),
        (
            {"down_block_types": ["SkipDownBlock2D", "AttnDownBlock2D"]},
            r"down_block_types: expected 'DownBlock2D' or 'AttnDownBlock2D', received 'SkipDownBlock2D', which kgen has not",
        ),
        (
            {"up_block_types": ["UpBlock2D", "UpBlock2D"]},
            r"up_block_types: expected attention at the levels of down_block_types",
        ),
        ({"center_input_sample": True}, r"center_input_sample: expected false, received true"),
        ({"resnet_time_scale_shift": "scale_shift"}, r"attn_norm_num_groups: expected 2, received null"),
        ({"resnet_time_scale_shift": "spatial"}, r"expected 'default' or 'scale_shift', received 'spatial'"),
        ({"downsample_type": "resnet"}, r"downsample_type: expected 'conv', received 'resnet'"),
        ({"attention_head_dim": 3}, r"attention_head_dim: expected a divisor of 8 channels, received 3"),
        ({"out_channels": 2}, r"out_channels: expected 1, received 2"),
        ({"sample_size": None}, r"sample_size: expected .*, received null"),
        ({"use_magic": 7}, r"config.json: use_magic: expected keys that kgen knows, received this one, 7"),
        (
            {"_class_name": "UNet2DConditionModel"},
            r"_class_name: expected 'UNet2DModel', received 'UNet2DConditionModel'",
        ),
        (
            {"add_attention": False},
            r"safetensors: mid_block.attentions.0.group_norm.*: the configuration makes nothing, the file holds",
        ),
        (
            {"block_out_channels": [6, 500_000]},
            r"it does not hold the network of config.json: ",
        ),  # before 40 GB are allocated
    ],
)
def test_a_network_that_kgen_has_not_is_refused_by_name(values, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        diffusers.load(changed(tmp_path, **values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"beta_schedule": "sigmoid"},
            r"scheduler_config.json: beta_schedule: expected .*'squaredcos_cap_v2', received 'sigmoid'",
        ),
        (
            {"variance_type": "learned_range"},
            r"variance_type: expected 'fixed_small' or 'fixed_large', received 'learned_range'",
        ),
        ({"thresholding": True}, r"thresholding: expected false, received true"),
        ({"timestep_spacing": "linspace"}, r"timestep_spacing: expected 'leading' or 'trailing', received 'linspace'"),
        ({"clip_sample_range": 2.0}, r"clip_sample_range: expected 1.0, received 2.0"),
        ({"trained_betas": [0.1, 2.0]}, r"trained_betas: expected 1000 numbers above 0 and below 1"),
    ],
)
def test_a_scheduler_that_kgen_has_not_is_refused_by_name(values, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        diffusers.load(changed(tmp_path, file="scheduler/scheduler_config.json", **values))


def test_pipelines_and_folders_of_another_kind_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"model_index.json: scheduler: expected 'DDPMScheduler' or 'DDIMScheduler', received 'PNDM"
    ):
        diffusers.load(changed(tmp_path, file="model_index.json", scheduler=["diffusers", "PNDMScheduler"]))
    with pytest.raises(
        ValueError, match=r"model_index.json: vqvae: expected unet and scheduler alone, received this part too"
    ):
        diffusers.load(changed(tmp_path, file="model_index.json", vqvae=["diffusers", "VQModel"]))
    folder = changed(tmp_path, "plain", "config.json")
    (folder / "scheduler_config.json").unlink()
    (folder / "model_index.json").unlink()
    shutil.rmtree(folder / "unet")
    shutil.rmtree(folder / "scheduler")
    with pytest.raises(
        FileNotFoundError, match=r"It says how the network was trained: put it there, or pass scheduler="
    ):
        diffusers.load(folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.rename(folder / "diffusion_pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"Files that end in .bin are pickles, which run code"):
        diffusers.load(folder, scheduler={"_class_name": "DDPMScheduler"})


def test_models_that_diffusers_has_not_are_refused(models, tmp_path):
    network = models["attention"].network
    for arguments, message in (
        ({"schedule": "edm", "prediction": "velocity"}, r"schedule: diffusers has processes of a number of steps"),
        ({"schedule": "edm"}, r"prediction: diffusers has NoisePrediction, .*received EDMPrediction"),
        ({"prediction": "flow"}, r"prediction: diffusers has NoisePrediction, .*received FlowPrediction"),
        ({"sampler": "heun"}, r"sampler: diffusers' pipelines have AncestralSampler and DDIMSampler with eta=0"),
        ({"sampler": DDIMSampler(10, grid=KarrasGrid())}, r"sampler: expected a grid of leading or trailing steps"),
    ):
        with pytest.raises(ValueError, match=message):
            diffusers.save(DDPM((8, 8, 1), network=network, ema=None, **arguments), tmp_path / "there")
    resampled = UNet((8, 8, 1), (4,), 1, (), groups=4, resample="residual")
    for net, message in (
        (network, r"sinusoids .* expected 100, received 1000"),
        (resampled, r"resample: .*expected 'convolution'"),
    ):
        with pytest.raises(ValueError, match=message):
            diffusers.save(
                DDPM((8, 8, 1), network=net, ema=None, schedule=kgen.diffusion.CappedCosineSchedule(100)),
                tmp_path / "there",
            )
    assert not (tmp_path / "there").exists()


def run(*arguments):
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


def test_from_hugging_face(models, monkeypatch, tmp_path):
    asked = []

    class EntryNotFoundError(Exception):
        pass

    class LocalEntryNotFoundError(EntryNotFoundError, FileNotFoundError):
        pass

    def download(repository, name, *, revision):
        asked.append((repository, revision))
        if repository == "user/offline":
            raise LocalEntryNotFoundError
        if not (HERE / "older" / name).exists():
            raise EntryNotFoundError
        return str(HERE / "older" / name)

    errors = {"EntryNotFoundError": EntryNotFoundError, "LocalEntryNotFoundError": LocalEntryNotFoundError}
    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=download))
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", types.SimpleNamespace(**errors))
    result = run("convert", "hf://user/ddpm@abc", "--from", "diffusers", "--out", tmp_path / "ours")
    assert result.exit_code == 0 and "Written" in result.output, result.output
    assert set(asked) == {("user/ddpm", "abc")} and presets.is_preset(tmp_path / "ours")
    kept = sorted(
        float(v.sum()) for v in safetensors.numpy.load_file(tmp_path / "ours/model.safetensors").values() if v.ndim
    )
    assert kept == sorted(float(v.sum()) for v in models["older"].network.get_weights())
    with pytest.raises(LocalEntryNotFoundError):
        diffusers.load("hf://user/offline@abc")
    with pytest.raises(ValueError, match=r"name: expected 'hf://user/repo@revision', received"):
        diffusers.load("kaggle://user/model/keras/v/1")


def test_convert_to_diffusers(models, monkeypatch, tmp_path):
    monkeypatch.setattr(kgen, "load", lambda path: models[path], raising=False)
    result = run("convert", "older", "--to", "diffusers", "--out", tmp_path / "theirs")
    assert result.exit_code == 0 and (tmp_path / "theirs/model_index.json").exists(), result.output
    assert "nothing is overwritten" in run("convert", "older", "--to", "diffusers", "--out", tmp_path).stderr
    assert "name one of them" in run("convert", "older", "--out", tmp_path / "x").stderr


def test_names_of_the_first_versions():
    assert unet2d.renamed("mid_block.attentions.0.proj_attn.bias") == "mid_block.attentions.0.to_out.0.bias"
    assert unet2d.renamed("mid_block.attentions.0.to_out.0.bias") == "mid_block.attentions.0.to_out.0.bias"
    assert unet2d.renamed("down_blocks.0.resnets.0.conv1.weight") == "down_blocks.0.resnets.0.conv1.weight"
