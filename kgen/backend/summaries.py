"""TensorBoard's files, which TensorFlow writes for every backend."""

import importlib.util


class SummaryWriter:
    """Writes numbers, texts and pictures for TensorBoard.

    Args:
        folder: the log folder.
    Raises:
        ImportError: TensorFlow or TensorBoard is not installed.
    """

    def __init__(self, folder):
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError("log_dir: TensorBoard is not installed. Install it by: pip install tensorboard")
        import tensorflow as tf

        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(folder))

    def write(self, step, numbers=(), texts=(), images=()):
        """Adds what belongs to one step: dicts from a name to a number, to a text, and to a picture, uint8 (H, W[, C])."""
        with self._writer.as_default(step=step):
            for name, value in dict(numbers).items():
                self._summary.scalar(name, value)
            for name, value in dict(texts).items():
                self._summary.text(name, value)
            for name, image in dict(images).items():
                self._summary.image(name, image[None, ..., None] if image.ndim == 2 else image[None])
        self._writer.flush()
