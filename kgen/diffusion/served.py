"""What a diffusion model of images offers to a server beside samples, where it is asked to."""

from keras import ops

from kgen.core import Endpoint, TensorSpec
from kgen.diffusion.inversion import interpolate_rows
from kgen.diffusion.repaint import inpaint_rows
from kgen.diffusion.translation import translate_rows

RESAMPLES = 10
STEPS = 50  # of DDIM, up and down, where a way between pictures is asked for


def further_endpoints(model):
    """``translate``, ``inpaint`` and ``interpolate`` as endpoints: a list, empty where examples are not images.

    ``interpolate`` goes along paths, and a model of their ends has none.

    Args:
        model: a ``DDPM``.
    """
    if not model.is_image:
        return []
    given = model.endpoints()[0].inputs  # seed, conditions, guidance, steps
    x = TensorSpec(model.shape, "float32", "image in [-1, 1]", -1.0, 1.0, kind="image")
    known = "true where a pixel of x is known and stays as it is"
    mask = TensorSpec(model.shape[:2], "bool", known, kind="mask")
    noised = "time to which x is noised: 0 leaves it as it is, at 1 next to nothing of it stays"
    strength = TensorSpec((), "float32", noised, 0.0, 1.0, 0.5, kind="number")

    def translate(seed, x, strength, guidance=None, steps=None, **values):
        return {"images": translate_rows(model, seed, x, strength, values, guidance, steps=steps)}

    def inpaint(seed, x, mask, guidance=None, steps=None, **values):
        mask = ops.broadcast_to(mask[..., None], ops.shape(x))
        return {"images": inpaint_rows(model, seed, x, mask, RESAMPLES, values, guidance, steps=steps)}

    def interpolate(a, b, share, steps=None, **values):
        return {"images": interpolate_rows(model, a, b, share, values, STEPS, steps)}

    share_of = TensorSpec((), "float32", "share of the way from a to b", 0.0, 1.0, 0.5, kind="number")
    steps_of = TensorSpec((), "int32", "number of steps, up and down", 1, STEPS, STEPS, kind="number")
    conditions = {name: spec for name, spec in given.items() if name not in ("seed", "guidance", "steps")}
    found = [
        Endpoint(
            "interpolate",
            interpolate,
            {"a": x, "b": x, "share": share_of, "steps": steps_of, **conditions},
            {"images": "a picture between a and b, by the noise that steps of DDIM lead to"},
            images=("images",),
            call="kgen.diffusion.interpolate",
        ),
        Endpoint(
            "translate",
            translate,
            {**given, "x": x, "strength": strength},
            {"images": f"pictures near x, {model.sampler!r}"},
            images=("images",),
            call="kgen.diffusion.translate",
        ),
        Endpoint(
            "inpaint",
            inpaint,
            {**given, "x": x, "mask": mask},
            {"images": f"x with the rest drawn, RePaint with {RESAMPLES} resamples around {model.sampler!r}"},
            images=("images",),
            call="kgen.diffusion.inpaint",
        ),
    ]
    return found[1:] if model.ends_paths else found
