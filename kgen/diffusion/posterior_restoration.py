"""Posterior sampling as a model: a trained diffusion model and what measures its pictures, to save and to serve as one."""

import keras

from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks
from kgen.diffusion.ddpm import check_estimates, check_model
from kgen.diffusion.posterior import posterior_rows, posterior_sample
from kgen.diffusion.restoration import as_operator


@keras.saving.register_keras_serializable(package="kgen")
class PosteriorRestoration(GenerativeModel):
    """Draws pictures of which something was measured, by a model that was trained on whole ones: ``restore(y)``.

    Nothing is trained for it: where ``Restoration`` learns to undo one operator and answers with fewer network calls, this asks
    ``posterior_sample``. The model that it holds is the caller's own, not a copy.

    Args:
        model: a ``DDPM`` of images, trained as always.
        operator: an ``Operator``, what was measured of a picture.
        iterations: as in ``posterior_sample``.
    Raises:
        TypeError, ValueError: the model is none, or not of images; the operator is none, or not of these images.
    """

    def __init__(self, model, operator, iterations=1, *, name="posterior_restoration", dtype=None):
        model = keras.saving.deserialize_keras_object(model) if isinstance(model, dict) else model
        check_model(model)
        check_estimates("model", model)
        if not model.is_image:
            raise ValueError(f"model: expected one of images (H, W, C), received one of {model.shape}.")
        super().__init__(conditions=model.conditions, name=name, dtype=dtype)
        self.model, self.operator = model, as_operator(operator)
        self.shape, self.measured_shape = model.shape, self.operator.shape(model.shape)
        self.iterations = checks.positive_int("iterations", iterations)

    def objective(self, batch, training):
        raise NotImplementedError("PosteriorRestoration: train its model by itself, by its own fit, before.")

    def restore(self, y, *, noise=0.0, **sampling):
        """``posterior_sample`` with the model's operator and iterations: numpy float32 array (N, H, W, C) for y (N, ...)."""
        own = {"noise": noise, "iterations": self.iterations}
        return posterior_sample(self.model, y, self.operator, **own, **sampling)

    def endpoints(self):
        given = self.model.endpoints()[0].inputs  # seed, conditions, guidance, steps
        measured = "what was measured; of a picture in [-1, 1] it lies there, but for its noise"
        y = TensorSpec(self.measured_shape, "float32", measured, -2.0, 2.0, kind="image")
        noise = TensorSpec((), "float32", "standard deviation of the noise in y", 0.0, 10.0, 0.0, kind="number")

        def restore(seed, y, noise, guidance=None, steps=None, **values):
            asked = (y, self.operator, noise, self.iterations)
            return {"images": posterior_rows(self.model, seed, *asked, values, guidance, steps=steps)}

        outputs = {"images": f"pictures of which y was measured, {self.model.sampler!r}"}
        return [Endpoint("restore", restore, {**given, "y": y, "noise": noise}, outputs, images=("images",))]

    def get_config(self):
        config = super().get_config()
        del config["ema"]
        model, operator = (keras.saving.serialize_keras_object(v) for v in (self.model, self.operator))
        return {**config, "model": model, "operator": operator, "iterations": self.iterations}
