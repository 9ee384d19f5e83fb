"""Metrics as objects that take their samples in batches: ``update_state``, ``result``, ``reset_state``.

    metric = kgen.metrics.FrechetDistance(extractor="digits")
    metric.update_state(real=test_images)
    for images in batches:
        metric.update_state(generated=images)
    metric.result()

Each gives what the function of its name gives on all rows at once. With ``extractor`` they take images, otherwise features (N, D), or
probabilities (N, C) for ``InceptionScore``. ``kgen.callbacks.Measure`` computes them while a model trains.
"""

import inspect

import numpy as np
from keras import ops

from kgen.metrics import distances, fidelity, images
from kgen.metrics._moments import RunningMoments
from kgen.metrics._validation import check_features
from kgen.metrics.extractors import has_probabilities, load_extractor


class Metric:
    """What all have in common.

    Args:
        extractor: see ``load_extractor``; None if what comes is features already.
        **options: further arguments of the function.
    """

    names = ()  # of the figures that result gives, in their order
    function = None
    two_sided = True  # whether generated samples are compared with real ones

    def __init__(self, extractor=None, **options):
        self.extractor = None if extractor is None else load_extractor(extractor)
        self._check_options(options)
        self.options, self._measured = options, None
        self.reset_state()

    def _check_options(self, options):
        known = [] if type(self).function is None else list(inspect.signature(type(self).function).parameters)
        for name in options:
            if name not in known:
                raise TypeError(f"{type(self).__name__}: {name!r} is no argument of it; expected some of {known}.")

    def reset_state(self):
        """Forgets everything."""
        self._rows = {"real": [], "generated": []}

    def reset_generated(self):
        """Forgets the generated samples and keeps the real ones, for the next epoch of the same model."""
        self._rows["generated"] = []

    def update_state(self, real=None, generated=None):
        """Adds a batch of real samples, of generated ones, or of both.

        Raises:
            TypeError, ValueError: they are not what the extractor takes, or not finite features (N, D), or the widths differ.
        """
        if real is None and generated is None:
            raise ValueError("update_state: expected real=, generated= or both, received neither.")
        given = {"real": real, "generated": generated}
        rows = {side: self._features(side, batch) for side, batch in given.items() if batch is not None}
        self._check_widths(rows)  # of both before one is added
        for side, batch in rows.items():
            self._add(side, batch)

    def result(self):
        """The figure, or the tuple or dict of figures, of all samples added so far."""
        sides = ["real", "generated"] if self.two_sided else ["generated"]
        for side in sides:
            if not self._rows[side]:
                raise ValueError(
                    f"{type(self).__name__}: expected {side} samples; call update_state({side}=...) first."
                )
        return type(self).function(*[np.concatenate(self._rows[side]) for side in sides], **self.options)

    def figures(self):
        """``result`` as a dict from a figure's name to a number."""
        result = self.result()
        if isinstance(result, dict):
            return {name: float(value) for name, value in result.items()}
        return dict(zip(self.names, map(float, np.atleast_1d(result)), strict=True))

    def of_model(self, model, x, samples):
        """Figures of a model beside data ``x``; ``samples()`` gives its samples. Called by ``kgen.callbacks.Measure``."""
        if self.two_sided and (not self.has_real or (self._measured is not None and self._measured is not x)):
            self.reset_state()
            self.update_state(real=x)
            self._measured = x
        self.reset_generated()
        self.update_state(generated=samples())
        return self.figures()

    @property
    def has_real(self):
        """Whether real samples have been added."""
        return bool(self._rows["real"])

    def _extract(self, rows):
        return self.extractor.features(rows)

    def _features(self, side, batch):
        return check_features(batch if self.extractor is None else ops.convert_to_numpy(self._extract(batch)), side)

    @property
    def _width(self):
        """Columns of the features added before; None if there are none."""
        return next((rows[0].shape[1] for rows in self._rows.values() if rows), None)

    def _check_widths(self, batches):
        width = self._width
        for side, rows in batches.items():
            width = rows.shape[1] if width is None else width
            if rows.shape[1] != width:
                raise ValueError(
                    f"{side}: expected the {width} columns of the features added before, received {rows.shape[1]}: "
                    "use one feature extractor throughout."
                )

    def _add(self, side, rows):
        self._rows[side].append(rows)


