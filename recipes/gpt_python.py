"""A GPT on the source code of Python's standard library: 1.3 nats per character after 15 minutes on two cores."""

import time

import keras

import kgen


def main(data="python", epochs=3, batch_size=16, seed=0, out="saved_models/gpt_python", resume=False):
    keras.utils.set_random_seed(seed)

    text = kgen.data.load_text(data, split="train")
    held_out = kgen.data.load_text(data, split="test")

    # Pairs of bytes that come often become one token: a token is then about three characters, and the model reads three times as far.
    tokenizer = kgen.autoregressive.BPETokenizer.train(text, vocabulary_size=1024)
    tokens = tokenizer.encode(text)
    model = kgen.autoregressive.GPT(tokenizer=tokenizer, context=256, layers=4, heads=4, width=112)

    windows = kgen.data.TokenWindows(tokens, model.context, batch_size=batch_size, seed=seed)
    steps = epochs * len(windows)
    warmup = min(100, steps // 10)
    learning_rate = keras.optimizers.schedules.CosineDecay(0.0, steps - warmup, warmup_target=4e-3, warmup_steps=warmup)
    model.compile(keras.optimizers.AdamW(learning_rate, weight_decay=0.1, beta_2=0.98, global_clipnorm=1.0))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(windows, epochs=epochs, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    prompts = ["def ", "class ", "import ", '    """Return ']
    written = model.generate(prompts, max_new_tokens=180, temperature=0.8, top_p=0.95, seed=0)
    run.save_text("samples", f"\n\n{'=' * 80}\n\n".join(p + w for p, w in zip(prompts, written, strict=True)))

    log_prob = model.sliding_log_prob(held_out)
    trained_on = text[: len(held_out)]
    figures = {
        "nats_per_char": {
            "value": -float(log_prob.sum()) / len(held_out),
            "unit": f"nats per character, held-out tail; each token from {model.context // 2} to {model.context - 1} before it",
            "samples": len(held_out),
        },
        "nats_per_char_train": {
            "value": -float(model.sliding_log_prob(trained_on).sum()) / len(trained_on),
            "unit": "nats per character, the beginning of the training text",
            "samples": len(trained_on),
        },
        "chars_per_token": {"value": len(held_out) / len(log_prob), "unit": "characters", "samples": len(log_prob)},
    }
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        parameters=model.network.count_params(),
        final_loss=history.history["loss"][-1],
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"A GPT of {data} with {tokenizer.vocabulary_size} byte-pair tokens, a context of {model.context} tokens and rotary positions. "
        "The first nine tenths of the text were trained on, the last tenth held out."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
