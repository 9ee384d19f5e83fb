"""kgen's side of the language model comparison."""

import time

import keras
import numpy as np

from benchmarks import sizes, weights
from kgen.autoregressive import GPT
from kgen.networks import CausalTransformer


def model():
    """The GPT with its weights, and those by name."""
    s = sizes.GPT
    network = CausalTransformer(
        s.vocabulary, s.context, layers=s.layers, heads=s.heads, width=s.width, positions="learned", name="network"
    )
    return GPT(s.vocabulary, s.context, network=network, begin_token=0), weights.randomise(network)


def generate(batch):
    gpt, _ = model()
    prompts = sizes.prompts(batch)

    def run(_):
        start = time.perf_counter()
        gpt.generate(prompts, max_new_tokens=sizes.GPT.new_tokens, temperature=0)
        return time.perf_counter() - start

    return run


def reference(path):
    """Writes weights, inputs and what comes out to an ``.npz`` file, for the peer to be compared with."""
    gpt, values = model()
    prompts = sizes.prompts(2)
    tokens = np.concatenate([np.zeros((2, 1), "int32"), prompts], axis=1)  # the begin token in front
    written = gpt.generate(prompts, max_new_tokens=sizes.GPT.new_tokens, temperature=0)
    outputs = {
        "network output": keras.ops.convert_to_numpy(gpt.network(keras.ops.convert_to_tensor(tokens))),
        "greedy tokens": np.stack(written).astype("float32"),
    }
    np.savez(path, tokens=tokens, **outputs, **{f"weight:{k}": v for k, v in values.items()})
    return list(outputs)
