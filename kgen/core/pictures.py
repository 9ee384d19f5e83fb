"""Pictures: a grid of images, points or densities of the plane side by side, and curves of training."""

import math

import numpy as np

from kgen.core.saving import aside


def to_uint8(images):
    """Images in [-1, 1] to pixels 0..255, as numpy uint8; values outside are clipped."""
    return np.clip(np.round((np.asarray(images, "float32") + 1.0) * 127.5), 0, 255).astype("uint8")


def grid(images, columns=None, gap=1, min_side=32):
    """Arranges images in rows and columns.

    Args:
        images: float array (N, H, W, C) in [-1, 1], C = 1 or 3.
        columns: images in a row; by default about as many as rows.
        gap: pixels between images.
        min_side: small images are enlarged by a whole factor until their shorter side has at least this many pixels.
    Returns:
        uint8 array (rows, columns[, 3]): one picture, as Pillow takes it.
    """
    pixels = to_uint8(images)
    n, height, width, channels = pixels.shape
    factor = max(1, -(-min_side // min(height, width)))
    pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = height * factor + gap, width * factor + gap
    columns = columns or math.ceil(math.sqrt(n))
    sheet = np.full((-(-n // columns) * height - gap, columns * width - gap, channels), 255, "uint8")
    for i, image in enumerate(pixels):
        top, left = (i // columns) * height, (i % columns) * width
        sheet[top : top + height - gap, left : left + width - gap] = image
    return sheet[..., 0] if channels == 1 else sheet


def save_grid(images, path, columns=None, names=None, **given):
    """Writes a grid of images (see ``grid``, which takes the rest) to a PNG file, with ``names``, a text for each row, to its left."""
    from PIL import Image

    sheet = Image.fromarray(grid(images, columns, **given))
    with aside(path) as temporary:
        (sheet if names is None else _named(sheet, names)).save(temporary)


def _named(sheet, names):
    """The picture with a margin to the left, in which a text stands beside each of its rows."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(13)
    margin = math.ceil(max(map(font.getlength, names))) + 12
    found = Image.new(sheet.mode, (margin + sheet.width, sheet.height), "white")
    found.paste(sheet, (margin, 0))
    for i, name in enumerate(names):
        place = (margin - 6, (i + 0.5) * sheet.height / len(names))
        ImageDraw.Draw(found).text(place, name, fill="black", font=font, anchor="rm")
    return found


def save_density(panels, path, extent=None, resolution=200):
    """Draws points and densities of the plane side by side, on the same axes, to a PNG file.

    Args:
        panels: dict from a title to what its panel shows: points (N, 2), or a function that maps points (N, 2) to log-densities (N,).
        path: where to write.
        extent: (x_min, x_max, y_min, y_max); by default what holds 99.9 % of the first panel of points, with a margin.
        resolution: pixels per side of a density.
    Raises:
        ValueError: neither extent nor points were given, or an array is not (N, 2).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = {title: np.asarray(p, "float32") for title, p in panels.items() if not callable(p)}
    for title, p in points.items():
        if p.ndim != 2 or p.shape[1] != 2:
            raise ValueError(f"panels[{title!r}]: expected points (N, 2) or a function, received shape {p.shape}.")
    if extent is None:
        if not points:
            raise ValueError("extent: expected (x_min, x_max, y_min, y_max), as no panel has points.")
        low, high = np.quantile(next(iter(points.values())), [0.0005, 0.9995], axis=0)
        margin = 0.05 * (high - low)
        extent = tuple(np.stack([low - margin, high + margin], axis=1).ravel())
    side = [np.linspace(a, b, resolution, dtype="float32") for a, b in (extent[:2], extent[2:])]
    mesh = np.stack(np.meshgrid(*side), axis=-1).reshape(-1, 2)

    figure = Figure(figsize=(3.2 * len(panels), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (title, shown) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        if callable(shown):
            density = np.exp(np.asarray(shown(mesh), "float64")).reshape(resolution, resolution)
            axis.imshow(density, extent=extent, origin="lower", aspect="auto", cmap="viridis")
        else:
            axis.scatter(*points[title].T, s=1.0, linewidths=0, alpha=0.5, color="black")
        axis.set(title=title, xlim=extent[:2], ylim=extent[2:])
    _save_plot(figure, path)


def save_curves(history, path):
    """Draws what was logged in each epoch, a panel for each quantity, to a PNG file.

    Args:
        history: dict from a name to a list of numbers, such as ``model.fit(...).history``; ``val_<name>`` goes into the panel of ``<name>``.
        path: where to write.
    Raises:
        ValueError: there is nothing to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = {name: values for name, values in history.items() if all(isinstance(v, (int, float)) for v in values)}
    names = [n for n in curves if not (n.startswith("val_") and n[4:] in curves)]
    if not names:
        raise ValueError(f"history: expected lists of numbers by name, received {sorted(history)}.")
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    epochs = max(map(len, curves.values()))
    figure = Figure(figsize=(4.0 * columns, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, name in zip(figure.subplots(rows, columns, squeeze=False).flat, names, strict=False):
        for shown in (name, f"val_{name}"):
            if curves.get(shown):
                every = epochs // len(curves[shown])  # fewer values than epochs are those of the last of each few
                axis.plot(np.arange(1, len(curves[shown]) + 1) * every, curves[shown], linewidth=1.2)
        axis.set(title=name.replace("_", " "), xlabel="epoch")
        if f"val_{name}" in curves:
            axis.legend(["training", "validation"])
    for axis in list(figure.axes)[len(names) :]:
        axis.set_axis_off()
    _save_plot(figure, path)


def _save_plot(figure, path):
    """Writes a figure to a PNG file of 128 colours: lines, points and a colour map need no more, and take half as many bytes."""
    from PIL import Image

    figure.set_dpi(100)
    figure.canvas.draw()
    pixels = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    with aside(path) as temporary:
        pixels.quantize(128, dither=Image.Dither.NONE).save(temporary, format="PNG", optimize=True)