class FrechetDistance(Metric):
    """Fréchet distance that keeps moments instead of features.

    Each side is held as a count, a mean (D,) and a scatter matrix (D, D) in float64, so memory does not grow with the
    number of samples. The result equals ``frechet_distance`` on all features at once, however they were split.

    Reference:
        Heusel et al., 2017, Eq. 6, arXiv 1706.08500.
    """

    names = ("frechet_distance",)

    def __init__(self, extractor=None):
        super().__init__(extractor)

    def reset_state(self):
        """Forgets everything."""
        self._real = RunningMoments("real")
        self._generated = RunningMoments("generated")

    def reset_generated(self):
        """Forgets the generated samples and keeps the real ones."""
        self._generated = RunningMoments("generated")

    def update_real(self, features):
        """Adds features of real data, float array (n, D), n >= 1; the same as ``update_state(real=)`` without an extractor."""
        self._real.update(features, self._generated.width)

    def update_generated(self, features):
        """Adds features of generated data, float array (n, D), n >= 1."""
        self._generated.update(features, self._real.width)

    @property
    def _width(self):
        return self._real.width or self._generated.width

    def _add(self, side, rows):
        (self.update_real if side == "real" else self.update_generated)(rows)

    @property
    def has_real(self):
        """Whether real samples have been added."""
        return self.real_samples > 0

    @property
    def real_samples(self):
        """How many real samples have been added."""
        return self._real.count

    @property
    def generated_samples(self):
        """How many generated samples have been added."""
        return self._generated.count

    def result(self):
        """The distance between all features added so far, a float >= 0.

        Raises:
            ValueError: fewer than 2 samples have been added on either side.
        """
        for side in (self._real, self._generated):
            if side.count < 2:
                raise ValueError(
                    f"`FrechetDistance` needs at least 2 {side.name} samples for a covariance, received {side.count}: "
                    f"call `update_{side.name}(features)` first."
                )
        return fidelity.frechet_distance_from_moments(
            self._real.mean, self._real.covariance(), self._generated.mean, self._generated.covariance()
        )


class KernelDistance(Metric):
    """``kernel_distance``: the distance and its standard deviation."""

    names = ("kernel_distance", "kernel_distance_deviation")
    function = staticmethod(distances.kernel_distance)


class PrecisionRecall(Metric):
    """``precision_recall``."""

    names = ("precision", "recall")
    function = staticmethod(fidelity.precision_recall)


class DensityCoverage(Metric):
    """``density_coverage``."""

    names = ("density", "coverage")
    function = staticmethod(fidelity.density_coverage)


class ClassifierTwoSampleTest(Metric):
    """``classifier_two_sample_test``: the accuracy, 0.5 where the sets cannot be told apart, and its p-value."""

    names = ("two_sample_accuracy", "two_sample_p_value")
    function = staticmethod(distances.classifier_two_sample_test)


class SlicedWassersteinDistance(Metric):
    """``sliced_wasserstein_distance``."""

    names = ("sliced_wasserstein_distance",)
    function = staticmethod(distances.sliced_wasserstein_distance)


class MaximumMeanDiscrepancy(Metric):
    """``maximum_mean_discrepancy``."""

    names = ("maximum_mean_discrepancy",)
    function = staticmethod(distances.maximum_mean_discrepancy)


class ModeCoverage(Metric):
    """``mode_coverage`` of the modes given as ``modes=`` and ``scale=``."""

    function = staticmethod(distances.mode_coverage)
    two_sided = False

    def __init__(self, modes, scale, **options):
        super().__init__(modes=modes, scale=scale, **options)


