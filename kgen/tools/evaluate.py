"""Measures a model: `kgen evaluate`."""

import click

from kgen.tools.command import use_backend


@click.command()
@click.argument("path")
@click.option("--data", required=True, help="Dataset name or path: what the samples are compared with.")
@click.option("-n", type=click.IntRange(50), default=1000, show_default=True, help="Number of samples.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of samples and split.")
@click.option(
    "--extractor",
    help="Frozen classifier whose features are used: digits, fashion_mnist, emoji, or a .keras file. By default that of --data.",
)
@click.option("--backend", help="tensorflow, jax or torch.")
def evaluate(path, data, n, seed, extractor, backend):
    """Measure the model in PATH: each figure beside its floor, the same figure between training and test data.

    \b
    Example:
      kgen evaluate saved_models/ddpm_digits --data digits
    """
    use_backend(backend)
    import json

    import numpy as np

    import kgen

    model = kgen.load(path)
    classifier = kgen.metrics.load_classifier(extractor or data)
    train, y = kgen.data.load(data, split="train", seed=seed)
    test, y_test = kgen.data.load(data, split="test", seed=seed)
    labels, checked = {}, {}
    classes = getattr(model, "num_classes", None)
    if classes is not None:
        labels = {"labels": np.arange(n, dtype="int32") % classes}
        if y is not None and y.max() < classes:  # as the data have them, so that the floor differs in nothing else
            labels = {"labels": np.resize(y, n)}
            checked = {**labels, "test_labels": y_test}
    samples = model.sample(n, seed=seed, **labels)
    report = kgen.metrics.fidelity_report(samples, train=train, test=test, extractor=classifier, **checked)
    click.echo(json.dumps(report, indent=2))
