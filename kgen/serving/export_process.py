"""The fresh process in which a model that was trained on JAX or torch is exported: ``kgen.serving.export`` starts it.

    python -m kgen.serving.export_process FILE BASE DEFAULT BATCH_SIZES ENDPOINTS [MODULE=PATH ...]

The last line of its output is JSON: ``{"path": ...}``, or ``{"error": class, "message": ..., "errno": ...}``.
"""

import json
import sys
import traceback


def main(file, base, default, batch_sizes, endpoints, *modules):
    """Loads a ``.keras`` file, after the modules that hold its classes, and exports it; returns the version's path."""
    # Keras first: a module that sets KERAS_BACKEND on its own first line then changes nothing.
    import keras

    from kgen.serving.exporting import export, import_module

    for module in modules:
        import_module(*module.split("=", maxsplit=1))
    # The file is this user's own, written a moment ago: lambdas may load.
    model = keras.saving.load_model(file, compile=False, safe_mode=False)
    sizes = [int(size) for size in batch_sizes.split(",")]
    return export(model, base, endpoints=endpoints.split(","), default=default, batch_sizes=sizes)


if __name__ == "__main__":
    try:
        result = {"path": str(main(*sys.argv[1:]))}
    except Exception as error:  # whatever it is, the process that waits for it reports it
        traceback.print_exc()
        # An OSError's text repeats its number, which travels beside it.
        message = error.strerror if isinstance(error, OSError) and error.errno else str(error)
        result = {"error": type(error).__name__, "message": message, "errno": getattr(error, "errno", None)}
    print()
    print(json.dumps(result))
    sys.exit("error" in result)