class InceptionScore(Metric):
    """``inception_score``: the score and its deviation. With an extractor, which must be a classifier, it takes images."""

    names = ("inception_score", "inception_score_deviation")
    function = staticmethod(distances.inception_score)
    two_sided = False

    def __init__(self, extractor=None, **options):
        super().__init__(extractor, **options)
        if self.extractor is not None and not has_probabilities(self.extractor):
            raise TypeError(
                f"extractor: expected a classifier, such as 'digits' or 'inception', received {self.extractor.name}."
            )

    def _extract(self, rows):
        return self.extractor.probabilities(rows)


class _Mean(Metric):
    """The mean over examples of a figure that each pair has, and its standard error."""

    wanted = "pairs; call update_state(real=..., generated=...) first"

    def __init__(self):
        super().__init__()

    def reset_state(self):
        """Forgets everything."""
        self._values = []

    reset_generated = reset_state

    def update_state(self, real=None, generated=None):
        """Adds pairs: float arrays (N, H, W, C) in [-1, 1], images and their reconstructions."""
        if real is None or generated is None:
            raise ValueError(f"{type(self).__name__}: expected pairs, real= and generated= together.")
        self._values.append(type(self).function(real, generated))

    def result(self):
        """``(mean, standard error)`` over all pairs added so far."""
        if not self._values:
            raise ValueError(f"{type(self).__name__}: expected {self.wanted}.")
        values = np.concatenate(self._values)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        return float(values.mean()), float(error)

    def figures(self):
        """The mean by its name."""
        return {self.names[0]: self.result()[0]}

    def of_model(self, model, x, samples):
        """Figures of a model that reconstructs."""
        if not hasattr(model, "reconstruct"):
            raise ValueError(
                f"{type(self).__name__}: expected a model that reconstructs, received {type(model).__name__}."
            )
        self.reset_state()
        self.update_state(x, np.clip(model.reconstruct(x), -1.0, 1.0))
        return self.figures()


class PeakSignalToNoiseRatio(_Mean):
    """Mean ``peak_signal_to_noise_ratio`` of reconstructions, dB."""

    names = ("peak_signal_to_noise_ratio",)
    function = staticmethod(images.peak_signal_to_noise_ratio)


class StructuralSimilarity(_Mean):
    """Mean ``structural_similarity`` of reconstructions."""

    names = ("structural_similarity",)
    function = staticmethod(images.structural_similarity)


class ReconstructionError(_Mean):
    """Mean ``reconstruction_error``: the squared error of a value."""

    names = ("reconstruction_error",)
    function = staticmethod(images.reconstruction_error)


class BitsPerDim(_Mean):
    """Mean bits per dimension of data under a model with a likelihood: what ``model.bits_per_dim(x)`` gives.

    Args:
        **options: passed to ``model.bits_per_dim``, such as ``labels=`` or ``levels=``.
    """

    names = ("bits_per_dim",)
    wanted = "bits per dimension; call update_state(bits) first"

    def __init__(self, **options):
        super().__init__()
        self.options = options

    def update_state(self, bits):
        """Adds bits per dimension of examples, float array (N,)."""
        bits = np.asarray(bits, "float64")
        if bits.ndim != 1 or len(bits) == 0 or np.isnan(bits).any():
            raise ValueError(f"bits: expected one number for each example, (N,) and no NaN, received {bits.shape}.")
        self._values.append(bits)

    def of_model(self, model, x, samples):
        """Figures of a model with a likelihood."""
        if not hasattr(model, "bits_per_dim"):
            raise ValueError(f"BitsPerDim: expected a model with bits_per_dim, received {type(model).__name__}.")
        self.reset_state()
        self.update_state(model.bits_per_dim(x, **self.options))
        return self.figures()
