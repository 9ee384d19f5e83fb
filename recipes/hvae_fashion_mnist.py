"""A hierarchical variational autoencoder of Fashion-MNIST: a vector, a map of 7x7 and two of 14x14 latents."""

import time

import keras
import numpy as np

import kgen


def main(
    data="fashion_mnist",
    epochs=12,
    batch_size=64,
    seed=0,
    out="saved_models/hvae_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)

    # A probability for each of the 256 levels, so that bits/dim mean what they say.
    observation = kgen.vae.DiscretizedLogisticLikelihood(components=3)
    output_shape = (*x.shape[1:-1], x.shape[-1] * observation.parameters)
    half, quarter = x.shape[1] // 2, x.shape[1] // 4
    latents = ((1, 1, 16), (quarter, quarter, 4), (half, half, 3), (half, half, 3))
    # Few features where maps are large: a step takes as long as those.
    channels = (64, 64, 48, 48, 24)
    model = kgen.vae.HierarchicalVAE(
        x.shape[1:],
        encoder=kgen.networks.LadderEncoder(x.shape[1:], latents, channels),
        decoder=kgen.networks.LadderDecoder(latents, output_shape, channels),
        observation=observation,
        kl_warmup=1000,  # and free bits: no layer is given up before those below have learnt to read it
        free_bits=1.0,
        ema=0.999,
    )
    steps = epochs * -(-len(x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    # On a CPU, TensorFlow's own convolutions are faster than XLA's.
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=1e-4, clipnorm=200.0),
        jit_compile=keras.config.backend() == "jax",
    )

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(
        x, epochs=epochs, batch_size=batch_size, validation_data=(x_test,), callbacks=[stop, checkpoint]
    )
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_facts(model, x_test)  # what kgen demo shows of the data
    run.save_curves(history)
    run.save_samples(model.sample(100, seed=0))
    few = min(8, len(x_test) // 2)
    between = model.interpolate(x_test[:few], x_test[few : 2 * few], steps=10)
    run.save_picture("interpolations", between.reshape(-1, *x.shape[1:]), columns=10)
    # Rows of test images: the layers from the top are the image's, one more in each row, those below are drawn.
    drawn = keras.random.normal((few, model.latent_dim), seed=seed)
    drawn, own = keras.ops.convert_to_numpy(drawn), model.encode(x_test[:few])
    ends = np.cumsum([int(np.prod(shape)) for shape in model.latent_shapes])
    rows = [np.where(np.arange(model.latent_dim) < end, own, drawn) for end in ends]
    pictures = np.concatenate([x_test[:few], *(model.decode(z.astype("float32")) for z in rows)])
    run.save_picture("layers", pictures, columns=few)

    # 10,000 samples against 10,000 training images, both measured on the test images.
    count = min(10_000, len(x))
    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures, copies = (
            kgen.metrics.fidelity_report(images, train=x, test=x_test, extractor=classifier)
            for images in (model.sample(count, seed=1), model.reconstruct(x[:count]))
        )
        figures["reconstructions_frechet_distance"] = copies["frechet_distance"]
    bits = kgen.core.bits_per_dim(model.log_prob(x_test[:500], num_samples=50), x.shape[1:])
    figures["bits_per_dim"] = {
        "value": float(bits.mean()),
        "unit": "bits/dim, upper bound of 50 importance samples, 256 levels",
        "samples": len(bits),
        "standard_error": float(bits.std() / len(bits) ** 0.5),
    }
    elbo = model.evaluate(x_test, verbose=0, return_dict=True)
    nats = {"elbo": -elbo["reconstruction"] - elbo["kl"], **{k: v for k, v in elbo.items() if k.startswith("kl")}}
    figures |= {k: {"value": v, "unit": "nats per example", "samples": len(x_test)} for k, v in nats.items()}
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        parameters=model.encoder.count_params() + model.decoder.count_params(),
        final_loss=history.history["loss"][-1],
        train_seconds=round(train_seconds, 1),
    )
    shapes = ", ".join(" x ".join(map(str, shape)) for shape in model.latent_shapes)
    run.write_card(
        f"A hierarchical variational autoencoder of {data} with the latents {shapes} from the top, each drawn given those above, and a "
        "mixture of discretised logistics as likelihood; kl_0 is the divergence of the top layer, and so on. Samples are the means of "
        "p(x | z), in [-1, 1]. layers.png has test images in its first row; below, one more layer from the top in each row is the image's "
        "own, and the rest is drawn from the prior."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
