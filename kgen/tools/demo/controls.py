"""Controls from descriptions: what a ``TensorSpec`` or a condition says of itself, as components, and back as what Python is called with."""

import dataclasses
import io
from collections.abc import Callable

import gradio as gr
import numpy as np

from kgen.core.endpoints import TensorSpec
from kgen.core.views import OWN_SAMPLE, OWN_SEED
from kgen.tools.demo import files

LEFT_OUT = "not given"
SLIDERS = 16  # numbers of a vector that get a slider each
LAYERS, HELD = 16, 16  # of an editor: layers, and pictures that wait for their button
WAITING = 8 * files.BYTES  # of them all


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a visitor gave for one keyword: ``value`` for the call, None where it is left out; ``code`` as Python says it, and files for it."""

    value: object = None
    code: str = "None"
    arrays: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Control:
    """``read(*values of the components)`` is an ``Answer``."""

    keyword: str
    components: list
    read: Callable


def of_condition(condition, needed=None):
    """The controls of a condition: one for each of its tensors but masks, which follow from the tokens that they belong to."""
    needed = not condition.optional if needed is None else needed
    found, specs = [], condition.specs()
    for name, spec in specs.items():
        if spec.kind == "mask" and len(specs) > 1:
            continue
        keyword = condition.keyword if name == condition.name else name
        count = getattr(condition, "count", None)
        found.append(of_spec(keyword, spec, needed, count=count, tokenizer=getattr(condition, "tokenizer", None)))
    return found


def of_spec(keyword, spec, needed=False, *, count=None, tokenizer=None, facts=None):
    """The control of one ``TensorSpec``."""
    integer = spec.dtype.startswith(("int", "uint"))
    if spec.choices is not None or (spec.kind == "label" and spec.shape == () and integer):
        return _choice(keyword, spec, needed, count)
    if spec.kind == "axes":
        return _axes(keyword, spec, facts)
    if spec.kind in (OWN_SAMPLE, OWN_SEED):
        return _seed(keyword, spec)
    if spec.dtype == "string" or (tokenizer is not None and len(spec.shape) == 1):
        return _text(keyword, spec, needed)
    if spec.dtype == "bool" and spec.shape == ():
        return _switch(keyword, spec)
    if spec.shape == ():
        return _number(keyword, spec, integer)
    if len(spec.shape) == 3 and (spec.kind == "image" or spec.shape[-1] in (1, 3, 4)):
        return _picture(keyword, spec, needed)
    if len(spec.shape) == 1 and not integer and spec.shape[0] <= SLIDERS:
        return _vector(keyword, spec, needed)
    return _numbers(keyword, spec, needed, integer)


def label_of(keyword):
    return keyword.replace("_", " ").capitalize()


def _info(spec):
    low, high = spec.low, spec.high
    bounds = f"; {low:g} to {high:g}" if low is not None and high is not None and spec.shape != () else ""
    unit = f", {spec.unit}" if spec.unit else ""
    return f"{spec.doc}{unit}{bounds}"


def _choice(keyword, spec, needed, count):
    if spec.choices is not None:
        names, values = [str(c) for c in spec.choices], None
        by_name = spec.dtype == "string" or spec.kind == "label"  # whether Python takes names
        values = names if by_name else list(range(len(names)))
    else:
        first = int(spec.low or 0)
        values = list(range(first, first + count if count else int(spec.high) + 1))
        names = [str(v) for v in values]
    shown = list(zip(names, map(str, values), strict=True))
    start = None if spec.default is None else str(spec.default)
    start = start if start in map(str, values) else str(values[0]) if needed else LEFT_OUT
    if not needed:
        shown.insert(0, (LEFT_OUT, LEFT_OUT))
    box = gr.Dropdown(shown, value=start, label=label_of(keyword), info=_info(spec))
    back = dict(zip(map(str, values), values, strict=True))

    def read(value):
        if value is None or value == LEFT_OUT:
            return Answer()
        return Answer(back[value], repr(back[value]))

    return Control(keyword, [box], read)


def _number(keyword, spec, integer):
    kind, default = (int if integer else float), spec.default
    if default is not None and spec.low is not None and spec.high is not None:
        span = spec.high - spec.low
        step = 1 if integer else 0.01 if span <= 3 else 0.1
        box = gr.Slider(spec.low, spec.high, value=default, step=step, label=label_of(keyword), info=_info(spec))
    else:
        box = gr.Number(default, label=label_of(keyword), info=_info(spec), precision=0 if integer else None)

    def read(value):
        if value is None or value == default:
            return Answer()
        value = kind(value)
        return Answer(value, repr(value))

    return Control(keyword, [box], read)


def _switch(keyword, spec):
    box = gr.Checkbox(bool(spec.default), label=label_of(keyword), info=_info(spec))
    return Control(
        keyword,
        [box],
        lambda value: Answer() if value == bool(spec.default) else Answer(bool(value), repr(bool(value))),
    )


def _text(keyword, spec, needed):
    box = gr.Textbox(label=label_of(keyword), info=_info(spec), lines=1 if keyword == "stop" else 2, max_lines=12)

    def read(value):
        if value or needed:
            return Answer(value or "", repr(value or ""))
        return Answer()

    return Control(keyword, [box], read)


def seed_of(text, name="seed"):
    """A seed from text: JavaScript's numbers end at 2^53."""
    text = str(text).strip()
    if (
        not text.isdecimal() or len(text) > 19 or not int(text) < 2**62
    ):  # Python itself reads no number of thousands of digits
        raise ValueError(f"{name}: expected an integer in [0, 2**62), received {text[:40]!r}.")
    return int(text)


