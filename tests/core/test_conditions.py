"""Conditions: what they check, how they hide, what they say of themselves, and how fit is given them."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen.core import GenerativeModel, random
from kgen.core.conditions import Conditions, ImageCondition, LabelCondition, SequenceCondition, VectorCondition
from kgen.text import ByteTokenizer


@keras.saving.register_keras_serializable(package="kgen_tests")
class Listener(GenerativeModel):
    """A model that logs the sum of each condition's values, as it hears them."""

    data_name = "image"

    def __init__(self, conditions):
        self.log_names = ("loss", *Conditions(conditions).specs())
        super().__init__(conditions=conditions)
        self.weight = self.add_weight(shape=(), name="weight")

    def objective(self, batch, training):
        logs = {k: ops.sum(ops.reshape(ops.cast(v, "float32"), (4, -1)), -1) for k, v in batch.conditions.items()}
        return ops.mean(ops.cast(batch.x, "float32"), axis=-1) * self.weight, logs


X = np.arange(8, dtype="float32").reshape(4, 2)
ALL = [
    LabelCondition(["cat", "dog", "cow"], dropout=0.5),
    VectorCondition(2, low=0.0, high=9.0, unit="metres"),
    ImageCondition((2, 2, 1), name="low", dropout=0.5),
    SequenceCondition(3, 7),
]
GIVEN = {
    "label": np.array([0, 1, 2, 1]),
    "vector": np.full((4, 2), 3.0, "float32"),
    "low": np.full((4, 2, 2, 1), 0.5, "float32"),
    "text": np.array([[1, 2, 0], [3, 0, 0], [0, 0, 0], [6, 6, 6]]),
}


