"""Batches: structures, whatever holds them, and the seeds of their rows."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen.core import GenerativeModel, random


@keras.saving.register_keras_serializable(package="kgen_tests")
class Noisy(GenerativeModel):
    """Logs a random number of each row, and takes any structure whose members hold two numbers a row."""

    log_names = ("loss", "noise")

    def __init__(self):
        super().__init__(conditions=[])
        self.weight = self.add_weight(shape=(), name="weight", initializer="ones")
        self.frozen_setting = 1

    def check_examples(self, x):
        for value in keras.tree.flatten(x):
            if value.shape[1:] != (2,):
                raise ValueError(f"x: expected shape (N, 2), received {value.shape}.")
        return super().check_examples(x)

    def objective(self, batch, training):
        noise = random.uniform(batch.seeds, ())
        return noise * self.weight, {"noise": noise}


X = np.ones((10, 2), "float32")


def noisy():
    model = Noisy()
    model.compile(keras.optimizers.SGD(0.0))
    return model


def test_a_figure_is_the_same_for_every_batch_size():
    model = noisy()
    figures = [model.evaluate(X, batch_size=size, verbose=0, return_dict=True)["noise"] for size in (10, 3, 1)]
    np.testing.assert_allclose(figures, figures[0], rtol=1e-6)
    expected = ops.convert_to_numpy(
        random.uniform(random.row_stream(ops.zeros((1, 2), dtype="int32"), 0, 10), ())
    ).mean()
    np.testing.assert_allclose(figures[0], expected, rtol=1e-6)
    assert set(model.evaluate(X, verbose=0, return_dict=True)) == {"loss", "noise"}  # the count of rows is not shown


def test_training_draws_other_numbers_in_each_step_and_row():
    model = noisy()
    logs = [model.train_on_batch(X[:1], return_dict=True)["noise"] for _ in range(3)]
    means = [logs[0], 2 * logs[1] - logs[0], 3 * logs[2] - 2 * logs[1]]  # of running means, each step's own
    assert len({round(m, 4) for m in means}) == 3


@pytest.mark.parametrize("x", [{"a": X, "b": X[:7]}, (X, X)], ids=["dict", "pair"])
def test_structures_are_data(x):
    model = noisy()
    if isinstance(x, dict):  # Keras refuses arrays of unequal lengths; a dataset may hold them
        assert model.check_data(x)[0] is x
        x = {"a": X, "b": X}
    model.fit(x, verbose=0, batch_size=5)
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 2\), received \(10, 3\)"):
        model.fit(keras.tree.map_structure(lambda v: np.ones((10, 3), "float32"), x), verbose=0)


def test_weights_beside_a_y_of_parts_are_those_of_the_rows():
    model = Noisy()
    model._takes_any_y = True  # as a model without conditions= takes it
    model.compile("sgd")
    weight, options = np.array([0.0] * 9 + [2.0]), {"verbose": 0, "return_dict": True}
    alone = model.evaluate(X, sample_weight=weight, **options)
    assert model.evaluate(X, {"a": X, "b": X}, sample_weight=weight, **options) == alone
    with pytest.raises(ValueError, match=r"sample_weight: expected one array \(N,\), .* received a dict"):
        model.fit(X, {"a": X, "b": X}, sample_weight={"a": weight, "b": weight}, verbose=0)


class Batches(keras.utils.PyDataset):
    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return ({"a": self.x[5 * i : 5 * i + 5]},)


def test_every_adapter_is_checked():
    def generator(x):
        for i in range(4):
            yield (x[2 * i : 2 * i + 2],)

    model, wrong = noisy(), np.ones((10, 3), "float32")
    seen = []

    def counting(x):
        for batch in generator(x):
            seen.append(len(batch[0]))
            yield batch

    model.fit(counting(X), steps_per_epoch=4, verbose=0)
    assert sum(seen) == 8 and int(model.optimizer.iterations) == 4  # the batch that was looked at is trained on
    model.fit(Batches(X), verbose=0)
    for data in (generator(wrong), Batches(wrong), wrong):
        with pytest.raises(ValueError, match=r"x: expected shape \(N, 2\)"):
            model.fit(data, verbose=0)


@pytest.mark.parametrize(
    "read", ["fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch", "compiled_function"]
)
def test_what_a_compiled_function_has_read_is_not_changed(read):
    class Named(Noisy):
        def __init__(self, size=1):
            super().__init__()
            self.size = size

        def call(self, x):
            return x * self.size

        def compiled_function(self, x):
            return super().compiled_function("call", self.call)(ops.convert_to_tensor(x))

    model = Named()
    model.size = 2  # nothing has read it yet
    model.compile("sgd")
    model.size = 1
    getattr(model, read)(X, **({"verbose": 0} if read in ("fit", "evaluate", "predict") else {}))
    model.other = 3
    with pytest.raises(
        AttributeError, match="size: it cannot be changed, since compiled functions of this Named have read it"
    ):
        model.size = 3
    around = Named()
    around.inner = Named()
    around.compiled_function(X)
    with pytest.raises(AttributeError, match="size: it cannot be changed"):
        around.inner.size = 3
    with pytest.raises(AttributeError, match="name: LabelCondition is not changed once it is made"):
        from kgen.core.conditions import LabelCondition

        LabelCondition(3).name = "other"
