"""Relatives of diffusion on 8x8 digits, with the same U-Net and the same steps of training, side by side: an hour on one core beside other work."""

import shutil
import time

import keras
import numpy as np

import kgen

SAMPLES = 1000


def relatives(x, classes, steps):
    """Dict from a model's name to what makes it of those made before it, a dict by name."""
    shape = x.shape[1:]
    spread = float(x.std())

    def made(kind=kgen.diffusion.DDPM, outputs=1, **kwargs):
        def make(found):
            network = kgen.networks.UNet(
                shape, (24, 48), 1, (False, True), num_classes=classes, out_channels=outputs * shape[-1]
            )
            return kind(shape, network=network, num_classes=classes, ema=0.998, **kwargs)

        return make

    ancestral = kgen.diffusion.AncestralSampler(100)
    fewer = kgen.diffusion.ConsistencySampler(2)
    return {
        "DDPM, noise, linear": made(schedule="linear", prediction="noise", sampler=ancestral),
        "DDPM, learned variance": made(
            outputs=2, schedule="cosine", prediction=kgen.diffusion.LearnedVariance("noise"), sampler=ancestral
        ),
        "DDPM, data, min-SNR": made(prediction="data", weight="min_snr"),
        "DDPM, velocity": made(),
        "DDPM, velocity, learned weights": made(uncertainty=True),
        "score SDE, VP": made(kgen.diffusion.ScoreSDE, sampler=kgen.diffusion.ReverseSDESampler(200)),
        "score SDE, sub-VP": made(
            kgen.diffusion.ScoreSDE, schedule="sub_vp", sampler=kgen.diffusion.ReverseSDESampler(200)
        ),
        "score SDE, VE": made(
            kgen.diffusion.ScoreSDE,
            schedule=kgen.diffusion.VESchedule(sigma_max=20.0),
            sampler=kgen.diffusion.PredictorCorrectorSampler(100),
        ),
        "EDM": made(kgen.diffusion.EDM, sigma_data=spread),
        "flow matching": made(kgen.diffusion.FlowMatching),
        "flow matching, minibatch transport": made(kgen.diffusion.FlowMatching, coupling="minibatch"),
        "reflow": lambda found: kgen.diffusion.Reflow.from_teacher(found["flow matching"], ema=0.998),
        "reflow, one step": lambda found: kgen.diffusion.Reflow.from_teacher(
            found["flow matching"], times=kgen.diffusion.StepTimes(1), sampler=kgen.diffusion.DDIMSampler(1), ema=0.998
        ),
        "progressive distillation, 8 steps": lambda found: kgen.diffusion.ProgressiveDistillation(
            found["DDPM, velocity"], 8, ema=0.998
        ),
        "progressive distillation, 4 steps": lambda found: kgen.diffusion.ProgressiveDistillation(
            found["progressive distillation, 8 steps"], 4, ema=0.998
        ),
        "consistency distillation": lambda found: kgen.diffusion.ConsistencyDistillation(
            found["EDM"], teacher=0.9, sampler=fewer, ema=0.998
        ),
        "consistency tuning": lambda found: kgen.diffusion.ConsistencyModel.from_diffusion(
            found["EDM"],
            noise_levels=kgen.diffusion.ShrinkingGaps(steps, stages=6),
            times=kgen.diffusion.LogNormalTimes(-1.1, 2.0),
            teacher=0.0,
            sampler=fewer,
            ema=0.998,
        ),
    }


def ways(found, classifier, classes):
    """Dict from a row's name to the model and what ``sample`` is told beside labels: first each model's own way, then others."""
    rows = {name: (model, {}) for name, model in found.items()}

    def also(name, of, **given):
        if of in found:
            rows[name] = (found[of], given)

    also("score SDE, VP, by its flow", "score SDE, VP", sampler=kgen.diffusion.HeunSampler(25, grid="uniform"))
    also("EDM, Heun", "EDM", sampler=kgen.diffusion.HeunSampler(18))
    also("EDM, with churn", "EDM", sampler=kgen.diffusion.EDMSampler(18))
    also("flow matching, 4 steps", "flow matching", sampler=kgen.diffusion.DDIMSampler(4))
    also("minibatch transport, 4 steps", "flow matching, minibatch transport", sampler=kgen.diffusion.DDIMSampler(4))
    also("reflow, 4 steps", "reflow", sampler=kgen.diffusion.DDIMSampler(4))
    velocity = "DDPM, velocity"
    also("guidance 2", velocity, guidance=2.0)
    also("guidance 2, in an interval", velocity, guidance=kgen.diffusion.IntervalGuidance(2.0, low=0.2, high=3.0))
    if velocity in found and classifier is not None:
        for strength in (0.0, 1.0, 3.0):
            guide = [kgen.diffusion.ClassifierGuidance(classifier, strength, label=k) for k in range(classes)]
            rows[f"no class, classifier guidance {strength:g}"] = (found[velocity], {"guides": guide})
    return rows


def drawn(model, labels, guides=None, **given):
    """Samples of the labels; with ``guides`` of no class, each led to its own by a classifier."""
    if guides is None:
        return model.sample(len(labels), seed=1, labels=labels, **given)
    images = np.zeros((len(labels), *model.shape), "float32")
    for label, guide in enumerate(guides):
        rows = np.flatnonzero(labels == label)
        images[rows] = model.sample(len(rows), seed=1 + label, guidance=guide)
    return images