def test_fit_hears_conditions_by_name_and_alone():
    sums = {"label": 1.0, "vector": 6.0, "low": 2.0, "text": 6.0, "text_mask": 1.5}
    model = Listener(ALL)
    model.compile("sgd")
    for history in (
        model.fit({"image": X, **GIVEN}, batch_size=4, verbose=0).history,
        model.fit(X, GIVEN, batch_size=4, verbose=0).history,
    ):
        assert {k: v[0] for k, v in history.items() if k != "loss"} == sums
    alone = Listener([LabelCondition(3)])
    alone.compile("sgd")
    for history in (
        alone.fit(X, GIVEN["label"], batch_size=4, verbose=0).history,
        alone.fit(X, GIVEN["label"][:, None], batch_size=4, verbose=0).history,
        alone.fit({"image": X, "label": GIVEN["label"]}, batch_size=4, verbose=0).history,
    ):
        assert history["label"] == [1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": np.array([0, 1, 3, 1])}, r"label: expected integers in \[0, 3\), received values from 0 to 3"),
        ({"label": np.array([0, 1])}, "label: expected 4 labels, one per row, received 2"),
        ({"vector": np.full((4, 2), 10.0, "float32")}, r"vector: expected values in \[0, 9\], received \[10, 10\]"),
        ({"vector": np.ones((4, 3), "float32")}, r"vector: expected shape \(N, 2\), received \(4, 3\)"),
        ({"low": np.ones((3, 2, 2, 1), "float32")}, "low: expected 4 rows, one for each example, received 3"),
        ({"low": np.full((4, 2, 2, 1), 7.0, "float32")}, r"low: expected values in \[-1, 1\]"),
        ({"text": np.full((4, 3), 7)}, r"text: expected tokens in \[0, 7\), received values from 7 to 7"),
        ({"text_mask": np.full((4, 3), 0.5)}, r"text_mask: expected zeros and ones of shape \(4, 3\)"),
        (
            {"colour": X},
            "colour: expected 'image', 'label', 'vector', 'low', 'text', 'text_mask', received 'colour' too",
        ),
        ({"vector": None}, "vector: it is missing. This model is trained by fit"),
    ],
)
def test_wrong_data_is_refused_before_any_work(change, message):
    model = Listener(ALL)
    model.compile("sgd")
    given = {k: v for k, v in {**GIVEN, **change}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        model.fit({"image": X, **given}, verbose=0)
    assert int(model.optimizer.iterations) == 0


def test_names_of_classes_and_texts_are_data():
    tokenizer = ByteTokenizer()
    caption = SequenceCondition(3, tokenizer.vocabulary_size, tokenizer=tokenizer)
    names, words = ["cat", "dog", "cow", "dog"], ["ab", "c", "b", "ca"]
    numbers, tokens = np.array([0, 1, 2, 1]), caption.encode(words)
    label = LabelCondition(["cat", "dog", "cow"])

    def heard(conditions, x, y=None, **options):
        model = Listener(conditions)
        model.compile("sgd")
        found = model.fit(x, y, batch_size=4, verbose=0, **options).history
        of_batches = [getattr(model, f)(x, y, return_dict=True) for f in ("train_on_batch", "test_on_batch")]
        evaluated = model.evaluate(x, y, verbose=0, batch_size=4, return_dict=True)
        return [
            {k: np.ravel(v)[0] for k, v in logs.items() if "loss" not in k} for logs in (found, *of_batches, evaluated)
        ]

    wanted = heard([label], X, numbers, validation_data=(X, numbers))
    assert wanted[0] == {"label": 1.0, "val_label": 1.0}
    for texts in (names, np.array(names), np.array(names, object), np.array(names, "S")):
        assert heard([label], X, texts, validation_data=(X, texts)) == wanted
    assert heard([caption], X, words) == heard([caption], X, tokens)
    both = {"label": numbers, "text": tokens}
    assert heard([label, caption], X, {"label": names, "text": words}) == heard([label, caption], X, both)
    assert heard([label, caption], {"image": X, "label": names, "text": words}) == heard([label, caption], X, both)


def test_names_in_the_wrong_place():
    model = Listener([LabelCondition(["cat", "dog", "cow"])])
    model.compile("sgd")

    def batches():
        yield X, np.array(["cat", "dog", "cow", "dog"])

    for call in (
        lambda: model.fit(X, ["cat", "dgo", "cow", "dog"], verbose=0),
        lambda: model.fit(X, [0, 1, 2, 0], validation_data=(X, ["dgo"] * 4), verbose=0),
    ):
        with pytest.raises(ValueError, match="y: expected one of .*, received 'dgo'. Did you mean 'dog'"):
            call()
    with pytest.raises(ValueError, match="fit: expected batches of numbers, received texts in those of a generator"):
        model.fit(batches(), steps_per_epoch=1, verbose=0)
    with pytest.raises(
        ValueError, match=r"labels: expected integers in \[0, 3\), received 'dog'. .* num_classes=\['cat', 'dog'\]"
    ):
        Conditions([LabelCondition(3)]).rows(2, {"labels": "dog"})
    assert int(model.optimizer.iterations) == 0


def test_y_where_there_is_no_condition_or_more_than_one():
    with pytest.raises(ValueError, match="y: this model has no classes. Train by fit"):
        Conditions([]).separate(X, X, "image")
    with pytest.raises(ValueError, match=r"y: this model has several conditions; pass them by name"):
        Conditions(ALL).separate(X, X, "image")
    with pytest.raises(ValueError, match=r"y: this model has 3 classes and needs labels: fit\(x, labels\)"):
        Conditions([LabelCondition(3)]).separate(X, None, "image")


def test_each_condition_is_hidden_by_itself():
    conditions = Conditions(ALL)
    rows = 4000
    values = {k: ops.convert_to_tensor(np.ones((rows, *s.shape), s.dtype)) for k, s in conditions.specs().items()}
    seeds = ops.convert_to_tensor(random.row_seeds(0, rows))
    heard = {k: ops.convert_to_numpy(v) for k, v in conditions.dropped(values, seeds).items()}
    label, low = heard["label"] == 3, (heard["low"] == 0).all((1, 2, 3))
    assert abs(label.mean() - 0.5) < 0.03 and abs(low.mean() - 0.5) < 0.03 and abs((label & low).mean() - 0.25) < 0.03
    assert (heard["vector"] == 1).all() and (heard["text_mask"] == 1).all()  # their dropout is 0
    null = {k: ops.convert_to_numpy(v) for k, v in conditions.null(values, keep=("low",)).items()}
    assert (null["label"] == 3).all() and (null["low"] == 1).all() and (null["text"] == 1).all()


def test_rows_to_sample():
    conditions = Conditions(ALL)
    rows = conditions.rows(2, {"labels": "dog", "vector": [1.0, 2.0], "text": [1, 2, 0], "low": None})
    assert rows["label"].tolist() == [1, 1] and rows["vector"].tolist() == [[1.0, 2.0]] * 2
    assert rows["text_mask"].tolist() == [[1, 1, 0]] * 2 and not rows["low"].any()
    assert conditions.rows(1, {"vector": [1.0, 2.0], "text": [1, 2, 0]})["label"].tolist() == [3]  # no class
    for given, kind, message in (
        (
            {"labels": "dgo"},
            ValueError,
            "labels: expected one of 'cat', 'dog', 'cow', received 'dgo'. Did you mean 'dog'?",
        ),
        ({"labels": 0}, ValueError, "vector: this model needs it to sample"),
        ({"colour": 1}, TypeError, "colour: expected labels, low, text, vector, received 'colour'"),
    ):
        with pytest.raises(kind, match=message):
            conditions.rows(2, given)
    with pytest.raises(ValueError, match="labels: this model has no classes"):
        Conditions([]).rows(2, {"labels": 1})
    with pytest.raises(ValueError, match=r"labels: this model has 3 classes; pass one int for all rows, or 2 of them"):
        Conditions([LabelCondition(3)]).rows(2, {})


def test_what_they_say_of_themselves():
    specs = Conditions(ALL).specs()
    assert specs["label"].choices == ("cat", "dog", "cow") and (specs["label"].high, specs["label"].default) == (3, 3)
    assert (specs["vector"].doc, specs["vector"].unit) == ("2 numbers", "metres") and specs["vector"].kind == "vector"
    assert specs["low"].shape == (2, 2, 1) and specs["text_mask"].kind == "mask"
    assert specs["low"].default == 0.0 and specs["vector"].default is specs["text_mask"].default is None
    for low, default in ((-1.0, 0.0), (0.5, None)):  # zeros out of range would be refused by a server
        assert VectorCondition(2, low=low, dropout=0.5).specs()["vector"].default == default
    assert Conditions([LabelCondition(3)]).specs()["label"].high == 2  # without dropout there is no "no class"


def test_configuration_round_trip():
    again = Conditions(Conditions(ALL).get_config())
    assert again == Conditions(ALL) and [c.name for c in again] == ["label", "vector", "low", "text"]


def test_wrong_conditions():
    with pytest.raises(ValueError, match="name: expected a Python name other than"):
        LabelCondition(3, name="seed")
    with pytest.raises(ValueError, match="conditions: expected each name once"):
        Conditions([LabelCondition(3), LabelCondition(4)])
    with pytest.raises(TypeError, match="conditions: expected Condition objects"):
        Conditions([3])
    with pytest.raises(ValueError, match="text: texts need a tokenizer"):
        SequenceCondition(3, 7).check(["a cat"], 1)