def _seed(keyword, spec):
    box = gr.Textbox("0" if keyword == "a" else "1", label=f"Seed of {keyword}", info=_info(spec), max_lines=1)
    return Control(keyword, [box], lambda text: Answer(seed_of(text, keyword), str(seed_of(text, keyword))))


def _vector(keyword, spec, needed):
    low, high = (-3.0 if spec.low is None else spec.low), (3.0 if spec.high is None else spec.high)
    start = spec.default if spec.default is not None else min(max(0.0, low), high)
    step = 0.01 if high - low <= 10 else 0.1
    given = [] if needed else [gr.Checkbox(False, label=f"Give {keyword}", info=_info(spec))]
    boxes = []
    for i in range(spec.shape[0]):
        name = f"{label_of(keyword)} {i}" if spec.shape[0] > 1 else label_of(keyword)
        boxes.append(
            gr.Slider(low, high, value=start, step=step, label=name, info=_info(spec) if needed and not i else None)
        )

    def read(*values):
        if given and not values[0]:
            return Answer()
        value = [float(v) for v in values[len(given) :]]
        return Answer(value, repr(value))

    return Control(keyword, [*given, *boxes], read)


def _numbers(keyword, spec, needed, integer):
    """Anything else: its numbers, separated by commas."""
    size = int(np.prod(spec.shape))
    box = gr.Textbox(label=label_of(keyword), info=f"{_info(spec)}; {size} numbers, separated by commas", max_lines=6)

    def read(text):
        if not text and not needed:
            return Answer()
        try:
            values = [(int if integer else float)(v) for v in text.split(",")]
        except ValueError:
            raise ValueError(
                f"{keyword}: expected {size} numbers separated by commas, received {text[:60]!r}."
            ) from None
        if len(values) != size:
            raise ValueError(f"{keyword}: expected {size} numbers, received {len(values)}.")
        value = np.asarray(values, spec.dtype).reshape(spec.shape)
        return Answer(value, f'np.load("{keyword}.npy")', {keyword: value})

    return Control(keyword, [box], read)


def _picture(keyword, spec, needed):
    # A path, as it was sent: nothing decodes it before ``files.check`` has seen its size.
    label = spec.doc.partition(" in [")[0].capitalize()
    label = label if keyword == "x" else f"{label_of(keyword)}: {label}"
    box = gr.Image(
        type="filepath", image_mode=None, format="png", sources=["upload", "clipboard"], label=label,
        height=260, elem_classes="kgen-pixels", buttons=["fullscreen"],
    )  # fmt: skip

    _looked_at_first(box, lambda payload: [payload.path])

    def read(path):
        if path is None:
            if needed:
                raise ValueError(f"{keyword}: expected a picture. Send one, or take one of the model's own samples.")
            return Answer()
        value = files.read_picture(path, spec.shape, spec.levels)
        return Answer(value, f'np.load("{keyword}.npy")', {keyword: value})

    return Control(keyword, [box], read)