def calls(model, given):
    sampler = given.get("sampler") or model.sampler
    return sampler.calls() if hasattr(sampler, "calls") else sampler.steps


def table(figures, seconds):
    """Markdown: a row for each way of sampling."""
    lines = [["", "Fréchet distance", "of its class", "calls", "seconds for 1,000", "seconds of training"], ["---"] * 6]
    for name, row in figures.items():
        cells = [f"{row[k]['value']:.{d}f}" if k in row else "-" for k, d in (("distance", 1), ("accuracy", 3))]
        lines.append(
            [name, *cells, str(row["calls"]["value"]), f"{row['seconds']['value']:.1f}", f"{seconds.get(name, '')}"]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(
    data="digits",
    epochs=40,
    batch_size=64,
    seed=0,
    out="saved_models/diffusions_digits",
    image_size=None,
    resume=False,
):
    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    if y is None:
        raise ValueError(f"data: expected labelled images, {data} has no labels.")
    classes, count = int(y.max()) + 1, min(SAMPLES, len(x))
    steps = epochs * -(-len(x) // batch_size)
    judge = kgen.metrics.load_classifier(data) if data in kgen.metrics.classifiers() else None
    # On a CPU, TensorFlow's own convolutions are faster than XLA's in a training step.
    jit_compile = keras.config.backend() == "jax"

    def optimizer():
        rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=2e-3, warmup_steps=max(1, steps // 20))
        return keras.optimizers.AdamW(rate, weight_decay=1e-4, clipnorm=1.0)

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    found, seconds = {}, {}
    for name, make in relatives(x, classes, steps).items():
        keras.utils.set_random_seed(seed)
        model = make(found)
        model.compile(optimizer(), jit_compile=jit_compile)
        given = (x, y)
        if name.startswith("reflow"):  # lines between noise and what the flow makes of it
            given = (
                kgen.diffusion.reflow_pairs(found["flow matching"], 3 * len(x), seed=2, labels=np.tile(y, 3)),
                None,
            )
        rounds = epochs // 3 if given[1] is None else epochs
        checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints/{name}", every=1000, resume=resume)
        start = time.perf_counter()
        model.fit(*given, epochs=max(1, rounds), batch_size=batch_size, verbose=2, callbacks=[stop, checkpoint])
        seconds[name] = round(time.perf_counter() - start)
        found[name] = model
        if stop.interrupted:
            break
    teller = None
    if not stop.interrupted:
        keras.utils.set_random_seed(seed)
        teller = kgen.diffusion.NoisyClassifier(x.shape[1:], classes, schedule="cosine")
        teller.compile()
        teller.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=2)

    figures, pictures, labels = {}, {}, y[:count]
    for name, (model, given) in ways(found, teller, classes).items():
        start = time.perf_counter()
        images = drawn(model, labels, **given)
        spent = time.perf_counter() - start
        pictures[name] = np.concatenate([images[labels == k][:2] for k in range(classes)])
        row = {
            "calls": {"value": int(calls(model, given)), "unit": "calls of the network for each sample"},
            "seconds": {"value": spent * 1000 / count, "unit": "seconds for 1,000 samples, compilation included"},
        }
        if judge is not None:
            report = kgen.metrics.fidelity_report(
                images, train=x, test=x_test, extractor=judge, labels=labels, test_labels=y_test
            )
            row |= {"distance": report["frechet_distance"], "accuracy": report["label_accuracy"]}
        figures[name] = row
        print(name, {k: round(v["value"], 3) for k, v in row.items()}, flush=True)

    run = kgen.Run(out)
    # The one to load: of the models' own ways the one that comes nearest.
    best = min(found, key=lambda name: figures[name].get("distance", figures[name]["calls"])["value"])
    run.save_model(found[best])
    run.save_preset(found[best], dtype="float16")  # half the size, the same figures
    run.save_picture("samples", np.concatenate(list(pictures.values())), columns=2 * classes, names=list(pictures))
    run.save_metrics(
        {f"{name}_{k}": figure for name, row in figures.items() for k, figure in row.items()},
        data=data,
        seed=seed,
        epochs=epochs,
        steps=steps,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        parameters=found[best].network.count_params(),
        saved=best,
        seconds=seconds,
    )
    floor = "" if judge is None else f" (floor {figures[best]['distance']['floor']:.1f})"
    run.write_card(
        f"Relatives of diffusion of {data}: the same U-Net, given the class, {steps} steps of {batch_size} each, those that begin with another model "
        f"after that one's. Fréchet distances{floor} are of {count} samples with the classes of the data, and the share of them that a classifier "
        "finds to be of their class. The rows below the models are other ways of sampling from them; of no class are samples of a model that is not "
        f"told the class, which a classifier of noised pictures leads there. samples.png has two samples of each class in each row. The one saved is "
        f"{best}.\n\n{table(figures, seconds)}"
    )
    run.export(found[best])
    if not stop.interrupted:
        shutil.rmtree(f"{out}/checkpoints")


if __name__ == "__main__":
    main()
