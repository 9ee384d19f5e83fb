"""CycleGAN: translation between two sets of images without pairs.

G maps set a to set b and F maps b to a; a discriminator of each set tells its images from translations. G and F minimise

    E_a[(D_b(G(a)) - 1)^2] + E_b[(D_a(F(b)) - 1)^2]
    + cycle (E_a|F(G(a)) - a| + E_b|G(F(b)) - b|)  +  identity (E_b|G(b) - b| + E_a|F(a) - a|),

and each discriminator (D(x) - 1)^2 / 2 on its set and D(x)^2 / 2 on translations, old ones among them.

Reference:
    Zhu et al., Unpaired image-to-image translation using cycle-consistent adversarial networks, 2017, Eq. 3, sections 4 and 5.2, appendix 7,
    arXiv 1703.10593.
"""

import functools

import keras
from keras import layers, ops

from kgen import backend
from kgen.core import Endpoint, TensorSpec, checks, inputs, random
from kgen.gan.adversarial import AdversarialModel, Player, Turn
from kgen.gan.losses import LeastSquaresLoss
from kgen.gan.networks import halvings, is_image, run_network, run_once
from kgen.gan.pool import ImagePool
from kgen.gan.regularizers import get as get_regularizers
from kgen.networks import PatchDiscriminator
from kgen.networks.configured import ConfiguredNetwork

DIRECTIONS = {"a_to_b": ("a", "b"), "b_to_a": ("b", "a")}


def _norm(h):
    """Instance normalisation."""
    return layers.GroupNormalization(groups=-1, epsilon=1e-5)(h)


def _normal():
    return keras.initializers.RandomNormal(stddev=0.02)


def _reflected(h, pad):
    return ops.pad(h, [[0, 0], [pad, pad], [pad, pad], [0, 0]], mode="reflect") if min(h.shape[1:3]) > pad else None


