"""The peer: ``transformers``' GPT-2, with its dynamic and its static cache."""

import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks import peers, sizes, weights


def language_model(reference):
    """transformers' GPT-2 with kgen's weights."""
    s = sizes.GPT
    config = GPT2Config(
        vocab_size=s.vocabulary,
        n_positions=s.context,
        n_embd=s.width,
        n_layer=s.layers,
        n_head=s.heads,
        activation_function="gelu_new",
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    net = GPT2LMHeadModel(config).eval()
    weights.to_gpt2(peers.load(reference)[1], s.layers, net)
    return net


def _generate(net, tokens, cache):
    with torch.inference_mode():
        return net.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=sizes.GPT.new_tokens,
            min_new_tokens=sizes.GPT.new_tokens,
            do_sample=False,
            cache_implementation=cache,
        )[:, tokens.shape[1] :]


def _with_begin(prompts):
    return torch.nn.functional.pad(torch.from_numpy(prompts).long(), (1, 0))


def generate(batch, reference, cache=None, compiled=False):
    net = language_model(reference)
    if compiled:
        torch.compiler.reset()
        net.forward = torch.compile(net.forward, dynamic=False)
    tokens = _with_begin(sizes.prompts(batch))

    def run(_):
        start = time.perf_counter()
        _generate(net, tokens, cache).numpy()
        return time.perf_counter() - start

    return run


def outputs(reference):
    """What kgen wrote in ``gpt.reference``, computed by the peer."""
    arrays, _ = peers.load(reference)
    net = language_model(reference)
    tokens = torch.from_numpy(arrays["tokens"]).long()
    with torch.inference_mode():
        logits = net(tokens).logits
    return {"network output": logits.numpy(), "greedy tokens": _generate(net, tokens, None).numpy().astype("float32")}
