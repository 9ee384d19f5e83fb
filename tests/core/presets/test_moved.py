"""Files name the module of each class: those that name where a class was still load."""

import hashlib
import importlib
import json

import pytest

import kgen
from kgen.autoregressive import GPT, ByteTokenizer
from kgen.core.presets.allowlist import MOVED
from kgen.energy import EnergyModel, LangevinSampler

MODELS = {
    "kgen.energy.samplers": lambda: EnergyModel((2,), sampler=LangevinSampler(0.3, 5)),
    "kgen.autoregressive.tokenizers": lambda: GPT(context=4, layers=1, width=8, heads=1, tokenizer=ByteTokenizer()),
}


def test_the_table_is_true():
    assert set(MODELS) <= set(MOVED)
    for old, new in MOVED.items():
        importlib.import_module(new)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(old)


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
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())  # lists were tuples
