"""What stands in an export beside the SavedModel: for the server, for its clients, and for who asks later what was exported."""

import json
import pathlib

import keras

import kgen
from kgen.serving import marking, picture_inputs, warmup

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
MANIFEST = "manifest.json"
_BATCHING = """\
# Read by a server with --enable_batching --enable_per_model_batching_parameters: requests that come within 2 ms are answered
# together, padded to one of these numbers of rows.
max_batch_size { value: %d }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 100 }
"""


def write(version, model, endpoints, outputs, default, batch_sizes, base):
    """Writes warm-up requests, batching parameters and the manifest into a version's folder, which holds a SavedModel.

    Args:
        version: the folder.
        model: the model that was exported.
        endpoints: its endpoints.
        outputs: those of the SavedModel's signatures, as ``kgen.serving.signatures.trace`` returns them.
        default: the endpoint that ``serving_default`` is.
        batch_sizes: ascending numbers of rows; the last is the largest that is accepted.
        base: the folder of versions, whose ``metrics.json`` has the model's figures, if it is there.
    Returns:
        the manifest, a dict.
    Raises:
        ValueError: there are more warm-up requests than TF Serving reads.
    """
    by_name = {e.name: e for e in endpoints}
    # A request that fails in a warm-up makes the version unloadable: those compiled by XLA fail on a stock server.
    stock = {"serving_default": by_name[default], **by_name}
    requests = []
    for signature, endpoint in stock.items():
        rows = {name: warmup.example_rows(spec, name, batch_sizes[-1]) for name, spec in endpoint.inputs.items()}
        requests += [(signature, {name: value[:size] for name, value in rows.items()}) for size in batch_sizes]
    warmup.write(version, requests)
    allowed = "".join(f"allowed_batch_sizes: {size}\n" for size in batch_sizes)
    (version / "batching_params.pbtxt").write_text(_BATCHING % batch_sizes[-1] + allowed, encoding="utf-8")
    manifest = _manifest(version, model, endpoints, outputs, default, batch_sizes, base)
    (version / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def read_manifest(version):
    """The manifest of a version, a dict; {} where it was exported without one."""
    file = pathlib.Path(version) / MANIFEST
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def choices(folder):
    """Names of the values of inputs, such as those of classes: a dict from an input's name to a list.

    Args:
        folder: of an export: a version's, or that of the versions, whose newest counts.
    Raises:
        ValueError: there is no manifest.
    """
    folder = pathlib.Path(folder)
    versions = sorted((p for p in folder.glob("[0-9]*") if p.name.isdecimal()), key=lambda p: int(p.name))
    manifest = read_manifest(versions[-1] if versions else folder)
    if not manifest:
        raise ValueError(f"export: expected the folder of an export, with a {MANIFEST}, received {str(folder)!r}.")
    inputs = [pair for endpoint in manifest["endpoints"].values() for pair in endpoint["inputs"].items()]
    return {name: tensor["choices"] for name, tensor in inputs if tensor.get("choices")}


def _manifest(version, model, endpoints, outputs, default, batch_sizes, base):
    import tensorflow as tf

    fingerprint = tf.saved_model.experimental.read_fingerprint(str(version))
    hashes = ("saved_model_checksum", "graph_def_program_hash", "signature_def_hash", "saved_object_graph_hash")
    metrics = base / "metrics.json"
    figures = json.loads(metrics.read_text(encoding="utf-8")).get("figures", {}) if metrics.exists() else {}
    return {
        "model": type(model).__name__,
        "versions": {"kgen": kgen.__version__, "keras": keras.__version__, "tensorflow": tf.__version__},
        # As texts: JSON's numbers do not hold 64 bits.
        "fingerprint": {name: str(getattr(fingerprint, name)) for name in (*hashes, "checkpoint_hash")},
        "default": default,
        "batch_sizes": list(batch_sizes),
        "endpoints": {e.name: _described(e, outputs[e.name]) for e in endpoints},
        "figures": figures,
    }


def _described(endpoint, specs):
    """An endpoint's inputs and outputs with their shapes, None for the number of rows, and what they are: range, unit."""
    inputs, outputs = {}, {}
    for name, spec in endpoint.inputs.items():
        said = ("low", "high", "default", "choices", "unit")
        bounds = {k: getattr(spec, k) for k in said if getattr(spec, k) is not None}
        inputs[name] = {"shape": [None, *spec.shape], "dtype": spec.dtype, "doc": spec.doc, **bounds}
    for name, tensor in specs.items():
        doc = endpoint.outputs.get(name, marking.DOCS.get(name, ""))
        for image in endpoint.images:
            if name == f"{image}_uint8":
                doc = f"{image} as integers from 0 to 255"
            elif name in ("png_bytes", f"{image}_png_bytes"):
                doc = f"{image} as PNG files"
        outputs[name] = {"shape": list(tensor.shape), "dtype": tensor.dtype.name, "doc": doc}
    pictures = {
        f"{endpoint.name}_{form}": picture_inputs.names(endpoint, form) for form in picture_inputs.forms_of(endpoint)
    }
    return {"inputs": inputs, "outputs": outputs} | ({"pictures": pictures} if pictures else {})
