"""Small models for the tests of the page: presets of several families, and one of its own with a condition of its own."""

import keras
import numpy as np
from keras import ops

import kgen
from kgen.core import Endpoint, TensorSpec, random
from kgen.core.conditions import Condition
from kgen.core.endpoints import SEED


@keras.saving.register_keras_serializable(package="kgen_tests")
class Weather(Condition):
    """One of three words, which no kind of kgen's is: it describes itself by a ``TensorSpec`` alone."""

    kind = "weather"

    def specs(self):
        doc = "what the sky is like"
        return {self.name: TensorSpec((), "int32", doc, 0, 2, 1, kind=self.kind, choices=("sun", "rain", "snow"))}

    def check(self, value, n, argument=None):
        value = np.asarray(value)
        if value.shape != (n,) or value.min() < 0 or value.max() > 2:
            raise ValueError(f"{argument or self.name}: expected integers in [0, 3), received {value!r}.")
        return {self.name: value.astype("int32")}


@keras.saving.register_keras_serializable(package="kgen_tests")
class Clouds(kgen.GenerativeModel):
    """A system that came later: pictures of noise as bright as the weather, as wide as ``contrast``; ``brighten`` takes a picture."""

    def __init__(self, **kwargs):
        super().__init__(conditions=[Weather("weather", dropout=0.1)], **kwargs)
        self.shape = (6, 6, 3)
        self.layer = keras.layers.Dense(1)
        self.layer.build((None, 1))

    def draw(self, seed, weather, contrast):
        noise = random.uniform(seed, self.shape) - 0.5
        level = ops.reshape(ops.cast(weather, "float32") - 1.0, (-1, 1, 1, 1))
        return {"images": ops.clip(0.8 * level + ops.reshape(contrast, (-1, 1, 1, 1)) * noise, -1, 1)}

    def sample(self, n, *, seed=None, contrast=0.5, batch_size=None, **conditions):
        rows = {"seed": self.row_seeds(n, seed), **self.conditions.rows(n, {"weather": 1, **conditions})}
        rows["contrast"] = np.full((n,), contrast, "float32")
        return self.run_rows("sample", self.draw, rows, batch_size=batch_size)["images"]

    def brighten(self, x, *, batch_size=None):
        """A method that no other model has."""
        if np.min(x) < -0.999:
            raise ValueError("x: expected no black, <b>received</b> some. Send another.")
        return np.clip(np.asarray(x) + 0.5, -1, 1)

    def endpoints(self):
        contrast = TensorSpec((), "float32", "width of the noise, shares", 0.0, 2.0, 0.5, kind="number")
        x = {"x": TensorSpec(self.shape, "float32", "picture", -1.0, 1.0, kind="image")}
        inputs, images = {"seed": SEED, **self.conditions.specs(), "contrast": contrast}, {"images": "in [-1, 1]"}
        brighten = Endpoint("brighten", lambda x: {"images": ops.clip(x + 0.5, -1, 1)}, x, images, ("images",))
        return [Endpoint("sample", self.draw, inputs, images, ("images",)), brighten]


def shaken(model, scale=0.1):
    """A fresh network often gives zeros."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "float" in weight.dtype:
            noise = scale * rng.standard_normal(weight.shape)
            weight.assign(keras.ops.convert_to_numpy(weight) + noise.astype("float32"))
    return model


def digits():
    network = kgen.networks.UNet((8, 8, 1), channels=(8,), blocks=1, attention=[False], num_classes=10)
    sampler = kgen.diffusion.DDIMSampler(3)
    return shaken(kgen.diffusion.DDPM((8, 8, 1), network=network, num_classes=10, sampler=sampler, ema=None))


def vae():
    networks = {"encoder": kgen.networks.MLP((8, 8, 1), (8,), widths=(8,))}
    networks["decoder"] = kgen.networks.MLP((4,), (8, 8, 1), widths=(8,))
    return shaken(kgen.vae.VAE((8, 8, 1), 4, **networks))


def gpt():
    tokenizer = kgen.text.ByteTokenizer()
    return shaken(kgen.autoregressive.GPT(tokenizer=tokenizer, context=64, layers=1, heads=2, width=16), 0.02)


def gan():
    return kgen.gan.ConditionalGAN((8, 8, 1), num_classes=3, latent_dim=4, ema=None, name="gan")


def plane():
    sampler = kgen.numerics.LangevinSampler(steps=3, step_size=0.01)
    network = kgen.networks.MLP((2,), (1,), widths=(8,))
    return shaken(kgen.energy.EnergyModel((2,), network=network, sampler=sampler, name="plane"))


def folder(into):
    """Presets of the three, with facts beside those of pictures: dict from a name to its folder."""
    x = kgen.data.load("digits", split="test")[0][:40]
    found = {}
    for name, model, log_prob in (
        ("digits", digits(), {"levels": 17, "num_samples": 2}),
        ("vae", vae(), None),
        ("gpt", gpt(), None),
    ):
        run = kgen.Run(into / name)
        run.save_preset(model)
        if name != "gpt":
            run.save_facts(model, x, log_prob=log_prob)
        found[name] = str(into / name)
    return found