def _convolved(h, filters, kernel, **kwargs):
    """A convolution of stride 1 over the image and its reflection at the edges; of images smaller than that, over zeros."""
    padded = _reflected(h, kernel // 2)
    convolution = layers.Conv2D(
        filters, kernel, padding="valid" if padded is not None else "same", kernel_initializer=_normal(), **kwargs
    )
    return convolution(h if padded is None else padded)


@keras.saving.register_keras_serializable(package="kgen")
class ResNetTranslator(ConfiguredNetwork):
    """Two halvings of the sides, residual blocks, two doublings (Johnson et al. 2016, as in Zhu et al. 2017, appendix 7.2).

    Args:
        shape: (H, W, C); sides that cannot be halved evenly stay.
        width: channels of the first convolution; 64 in the paper, 32 below 128 pixels by default.
        blocks: residual blocks; 9 from 256 pixels on, 6 from 128 on (the paper's), 3 below by default.
    Call:
        x: float (B, H, W, C). Returns float (B, H, W, C) in [-1, 1].
    """

    def __init__(self, shape, width=None, blocks=None, name="translator", **kwargs):
        shape, side = tuple(shape), max(shape[:2])
        width = checks.positive_int("width", (64 if side >= 128 else 32) if width is None else width)
        blocks = checks.positive_int(
            "blocks", (9 if side >= 256 else 6 if side >= 128 else 3) if blocks is None else blocks
        )
        count = halvings(shape, most=2)
        x = keras.Input(shape, name="x")
        h = layers.ReLU()(_norm(_convolved(x, width, 7)))
        for i in range(count):
            down = layers.Conv2D(width * 2 ** (i + 1), 3, strides=2, padding="same", kernel_initializer=_normal())
            h = layers.ReLU()(_norm(down(h)))
        for _ in range(blocks):
            inner = layers.ReLU()(_norm(_convolved(h, h.shape[-1], 3)))
            h = layers.Add()([h, _norm(_convolved(inner, h.shape[-1], 3))])
        for i in reversed(range(count)):
            up = layers.Conv2DTranspose(width * 2**i, 3, strides=2, padding="same", kernel_initializer=_normal())
            h = layers.ReLU()(_norm(up(h)))
        super().__init__(x, _convolved(h, shape[-1], 7, activation="tanh", dtype="float32"), name=name, **kwargs)
        self._arguments = {"shape": list(shape), "width": width, "blocks": blocks, "name": name}


def _mean(x):
    """The mean over each row: (B,)."""
    return ops.mean(x, axis=tuple(range(1, len(x.shape)))) if len(x.shape) > 1 else x


@keras.saving.register_keras_serializable(package="kgen")
class CycleGAN(AdversarialModel):
    """Two translators and a discriminator of each set, trained on sets without pairs: ``fit(kgen.data.Unpaired(a, b))``.

    The players are "generators" (both translators, which the cycle ties together), "discriminator_a" and "discriminator_b". ``compile()`` trains them
    by the paper's ``Adam(2e-4, beta_1=0.5)``; the paper takes batches of one.

    On several replicas the pools are those of the whole batch.

    Args:
        shape: (H, W, C) of the images of both sets, which are in [-1, 1].
        a_to_b, b_to_a: networks from images to images, (B, H, W, C); a ``ResNetTranslator`` by default.
        discriminator_a, discriminator_b: networks from images to one logit or several, (B, ...); a ``PatchDiscriminator`` by default.
        cycle: weight of the cycle loss, lambda in the paper.
        identity: weight of the identity loss; the paper has half of ``cycle``, for painting. 0 leaves it out.
        pool_size: how many earlier translations each discriminator is shown again (see ``ImagePool``).
        regularizers: what is added to the loss of each discriminator, as in ``GAN``.
        augmentation: what images and translations go through before a discriminator sees them, an ``Augmentation`` or None.
        ema: decay of averaged translators that evaluation and ``translate`` use, or None as in the paper.
    """

    likelihood = "implicit"
    log_names = (
        "generators_loss",
        "adversarial",
        "cycle",
        "identity",
        "discriminator_a_loss",
        "discriminator_b_loss",
        "penalty",
    )

    def __init__(
        self,
        shape,
        *,
        a_to_b=None,
        b_to_a=None,
        discriminator_a=None,
        discriminator_b=None,
        cycle=10.0,
        identity=5.0,
        pool_size=50,
        regularizers=(),
        augmentation=None,
        ema=None,
        name="cycle_gan",
        dtype=None,
    ):
        super().__init__(augmentation=augmentation, conditions=[], ema=ema, name=name, dtype=dtype)
        self.shape = checks.shape("shape", shape)
        if not is_image(self.shape):
            raise ValueError(f"shape: CycleGAN translates images, expected (H, W, C), received {self.shape}.")
        self.cycle = checks.in_range("cycle", cycle, 0.0, 1e6)
        self.identity = checks.in_range("identity", identity, 0.0, 1e6)
        self.pool_size = pool_size
        self._pool = ImagePool(pool_size)
        self.regularizers = get_regularizers(regularizers)
        policy = {"dtype": self.dtype_policy}
        self.a_to_b = ResNetTranslator(self.shape, name="a_to_b", **policy) if a_to_b is None else a_to_b
        self.b_to_a = ResNetTranslator(self.shape, name="b_to_a", **policy) if b_to_a is None else b_to_a
        self.discriminator_a = (
            PatchDiscriminator(self.shape, name="discriminator_a", **policy)
            if discriminator_a is None
            else discriminator_a
        )
        self.discriminator_b = (
            PatchDiscriminator(self.shape, name="discriminator_b", **policy)
            if discriminator_b is None
            else discriminator_b
        )
        self._check_networks()
        for each in "ab":
            self.keep_state(f"pool_{each}", self._pool.state(self.shape))
        if self.augmentation is not None:
            self.augmentation.check(self.shape)
        self.start_players()
        self.keep_average_of(*DIRECTIONS)

    def _check_networks(self):
        for name in (*DIRECTIONS, "discriminator_a", "discriminator_b"):
            output = run_once(name, getattr(self, name), [ops.zeros((1, *self.shape))])
            if name in DIRECTIONS and tuple(output.shape[1:]) != self.shape:
                sizes = ", ".join(map(str, self.shape))
                raise ValueError(f"{name}: expected outputs (B, {sizes}), received {tuple(output.shape)}.")

    # Training.

    @property
    def roles(self):
        discriminators = {f"discriminator_{k}": functools.partial(self.discriminator_losses, k) for k in "ab"}
        return {
            "generators": Player(tuple(DIRECTIONS), self.generator_losses),
            **{
                name: Player((name,), losses, 1, self.regularizers, discriminator=True)
                for name, losses in discriminators.items()
            },
        }

    def check_data(self, x, y=None):
        if y is not None:
            raise ValueError(
                "y: CycleGAN's sets have no pairs: fit(kgen.data.Unpaired(a, b)). Pix2Pix takes pairs, fit(x, y)."
            )
        return super().check_data(x, y)

    def check_examples(self, x):
        if not isinstance(x, dict) or set(x) != {"a", "b"}:
            what = f"a dict of {sorted(x)}" if isinstance(x, dict) else type(x).__name__
            raise ValueError(
                f'x: expected {{"a": images, "b": images}}, received {what}. kgen.data.Unpaired(a, b) makes batches of two sets.'
            )
        for name, images in x.items():
            checks.images(name, images, self.shape)
        if len(x["a"]) != len(x["b"]):
            raise ValueError(
                f"a, b: expected as many images of each, received {len(x['a'])} and {len(x['b'])}. kgen.data.Unpaired(a, b) makes batches of sets "
                "of any sizes."
            )
        return super().check_examples(x)

    def _sets(self, batch):
        return {name: ops.cast(batch.x[name], "float32") for name in "ab"}

    def _translated(self, x, direction, training):
        return run_network(self.network_for(training, direction), x, training=training)

    def _judged(self, discriminator, x, seeds, training):
        return run_network(
            getattr(self, discriminator), self.augmented(discriminator, x, seeds, training), training=training
        )

    def generator_losses(self, batch, training):
        """The ``Turn`` of both translators."""
        real, translated = self._sets(batch), functools.partial(self._translated, training=training)
        adversarial = cycle = identity = 0.0
        for k, (there, (source, target)) in enumerate(DIRECTIONS.items()):
            back = next(d for d in DIRECTIONS if d != there)
            fake = translated(real[source], there)
            logits = self._judged(f"discriminator_{target}", fake, random.fold_in(batch.seeds, 1 + k), training)
            adversarial = adversarial + _mean(ops.square(logits - 1.0))
            cycle = cycle + _mean(ops.abs(translated(fake, back) - real[source]))
            if self.identity:
                identity = identity + _mean(ops.abs(translated(real[target], there) - real[target]))
        losses = adversarial + self.cycle * cycle + self.identity * identity
        logs = {"generators_loss": losses, "adversarial": adversarial, "cycle": cycle, "identity": identity}
        return Turn(losses, logs)

    def discriminator_losses(self, which, batch, training):
        """The ``Turn`` of the discriminator of set ``which``, "a" or "b"."""
        real, discriminator, key = self._sets(batch), f"discriminator_{which}", f"pool_{which}"
        there, (source, _) = next(item for item in DIRECTIONS.items() if item[1][1] == which)
        fake, state = ops.stop_gradient(self._translated(real[source], there, training)), {}
        if training:
            seeds = backend.gather(random.fold_in(batch.seeds, 1))
            seen, state[key] = self._pool(backend.gather(fake), seeds, self.state_of(key))
            fake = inputs.own_rows(seen, ops.shape(fake)[0])
        real_logits = self._judged(discriminator, real[which], random.fold_in(batch.seeds, 2), training)
        fake_logits = self._judged(discriminator, fake, random.fold_in(batch.seeds, 3), training)
        losses = _mean(LeastSquaresLoss().discriminator(real_logits, fake_logits))

        def function(x):
            seen = self.augmented(discriminator, x, random.fold_in(batch.seeds, 2), training)
            return _mean(run_network(getattr(self, discriminator), seen))

        return Turn(losses, {f"{discriminator}_loss": losses}, function, real[which], fake, real_logits, state)

    def call(self, x, training=False):
        """The translation of images of set a to set b."""
        return self.a_to_b(x, training=training)

    # The protocol.

    def sample(self, n, **kwargs):
        raise NotImplementedError("CycleGAN does not draw samples, it translates images: translate(x). GAN draws.")

    def translate(self, x, direction="a_to_b", *, batch_size=None):
        """Images of one set as images of the other.

        Args:
            x: float array (N, H, W, C) in [-1, 1].
            direction: "a_to_b" or "b_to_a".
            batch_size: images per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (N, H, W, C) in [-1, 1].
        """
        checks.one_of("direction", direction, DIRECTIONS)
        x = checks.data_array("x", x)
        checks.images("x", x, self.shape)
        run = functools.partial(self.translate_rows, direction=direction)
        return self.run_rows(("translate", direction), run, [x.astype("float32")], batch_size=batch_size, progress=True)

    def translate_rows(self, x, direction="a_to_b"):
        """Translations (B, H, W, C) of images (B, H, W, C); compiled and served."""
        return ops.clip(self._translated(x, direction, False), -1.0, 1.0)

    def endpoints(self):
        found = []
        for direction, (source, target) in DIRECTIONS.items():
            x = TensorSpec(self.shape, "float32", f"image of set {source}, in [-1, 1]", -1.0, 1.0, kind="image")

            def run(x, direction=direction):
                return {"images": self.translate_rows(x, direction)}

            outputs = {"images": f"as an image of set {target}, in [-1, 1]"}
            found.append(
                Endpoint(direction, run, {"x": x}, outputs, ("images",), "translate", {"direction": direction})
            )
        return found

    def get_config(self):
        networks = (*DIRECTIONS, "discriminator_a", "discriminator_b")
        return {
            **super().get_config(),
            "shape": list(self.shape),
            **{name: keras.saving.serialize_keras_object(getattr(self, name)) for name in networks},
            "cycle": self.cycle,
            "identity": self.identity,
            "pool_size": self.pool_size,
            "regularizers": [keras.saving.serialize_keras_object(r) for r in self.regularizers],
        }
