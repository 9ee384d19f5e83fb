"""Guidance towards several conditions at once, each given by itself."""

import keras

from kgen.core import checks
from kgen.diffusion.guidance import ClassifierFree, Guidance, as_given, check_droppable, with_values
from kgen.diffusion.schedules import like


@keras.saving.register_keras_serializable(package="kgen")
class ComposedGuidance(Guidance):
    """output = output(nothing) + strength sum_i w_i (output(c_i) - output(nothing)), for K conditions in one pass over K + 1 batches.

    With w_i = 1 this is the noise of p(x_t) prod_i p(c_i | x_t): samples are of c_1 and c_2 both, though no example may ever have been.

        model.sample(4, guidance=ComposedGuidance([{"labels": 1, "strength": 2.0}, {"labels": 3}]))

    Args:
        parts: list of dicts from conditions' names to values, for all rows, as ``sample`` takes them; and ``strength``, w_i, in
            [-100, 100], 1 by default. Below 0 samples are drawn away from it.
        strength: of all together.
    Reference:
        Liu et al., Compositional visual generation with composable diffusion models, 2022, Eq. 11 (and 13, negation), arXiv 2206.01714.
    """

    neutral = 0.0

    def __init__(self, parts, strength=1.0):
        super().__init__(strength)
        if not isinstance(parts, (list, tuple)) or not parts:
            raise ValueError(f"parts: expected a list of dicts, such as [{{'labels': 1}}], received {parts!r}.")
        self.parts = [as_given("parts", part) for part in parts]
        for part in self.parts:
            checks.in_range("parts: strength", part.get("strength", 1.0), -100.0, 100.0)
            as_given("parts", _conditions(part))

    def check(self, model, given):
        check_droppable(model.conditions)
        optional = {c.keyword for c in model.conditions if c.optional}
        for part in self.parts:
            model.conditions.some(1, _conditions(part))
            fixed = sorted({c.keyword for c in model.conditions if c.keyword in part} - optional)
            if fixed:
                raise ValueError(
                    f"guidance: this model has never been trained without {fixed[0]}, which cannot be composed; pass it to sample."
                )
        if given & optional:
            name = sorted(given & optional)[0]
            raise ValueError(
                f"guidance: {name} is given beside a ComposedGuidance; put it among its parts, [{{{name!r}: ...}}, ...]."
            )

    def around(self, denoiser, conditions, strength):
        return _Composed(denoiser, conditions, strength, self.parts)


def _conditions(part):
    return {name: value for name, value in part.items() if name != "strength"}


class _Composed(ClassifierFree):
    def __init__(self, around, conditions, strength, parts):
        super().__init__(around, conditions, strength)
        self.parts = parts

    def output(self, x_t, t, conditions, training=False):
        null = self.conditions.null(conditions)
        given = [with_values(self.conditions, null, _conditions(part)) for part in self.parts]
        nothing, *outputs = self.outputs(x_t, t, [null, *given], training)
        weights = [part.get("strength", 1.0) for part in self.parts]
        away = sum(w * (output - nothing) for w, output in zip(weights, outputs, strict=True))
        return self.beside_variance(nothing + like(self.strength, x_t) * away, outputs[0], x_t)
