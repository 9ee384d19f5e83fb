"""Flows against known densities, and the protocol's promises."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen import backend
from kgen.flow import MAF, ActNorm, BijectorStep, Coupling, Flow, MaskedAutoregressive, NeuralSplineFlow, RealNVP

pytestmark = pytest.mark.skipif(keras.config.backend() == "torch", reason="flows run on tensorflow and jax")

RNG = np.random.default_rng(0)
LEVELS = np.linspace(-1, 1, 5, dtype="float32")


def shaken(flow, scale=0.1):
    """Moves the weights away from their start."""
    rng = np.random.default_rng(0)
    for v in flow.chain.trainable_variables:
        v.assign(ops.convert_to_numpy(v) + scale * rng.normal(size=v.shape))
    return flow


@keras.saving.register_keras_serializable(package="kgen_tests")
def exponential():
    return backend.tfp().bijectors.Exp()


@pytest.mark.parametrize(
    "make",
    [
        lambda: MAF((2,), layers=2, widths=(16,)),
        lambda: NeuralSplineFlow((2,), layers=2, autoregressive=True, widths=(16,)),
        lambda: NeuralSplineFlow((2,), layers=2, widths=(16,)),
        lambda: RealNVP((2,), couplings=2, widths=(16,)),
    ],
    ids=["maf", "spline ar", "spline", "realnvp"],
)
def test_a_density_integrates_to_one_and_encode_is_undone(make):
    flow = shaken(make())
    side = np.linspace(-20, 20, 801, dtype="float32")
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    total = np.exp(flow.log_prob(grid, batch_size=len(grid)).astype("float64")).sum() * (side[1] - side[0]) ** 2
    assert abs(total - 1) < 2e-3
    x = RNG.normal(size=(200, 2)).astype("float32")
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, atol=1e-5)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_a_flow_reaches_the_entropy_of_a_gaussian():
    covariance = np.array([[1.0, 0.8], [0.8, 2.0]])
    x = RNG.multivariate_normal([3, -1], covariance, size=8000).astype("float32")
    entropy = 0.5 * np.log(np.linalg.det(2 * np.pi * np.e * covariance))
    flow = MAF((2,), layers=1, widths=(16,))
    flow.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-2, 300)))
    flow.fit(x[:6000], epochs=10, batch_size=200, verbose=0)
    held_out = x[6000:]
    true = -entropy - 0.5 * (
        np.einsum("ni,ij,nj->n", held_out - [3, -1], np.linalg.inv(covariance), held_out - [3, -1]) - 2
    )
    assert abs(np.mean(true - flow.log_prob(held_out))) < 0.01
    samples = flow.sample(4000, seed=0)
    np.testing.assert_allclose(np.cov(samples.T), covariance, atol=0.2)
    np.testing.assert_allclose(samples.mean(0), [3, -1], atol=0.1)


def test_any_bijector_of_tfp_makes_a_flow():
    tfb = backend.tfp().bijectors
    flow = Flow((2,), [lambda: tfb.Exp(), lambda: tfb.Shift([1.0, -1.0])(tfb.Scale(2.0))])
    x = np.exp(RNG.normal(size=(50, 2))).astype("float32")
    # ln x = shift + 2 z: a log-normal.
    z = (np.log(x) - [1, -1]) / 2
    expected = (-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - np.log(2) - np.log(x)).sum(-1)
    np.testing.assert_allclose(flow.log_prob(x), expected, atol=1e-5)
    np.testing.assert_allclose(flow.encode(x), z, atol=1e-5)
    np.testing.assert_allclose(flow.decode(z), x, rtol=1e-5)
    chained = Flow((2,), [lambda: tfb.Chain([tfb.Exp(), tfb.Shift([1.0, -1.0]), tfb.Scale(2.0)])])
    np.testing.assert_allclose(chained.log_prob(x), flow.log_prob(x), atol=1e-5)
    masked = Flow((2,), [lambda: tfb.RealNVP(1, shift_and_log_scale_fn=lambda x, n: (2 * x, x), name="nvp")])
    np.testing.assert_allclose(masked.decode(masked.encode(x[:5])), x[:5], atol=1e-5)


def test_a_function_of_a_name_is_saved_and_a_plain_one_says_why_not(tmp_path):
    x = np.exp(RNG.normal(size=(50, 2))).astype("float32")
    flow = Flow((2,), [exponential, ActNorm()])
    flow.compile()
    flow.fit(x, verbose=0)
    flow.save(tmp_path / "flow.keras")
    np.testing.assert_array_equal(kgen.load(tmp_path / "flow.keras").log_prob(x), flow.log_prob(x))
    with pytest.raises(ValueError, match="steps: .*lambda.* is a plain function, which no file can hold. Define it by"):
        Flow((2,), [lambda: exponential()]).save(tmp_path / "other.keras")
    with pytest.raises(TypeError, match="decorate it with @keras.saving.register_keras_serializable"):
        Flow((2,), [lambda: exponential()], ema=0.9)


def test_probabilities_of_levels_sum_to_one():
    flow = shaken(RealNVP((2,), couplings=2, widths=(8,), dequantize=3, logit=1e-5), 0.2)
    assert flow.likelihood == "bound" and MAF((2,), layers=1).likelihood == "exact"
    all_values = np.stack(np.meshgrid([-1.0, 0, 1], [-1.0, 0, 1]), -1).reshape(-1, 2).astype("float32")
    log_p = flow.log_prob(all_values, num_samples=2000)
    assert abs(np.exp(log_p).sum() - 1) < 0.03
    samples = flow.sample(4000, seed=0, batch_size=4000)
    frequency = np.array([(samples == v).all(-1).mean() for v in all_values])
    np.testing.assert_allclose(frequency, np.exp(log_p), atol=0.03)
    few = np.mean([flow.log_prob(all_values, num_samples=1, seed=s).mean() for s in range(30)])
    assert few < log_p.mean() - 0.005  # one draw gives a looser bound
    np.testing.assert_allclose(flow.bits_per_dim(all_values), -flow.log_prob(all_values) / (2 * np.log(2)), rtol=1e-6)


def test_images_there_and_back_and_between():
    flow = shaken(NeuralSplineFlow((4, 4, 2), layers=2, bins=4, widths=(16,), dequantize=5), 0.1)
    x = RNG.choice(LEVELS, size=(8, 4, 4, 2)).astype("float32")
    assert flow.encode(x).shape == x.shape
    np.testing.assert_array_equal(flow.decode(flow.encode(x)), x)
    path = flow.interpolate(x[:4], x[4:], steps=5)
    assert path.shape == (4, 5, 4, 4, 2)
    np.testing.assert_array_equal(path[:, 0], x[:4])
    np.testing.assert_array_equal(path[:, -1], x[4:])
    assert np.isin(flow.sample(4, seed=0), LEVELS).all()


def test_values_that_never_vary_have_no_density():
    x = RNG.normal(size=(50, 3)).astype("float32")
    x[:, 1] = 0.5
    flow = MAF((3,), layers=1)
    flow.compile("adam")
    for given in (x, x[:1]):
        with pytest.raises(
            ValueError, match=r"x: expected values that vary, .* such as x\[:, [01]\]. There is no density there"
        ):
            flow.fit(given, verbose=0)
    with pytest.raises(TypeError, match=r"x: expected an array of examples \(N, ...\), received generator"):
        flow.initialize(row for row in x)
    images = RealNVP((4, 4, 1), couplings=2, widths=(8,), dequantize=3)  # the noise fills what is constant
    images.initialize(np.zeros((20, 4, 4, 1), "float32"))
    assert np.isfinite(images.log_prob(np.zeros((2, 4, 4, 1), "float32"))).all()


def test_classes_and_temperature():
    y = RNG.integers(0, 2, 2000)
    x = (RNG.normal(size=(2000, 2)) * 0.3 + np.where(y == 1, 2.0, -2.0)[:, None]).astype("float32")
    flow = RealNVP((2,), couplings=2, widths=(16,), num_classes=2)
    flow.compile(keras.optimizers.Adam(1e-2))
    flow.fit(x, y, epochs=10, batch_size=100, verbose=0)
    for label in (0, 1):
        samples = flow.sample(200, seed=0, labels=label)
        np.testing.assert_allclose(samples.mean(0), 4 * label - 2, atol=0.25)
    right, wrong = flow.log_prob(x, labels=y), flow.log_prob(x, labels=1 - y)
    assert (right > wrong + 2).mean() > 0.99
    np.testing.assert_allclose(flow.decode(flow.encode(x[:9], y[:9]), y[:9]), x[:9], atol=1e-5)
    assert flow.interpolate(x[:2], x[2:4], 3, labels=y[:2]).shape == (2, 3, 2)
    cold = flow.sample(50, seed=0, labels=1, temperature=0.0)
    assert np.abs(cold - cold[0]).max() == 0
    assert flow.sample(500, seed=0, labels=1, temperature=0.5).std() < 0.8 * flow.sample(500, seed=0, labels=1).std()


def test_the_first_fit_starts_from_the_data_and_no_later_one_does():
    x = RNG.normal(50, 3, size=(256, 3)).astype("float32")
    flow = Flow((3,), [ActNorm(), MaskedAutoregressive(widths=(8,))], ema=0.5)
    flow.compile(keras.optimizers.SGD(0.0))
    loss = flow.fit(x, epochs=1, verbose=0).history["loss"][0]
    assert abs(loss - 3 * (0.5 * np.log(2 * np.pi * np.e) + np.log(3))) < 0.3
    np.testing.assert_allclose(flow.log_prob(x).mean(), -loss, rtol=1e-3)  # the average started there too
    before = flow.get_weights()
    flow.fit(x + 100, epochs=1, verbose=0)
    for a, b in zip(before, flow.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4) if a.shape else None


@pytest.mark.parametrize("num_classes", [None, 2])
def test_the_first_train_on_batch_starts_from_its_batch(num_classes):
    x, y = RNG.normal(50, 3, size=(256, 3)).astype("float32"), RNG.integers(0, 2, 256)
    flow = Flow((3,), [ActNorm(), MaskedAutoregressive(widths=(8,))], ema=0.5, num_classes=num_classes)
    flow.compile(keras.optimizers.SGD(0.0))
    labels = [] if num_classes is None else [y]
    loss = flow.train_on_batch(x, *labels, return_dict=True)["loss"]
    assert abs(loss - 3 * (0.5 * np.log(2 * np.pi * np.e) + np.log(3))) < 0.3
    flow.train_on_batch(x + 100, *labels)
    np.testing.assert_allclose(flow.log_prob(x, **({"labels": y} if labels else {})).mean(), -loss, rtol=1e-3)
    with pytest.raises(ValueError, match="x: expected values that vary, received 1 rows"):
        fresh = MAF((3,), layers=1)
        fresh.compile()
        fresh.train_on_batch(x[:1])


def as_written_by_0_1(path, without):
    """Rewrites a .keras file as version 0.1 had it: classes in the modules of then, no arguments ``without``."""

    def old(value):
        if isinstance(value, dict):
            value = {k: old(v) for k, v in value.items() if k not in without}
            if str(value.get("module", "")).startswith("kgen.flow."):
                value["module"] = "kgen.flow.presets" if "shape" in value["config"] else "kgen.flow.steps"
            return value
        return [old(v) for v in value] if isinstance(value, list) else value

    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    text = json.dumps(old(json.loads(files["config.json"])))
    assert "kgen.flow.presets" in text and not any(name in text for name in without)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, text if name == "config.json" else data)


OLD = {
    "maf": lambda: MAF((3,), layers=2, widths=(2,), num_classes=2, direct=False, ema=0.9),
    "spline ar": lambda: NeuralSplineFlow((3,), layers=2, bins=4, widths=(8,), autoregressive=True, direct=False),
    "flow": lambda: Flow((3,), [ActNorm(), MaskedAutoregressive(widths=(8,), direct=False), Coupling(mask=[1, 0, 0])]),
}


@pytest.mark.parametrize("make", OLD.values(), ids=OLD)
def test_a_file_of_0_1_loads_as_it_was(make, tmp_path):
    flow = shaken(make())
    flow.save(tmp_path / "flow.keras")
    as_written_by_0_1(tmp_path / "flow.keras", without=("direct",))
    again = kgen.load(tmp_path / "flow.keras")
    assert type(again) is type(flow) and again.count_params() == flow.count_params()
    labels = {"labels": 1} if flow.num_classes else {}
    np.testing.assert_array_equal(again.sample(3, seed=0, **labels), flow.sample(3, seed=0, **labels))


def test_wrong_arguments():
    tfb = backend.tfp().bijectors
    flow, images = MAF((2,), layers=1, widths=(8,)), RealNVP((4, 4, 1), couplings=1, widths=(8,), dequantize=5)
    classes = MAF((2,), layers=1, widths=(8,), num_classes=3)
    x = np.zeros((4, 2), "float32")
    pixels = RNG.choice(LEVELS, size=(4, 4, 4, 1)).astype("float32")
    flow.compile()

    def batches():
        yield x

    cases = [
        (lambda: flow.fit(x, np.zeros(4)), "y: this model has no classes"),
        (lambda: flow.fit(batches()), "x: the flow starts from the mean and scale of the data"),
        (lambda: flow.log_prob(x[0]), r"x: expected shape \(N, 2\), received \(2,\)"),
        (lambda: flow.decode(x[:, :1]), r"z: expected shape \(N, 2\), received \(4, 1\)"),
        (lambda: flow.sample(2, temperature=3), r"temperature: expected a number in \[0, 2\], received 3"),
        (lambda: flow.sample(2, labels=1), "labels: this model has no classes"),
        (lambda: flow.interpolate(x, x, steps=1), "steps: expected at least 2"),
        (lambda: flow.interpolate(x, x[:2]), "a, b: expected as many examples in both, received 4 and 2"),
        (lambda: flow.log_prob(x, num_samples=0), "num_samples: expected an integer of at least 1, received 0"),
        (lambda: classes.sample(2), "labels: this model has 3 classes; pass one int for all rows"),
        (lambda: classes.sample(2, labels=3), r"labels: expected integers in \[0, 3\)"),
        (lambda: classes.log_prob(x), "labels: this model has 3 classes"),
        (lambda: classes.check_data(x), "y: this model has 3 classes and needs labels"),
        (lambda: images.encode(pixels * 200), r"x: expected values in \[-1, 1\]"),
        (
            lambda: images.encode(pixels * 0.9),
            r"x: expected values at 5 levels, -1 \+ 2k / 4, received some 0.* of a step",
        ),
        (lambda: RealNVP((4, 4, 1), dequantize=1), "dequantize: expected at least 2 levels, received 1"),
        (lambda: RealNVP((4, 4, 1), dequantize=5, logit=0.6), "logit: expected a number in"),
        (lambda: RealNVP((1,)), "shape: a coupling transforms some values given others and needs at least 2"),
        (lambda: RealNVP((2,), couplings=0), "couplings: expected an integer of at least 1, received 0"),
        (lambda: RealNVP((2,), couplings=2**20), "couplings: expected at most 256, received 1048576"),
        (lambda: MAF((2,), layers=300), "layers: expected at most 256, received 300"),
        (lambda: MAF((0,)), "shape: expected an integer of at least 1, received 0"),
        (lambda: NeuralSplineFlow((2,), autoregressive=True, dropout=0.1), "dropout: the autoregressive networks"),
        (
            lambda: Flow((3,), [lambda: tfb.RealNVP(5, bijector_fn=None)]),
            r"steps\[0\]: expected a step that takes rows of",
        ),
        (lambda: Flow((3,), [ActNorm(), lambda: tfb.Reshape([3, 1])]), r"steps\[1\]: expected a step that"),
        (lambda: Flow((3,), [Coupling(mask=[1, 0])]), "mask: expected the shape of a row"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
    for value, message in (
        (tfb.Exp(), r"steps\[0\]: expected a Step, or a function .* received the bijector 'exp' itself. Pass lambda"),
        (
            "exp",
            r"steps\[0\]: expected a Step, or a function of no arguments that makes a TFP bijector, received 'exp'",
        ),
        (lambda x: x, r"steps\[0\]: expected a Step, or a function of no arguments"),
    ):
        with pytest.raises(TypeError, match=message):
            Flow((2,), [value])
    assert isinstance(Flow((2,), [exponential]).chain.steps[0], BijectorStep)
