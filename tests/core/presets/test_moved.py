"""Files name the module of each class: those that name where a class was still load."""

import hashlib
import json

import pytest

import kgen
from kgen.autoregressive import GPT, ByteTokenizer
from kgen.diffusion import DDPM
from kgen.energy import EnergyModel, LangevinSampler
from kgen.networks import MLP

MOVED = {
    "kgen.energy.samplers": "kgen.numerics.chains",
    "kgen.autoregressive.tokenizers": "kgen.text.tokenizers",
    "kgen.diffusion.schedules": "kgen.diffusion.variance_preserving",
}

MODELS = {
    "kgen.energy.samplers": lambda: EnergyModel((2,), sampler=LangevinSampler(0.3, 5)),
    "kgen.autoregressive.tokenizers": lambda: GPT(context=4, layers=1, width=8, heads=1, tokenizer=ByteTokenizer()),
    "kgen.diffusion.schedules": lambda: DDPM((2,), network=MLP((2,), (2,), widths=(4,), time=True)),
}


@pytest.mark.parametrize("old", MODELS)
def test_a_preset_that_names_the_old_module_loads(old, tmp_path):
    model = MODELS[old]()
    model.save_to_preset(tmp_path / "preset")
    path = tmp_path / "preset" / "config.json"
    text = path.read_text()
    assert MOVED[old] in text
    path.write_text(text.replace(MOVED[old], old))
    metadata = json.loads((tmp_path / "preset" / "metadata.json").read_text())
    metadata["files"]["config.json"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "preset" / "metadata.json").write_text(json.dumps(metadata))
    again = kgen.from_preset(tmp_path / "preset")
    part = "sampler" if "sampler" in model.get_config() else "tokenizer"
    assert getattr(again, part).get_config() == getattr(model, part).get_config()