def _axes(keyword, spec, facts):
    """Sliders along the principal axes of z: the mean, and so many standard deviations along each."""
    boxes = [
        gr.Slider(
            spec.low, spec.high, value=0.0, step=0.05, label=f"Axis {i + 1}", info=_info(spec) if i == 0 else None
        )
        for i in range(len(facts["axes"]))
    ]

    def read(*values):
        mean, axes, deviations = (np.asarray(facts[k]) for k in ("mean", "axes", "deviations"))
        z = (mean + (np.asarray(values, "float64") * deviations) @ axes).astype("float32").reshape(spec.shape)
        return Answer(z, f'np.load("{keyword}.npy")', {keyword: z})

    return Control(keyword, boxes, read)


def painted(picture: TensorSpec, mask: TensorSpec):
    """The control of a picture and what is known of it: an editor to paint over what is to be drawn, or a rectangle. Two answers: x, mask."""
    editor = gr.ImageEditor(
        type="filepath", format="png", sources=["upload", "clipboard"], transforms=(), layers=False, height=380,
        label="Paint over it", brush=gr.Brush(colors=["#e5007d"], color_mode="fixed"),
        canvas_size=(320, 320), elem_classes="kgen-pixels", buttons=["fullscreen"],
    )  # fmt: skip
    height, width = picture.shape[:2]
    example = f"{height // 2}, 0, {height}, {width}"
    box = gr.Textbox(
        label="Or a rectangle",
        info=f"What is painted over is drawn anew, and what lies in these pixels: top, left, bottom, right, such as {example}",
        max_lines=1,
    )
    _looked_at_first(editor, lambda payload: _of_editor(editor, payload))
    _bounded(editor)

    def read(value, rectangle):
        if not value or value["background"] is None:
            raise ValueError("x: expected a picture. Send one, or take one of the model's own samples.")
        x = files.read_picture(value["background"], picture.shape, picture.levels)
        hidden = files.read_mask(value["layers"] or [], (height, width)) | _rectangle(rectangle, (height, width))
        if not hidden.any():
            raise ValueError("mask: expected something to draw anew. Paint over it, or give a rectangle.")
        return Answer(x, 'np.load("x.npy")', {"x": x}), Answer(~hidden, 'np.load("mask.npy")', {"mask": ~hidden})

    return Control("x", [editor, box], read)


def _rectangle(text, shape):
    hidden = np.zeros(shape, bool)
    if text and text.strip():
        try:
            top, left, bottom, right = (int(v) for v in text.split(","))
        except ValueError:
            raise ValueError(
                f"rectangle: expected four integers: top, left, bottom, right; received {text[:60]!r}."
            ) from None
        if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
            raise ValueError(f"rectangle: expected one within {shape[0]} x {shape[1]} pixels, received {text[:60]!r}.")
        hidden[top:bottom, left:right] = True
    return hidden


def _of_editor(editor, payload):
    """All pictures that an editor was sent: paths, or their bytes."""
    if payload.id is not None:
        payload = editor.blob_storage.get(payload.id)
    parts = [] if payload is None else [payload.background, payload.composite, *(payload.layers or [])]
    if len(parts) > LAYERS + 2:
        raise ValueError(f"layers: expected at most {LAYERS} layers, received {len(parts) - 2}.")
    return [
        part if isinstance(part, (bytes, bytearray, memoryview)) else part.path for part in parts if part is not None
    ]


def _bounded(editor):
    """What visitors left in an editor without asking for anything does not pile up, and a layer's number is that of a layer."""
    accept = editor.accept_blobs

    def accept_blobs(data):
        if str(data.data.get("index") or 0) not in ("null", *map(str, range(LAYERS))):
            raise ValueError(f"index: expected one of {LAYERS} layers.")
        while len(editor.blob_storage) >= HELD:
            editor.blob_storage.pop(next(iter(editor.blob_storage)))
        answer = accept(data)
        while sum(map(_held, editor.blob_storage.values())) > WAITING:
            editor.blob_storage.pop(next(iter(editor.blob_storage)))
        return answer

    def _held(blobs):
        return sum(len(part) for part in (blobs.background, blobs.composite, *blobs.layers) if part)

    accept_blobs._is_server_fn = True
    editor.accept_blobs = accept_blobs


def _looked_at_first(component, pictures):
    """Puts ``files.check`` before a component's ``preprocess``, where Gradio opens what was sent; a visitor sees why it is refused."""
    preprocess = component.preprocess

    def checked(payload):
        try:
            for part in [] if payload is None else pictures(payload):
                files.check(part if isinstance(part, str) else io.BytesIO(part))
        except ValueError as error:
            raise gr.Error(str(error), title="This does not work", duration=None, print_exception=False) from None
        return preprocess(payload)

    component.preprocess = checked
