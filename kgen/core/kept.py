"""How a model is kept: in one file with all that training needs, in a preset to give away, and as its configuration."""

import keras
import numpy as np
from keras import ops

import kgen
from kgen.core import loading, presets, saving


class Kept:
    """The part of ``GenerativeModel`` that writes it and makes it again."""

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """Saves everything to one ``.keras`` file: networks, optimizers, averages and seed state.

        The file is written aside and then renamed: an interrupted save leaves the old file as it was. Training goes on from it as if it
        had never stopped; on torch, layers such as ``Dropout`` must have been given a ``seed`` for that, since without one Keras
        draws their numbers from torch's global state, which no file keeps.
        """
        saving.save_model(self, filepath, super().save, overwrite=overwrite, zipped=zipped, **kwargs)

    def save_to_preset(self, folder, *, data=None, license=None, figures=None):
        """Writes the model to a new folder, to give away: ``config.json``, ``model.safetensors``, ``metadata.json`` and ``README.md``.

        It holds what sampling and fine-tuning need: configuration and weights, averaged ones too. ``save`` keeps the optimizers as well.
        The folder appears whole or not at all, and loads on each backend by ``kgen.from_preset(folder)``.

        Args:
            folder: where; it must not exist.
            data: what the model was trained on.
            license: what the weights may be used for, such as "cc-by-4.0".
            figures: dict from a figure's name to its value, or to a dict with ``value``, ``unit`` and what qualifies it.
        Raises:
            FileExistsError: the folder exists.
            ValueError: the model holds a class that is neither kgen's, Keras's nor registered, or a function: a preset is data.
        """
        presets.write(self, folder, data=data, license=license, figures=figures)

    @classmethod
    def from_preset(cls, name):
        """Loads a model of this class as ``kgen.from_preset`` does; raises ValueError for one of another class."""
        return loading.from_preset(name, of=cls)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for i, state in enumerate(self._seed_states()):
            store[f"seed_{i}"] = ops.convert_to_numpy(state)

    def load_own_variables(self, store):
        super().load_own_variables({k: store[k] for k in store.keys() if not k.startswith("seed_")})  # noqa: SIM118 (an HDF5 group)
        for i, state in enumerate(self._seed_states()):
            if f"seed_{i}" in store.keys():  # noqa: SIM118
                state.assign(np.asarray(store[f"seed_{i}"]).astype(state.dtype))

    def _seed_states(self):
        """The states of all seed generators, in the model's and its layers': Keras's own files leave them out."""
        weights = {id(v) for v in self.weights}
        return [v for v in self.variables if id(v) not in weights]

    def get_config(self):
        return {
            "ema": self.ema,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "kgen_version": kgen.__version__,
        }

    @classmethod
    def from_config(cls, config):
        config = saving.in_todays_words(config)
        saving.check_version(config.pop("kgen_version", None))
        config["dtype"] = (
            keras.dtype_policies.deserialize(config["dtype"])
            if isinstance(config.get("dtype"), dict)
            else config.get("dtype")
        )
        return cls(**{k: saving.deserialize(v) for k, v in config.items()})
