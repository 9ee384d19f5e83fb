"""Captions: what is masked changes nothing, what is said changes what is drawn."""

import keras
import numpy as np
import pytest

import kgen
from kgen.core.conditions import SequenceCondition
from kgen.diffusion import CaptionedDiffusion, DDIMSampler
from kgen.networks import UNet
from kgen.text import ByteTokenizer

COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}
Y = np.random.default_rng(0).integers(0, 2, 128)
X = (np.where(Y, 0.7, -0.7)[:, None, None, None] * np.ones((1, 4, 4, 1))).astype("float32")
TEXTS = ["on" if y else "off" for y in Y]


def small(tokenizer):
    size = tokenizer.vocabulary_size
    text = SequenceCondition(4, size + 1, padding=size, tokenizer=tokenizer, dropout=0.1)
    network = UNet((4, 4, 1), (16,), 1, (True,), groups=4, conditions=[text])
    return CaptionedDiffusion(
        (4, 4, 1), tokenizer, 4, network=network, prediction="data", sampler=DDIMSampler(3), ema=None
    )


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = small(ByteTokenizer())
    model.compile(keras.optimizers.Adam(5e-3), **COMPILE)
    model.fit({"image": X, "text": model.tokens(TEXTS)}, epochs=25, batch_size=64, verbose=0)
    return model


def test_what_is_said_is_drawn(model):
    on, off = (model.sample(8, seed=0, text=text).mean() for text in ("on", "off"))
    assert on - off > 0.7
    guided = model.sample(8, seed=0, text="on", guidance=3.0).mean()
    assert np.isfinite(guided) and guided > off


def test_a_masked_token_changes_nothing(model):
    tokens = model.tokens(["on"] * 2)
    mask = (tokens != model.conditions["text"].padding).astype("float32")
    plain = model.sample(2, seed=1, text="on")
    np.testing.assert_allclose(model.sample(2, seed=1, text=tokens, text_mask=mask), plain, atol=1e-6)
    other = np.where(mask > 0, tokens, 7)
    np.testing.assert_allclose(model.sample(2, seed=1, text=other, text_mask=mask), plain, atol=1e-6)
    assert np.abs(model.sample(2, seed=1, text=other, text_mask=np.ones_like(mask)) - plain).max() > 1e-4


def test_saved_and_refused(model, tmp_path):
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    np.testing.assert_allclose(again.sample(2, seed=2, text="off"), model.sample(2, seed=2, text="off"), atol=1e-5)
    model.save_to_preset(tmp_path / "preset")
    preset = kgen.from_preset(tmp_path / "preset")
    np.testing.assert_allclose(preset.sample(2, seed=2, text="off"), model.sample(2, seed=2, text="off"), atol=1e-5)
    assert list(model.endpoints()[0].inputs) == ["seed", "text", "text_mask", "guidance", "steps"]
    with pytest.raises(TypeError, match="tokenizer: expected one of kgen.text"):
        CaptionedDiffusion((4, 4, 1), "bytes")
    with pytest.raises(
        ValueError, match=r"text: it is missing. This model is trained by fit\(\{'image': x, 'text': \.\.\.\}\)"
    ):
        model.fit(X, verbose=0)
