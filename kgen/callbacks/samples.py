"""Pictures of samples while a model trains."""

import pathlib

import keras

from kgen.backend.summaries import SummaryWriter
from kgen.core import checks, pictures


class SampleGrid(keras.callbacks.Callback):
    """Writes a grid of samples to ``folder/epoch_0001.png``, ``epoch_0002.png`` ... while a model trains.

    The seed is the same each time, so that the pictures show the same samples getting better.

    Args:
        folder: where the pictures go; made if it is not there.
        n: number of samples.
        every: epochs between pictures.
        seed: int, the samples' seed.
        log_dir: a folder for TensorBoard, which then shows them too; None for none. It needs tensorflow and tensorboard.
        wandb: a run of Weights & Biases, what ``wandb.init()`` returns, which then gets them too; None for none.
        **kwargs: passed to ``model.sample``, such as ``labels=``, ``steps=``.
    """

    def __init__(self, folder, n=16, *, every=1, seed=0, log_dir=None, wandb=None, **kwargs):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.n, self.every = checks.positive_int("n", n), checks.positive_int("every", every)
        self.seed, self.kwargs = seed, kwargs
        self._writer = None if log_dir is None else SummaryWriter(log_dir)
        self._wandb = wandb

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            images = self.model.sample(self.n, seed=self.seed, **self.kwargs)
            path = self.folder / f"epoch_{epoch + 1:04d}.png"
            pictures.save_grid(images, path)
            if self._writer is not None:
                self._writer.write(epoch, images={"samples": pictures.grid(images)})
            if self._wandb is not None:
                import wandb

                self._wandb.log({"samples": wandb.Image(str(path)), "epoch": epoch})
