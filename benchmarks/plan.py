"""What is compared with what, in how many steps, and which goal it is held to."""

import dataclasses

from benchmarks import sizes
from benchmarks.workers import Contender

KGEN = {"tensorflow": "kgen, TensorFlow", "jax": "kgen, JAX", "torch": "kgen, torch"}
BY_HAND = "Keras train_step by hand"


@dataclasses.dataclass
class Comparison:
    """Contenders that do the same work, and the peer that they are held against.

    ``steps`` are the training steps of one repetition. ``goal`` is a line of ``GOALS``, or None.
    """

    part: str
    title: str
    peer: str
    contenders: list
    steps: int
    goal: str | None

    @property
    def baseline(self):
        return next(c for c in self.contenders if c.label == self.peer)


# From a goal's name to what it says, and whether a ratio peer/kgen reaches it.
GOALS = {
    "sampling, one": ("sampling at batch 1: at least 3x as fast as diffusers", lambda ratio: ratio >= 3),
    "sampling, many": ("sampling at batch 64: at least 1.1x as fast as diffusers", lambda ratio: ratio >= 1.1),
    "training": ("a training step: at least as fast as the peer's", lambda ratio: ratio >= 1),
    "generation": ("generation: at least 3x as fast as transformers", lambda ratio: ratio >= 3),
    "flow": ("spline flow: at least 1.5x as fast as zuko", lambda ratio: ratio >= 1.5),
    "overhead": ("`update`: at most 3 % over a train_step by hand", lambda ratio: 1 / ratio <= 1.03),
}


def diffusion(workers, references, quick, compiled):
    """(a) The training step and sampling against diffusers."""
    for size in sizes.UNETS:
        for batch in (1, 4) if quick else (1, 64):
            steps = 2 if quick else {("8x8", 1): 100, ("8x8", 64): 40, ("28x28", 1): 60, ("28x28", 64): 8}[size, batch]
            shared, reference = {"size": size, "batch": batch, "steps": steps}, {"reference": references[size]}
            yield Comparison(
                "a",
                f"DDPM training step, {size}, batch {batch}",
                "diffusers",
                _contenders(workers, "ddpm.train", shared, reference, "diffusers", compiled, xla_choice=True),
                steps,
                "training",
            )
            yield Comparison(
                "a",
                f"DDIM sampling in {sizes.SAMPLING_STEPS} steps, {size}, batch {batch}",
                "diffusers",
                _contenders(workers, "ddpm.sample", {"size": size, "batch": batch}, reference, "diffusers", compiled),
                1,
                "sampling, one" if batch == 1 else "sampling, many",
            )


def vae(workers, references, quick, compiled):
    """(b) The VAE's training step against a plain torch loop."""
    for batch in (1, 4) if quick else (1, 64):
        steps = 2 if quick else {1: 100, 64: 20}[batch]
        yield Comparison(
            "b",
            f"VAE training step, {'x'.join(map(str, sizes.VAE_IMAGE[:2]))}, batch {batch}",
            "plain torch",
            _contenders(
                workers,
                "vae.train",
                {"batch": batch, "steps": steps},
                {"reference": references["vae"]},
                "plain torch",
                compiled,
                xla_choice=True,
            ),
            steps,
            "training",
        )


def _contenders(workers, job, shared, reference, peer, compiled, xla_choice=False):
    """kgen on each backend, on TensorFlow also with XLA in ``fit``, and the peer, if asked compiled too."""
    result = []
    for backend, label in KGEN.items():
        if backend not in workers:
            continue
        result.append(Contender(label, workers[backend], job, shared))
        if backend == "tensorflow" and xla_choice:
            result.append(
                Contender(f"{label}, jit_compile=True", workers[backend], job, {**shared, "jit_compile": True})
            )
    result.append(Contender(peer, workers["peers"], job, {**shared, **reference}))
    if compiled:
        result.append(
            Contender(f"{peer}, torch.compile", workers["peers"], job, {**shared, **reference, "compiled": True})
        )
    return result


def gpt(workers, references, quick, compiled):
    """(d) Generation with cached keys and values against transformers."""
    for batch in (1,) if quick else (1, 16):
        shared, reference = {"batch": batch}, {"reference": references["gpt"]}
        contenders = _contenders(workers, "gpt.generate", shared, reference, "transformers", False)
        peer = contenders[-1]
        static = {**peer.arguments, "cache": "static"}
        contenders.append(Contender("transformers, static cache", peer.worker, peer.job, static))
        if compiled:
            contenders.append(
                Contender(
                    "transformers, static cache, torch.compile", peer.worker, peer.job, {**static, "compiled": True}
                )
            )
        yield Comparison(
            "d",
            f"Generation of {sizes.GPT.new_tokens} tokens, batch {batch}",
            "transformers",
            contenders,
            1,
            "generation",
        )


def steps(workers, quick, compiled):
    """(e) Steps without weights in common: GANs and the hierarchical VAE against plain torch, VAE and VQ-VAE against pythae, spline flow
    against zuko."""
    with_flows = {name: worker for name, worker in workers.items() if name != "torch"}
    for job, title, peer, batch, count, goal in (
        *(
            (job, f"{title} training step", peer, batch, count * 64 // batch, "training")
            for job, title, peer, count in (
                ("gan_train", "DCGAN, 28x28,", "plain torch", 10),
                ("stylegan2_train", "StyleGAN2, 32x32,", "plain torch", 8),
                ("vae_train", "VAE, 28x28,", "pythae", 10),
                ("vqvae_train", "VQ-VAE, 28x28,", "pythae", 10),
                ("hierarchical_train", "hierarchical VAE, 28x28,", "plain torch", 8),
            )
            for batch in (16, 64)
        ),
        ("flow_train", "Spline flow training step", "zuko", 256, 50, "flow"),
        ("flow_sample", "Spline flow sampling", "zuko", 1000, 1, "flow"),
    ):
        batch, count = (min(batch, 4), min(count, 2)) if quick else (batch, count)
        sampling = job.endswith("sample")
        yield Comparison(
            "e",
            f"{title}, batch {batch}",
            peer,
            _contenders(
                with_flows if goal == "flow" else workers,
                f"steps.{job}",
                {"batch": batch} if sampling else {"batch": batch, "steps": count},
                {},
                peer,
                False,
                xla_choice=not sampling,
            ),
            count,
            goal,
        )


def overhead(workers, quick):
    """(c) kgen's step against one written by hand; the last contender shows what two equal programs differ by."""
    work = {"mlp": ("2-64-64-2 MLP", 64, 500), "unet": ("28x28 U-Net", 16, 16)}
    for network, (name, batch, steps) in work.items():
        if quick:
            batch, steps = min(batch, 4), min(steps, 20 if network == "mlp" else 2)
        for backend in ("tensorflow", "jax"):  # the backends whose step is compiled, and for which the goal is
            if backend not in workers:
                continue
            label = KGEN[backend]

            def contender(text, step, worker=workers[backend], network=network, batch=batch, steps=steps):
                return Contender(
                    text, worker, "overhead.train", {"network": network, "step": step, "batch": batch, "steps": steps}
                )

            yield Comparison(
                "c",
                f"{name}, batch {batch}, {label.removeprefix('kgen, ')}",
                BY_HAND,
                [
                    contender(label, "kgen"),
                    contender(BY_HAND, "hand"),
                    contender(f"{BY_HAND}, with kgen's callback", "hand + callback"),
                    contender(f"{BY_HAND}, once more", "hand"),
                ],
                steps,
                "overhead",
            )
