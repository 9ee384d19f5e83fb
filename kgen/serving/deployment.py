"""The files beside an export's versions: how to start a server on them, and how to ask it."""

import hashlib
import json
import re
import urllib.parse

import numpy as np

from kgen.core.endpoints import TensorSpec
from kgen.core.saving import aside
from kgen.serving import marking
from kgen.serving.warmup import example_rows

_MARK = "Written by kgen, which rewrites it at the next export unless it was edited"
_FLAGS = ("--enable_batching", "--enable_per_model_batching_parameters", "--rest_api_timeout_in_ms=300000")
_SERVERS = {
    "stock": ("", []),
    "xla-cpu": ("", ["--xla_cpu_compilation_enabled"]),
    "xla-gpu": ("-gpu", ["--xla_gpu_compilation_enabled"]),
}


def write(base, manifest):
    """Writes ``models.config``, ``monitoring.config``, ``docker-compose.yml`` and ``SERVING.md`` beside the versions.

    A file that is there already is rewritten only where it is, to the letter, one that kgen wrote: its first line has a checksum of the rest.

    Args:
        base: the folder of versions; the model is served under its name.
        manifest: what ``kgen.serving.bundle.write`` returned for the newest version.
    Raises:
        OSError: the disk is full or not writable.
    """
    name = base.resolve().name
    files = {
        "models.config": _models_config(name),
        "monitoring.config": 'prometheus_config {\n  enable: true\n  path: "/monitoring/prometheus/metrics"\n}\n',
        "docker-compose.yml": _docker_compose(name),
        "SERVING.md": _readme(name, manifest),
    }
    for file, text in files.items():
        path = base / file
        if path.exists() and not _is_as_written(path):
            continue
        with aside(path) as temporary:
            temporary.write_text(_marked(text, path.suffix), encoding="utf-8")


def _marked(text, suffix):
    mark = f"{_MARK} ({hashlib.sha256(text.encode()).hexdigest()[:16]})."
    return f"<!-- {mark} -->\n{text}" if suffix == ".md" else f"# {mark}\n{text}"


def _is_as_written(path):
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # whatever it is, kgen did not write it
        return False
    return text == _marked(text.partition("\n")[2], path.suffix)


def _models_config(name):
    # Texts of protocol buffers and of YAML are quoted as in JSON.
    return (
        "# For the containers of docker-compose.yml, where this folder is /models/<name>. More models: more of config { }.\n"
        "model_config_list {\n  config {\n"
        f"    name: {json.dumps(name)}\n    base_path: {json.dumps(f'/models/{name}')}\n"
        '    model_platform: "tensorflow"\n  }\n}\n'
    )


def _docker_compose(name):
    folder = f"/models/{name}".replace(
        "$", "$$"
    )  # in a compose file a dollar sign starts a variable, unless it is doubled
    lines = [
        "# docker compose up stock | xla-cpu | xla-gpu. TF_SERVING_TAG chooses the server's version, such as 2.19.0.",
        "services:",
    ]
    for server, (suffix, flags) in _SERVERS.items():
        configs = [
            f"--model_config_file={folder}/models.config",
            f"--monitoring_config_file={folder}/monitoring.config",
        ]
        lines += [f"  {server}:", f'    image: "tensorflow/serving:${{TF_SERVING_TAG:-latest}}{suffix}"']
        if flags:  # "docker compose up" alone starts one server: they share their ports
            lines.append(f'    profiles: ["{server}"]')
        lines += ['    ports: ["8500:8500", "8501:8501"]', "    volumes:"]
        lines.append(f"      - {{type: bind, source: ., target: {json.dumps(folder)}, read_only: true}}")
        if suffix:
            gpu = "[{driver: nvidia, count: 1, capabilities: [gpu]}]"
            lines.append(f"    deploy: {{resources: {{reservations: {{devices: {gpu}}}}}}}")
        lines += ["    command:", *(f"      - {json.dumps(flag)}" for flag in (*configs, *_FLAGS, *flags))]
    return "\n".join(lines) + "\n"


def _readme(name, manifest):
    endpoints, sizes = manifest["endpoints"], manifest["batch_sizes"]
    example = min(endpoints, key=lambda e: _size(endpoints[e]["inputs"]))  # a request that fits a line
    request = {"signature_name": example, "inputs": _example(endpoints[example]["inputs"])}
    outputs = [name for name in endpoints[example]["outputs"] if name not in marking.DOCS]
    output = next((o for o in outputs if o.endswith("_uint8")), outputs[0])
    url = f"http://localhost:8501/v1/models/{urllib.parse.quote(name)}"
    body = json.dumps(request)
    flags = " ".join(('--monitoring_config_file="$PWD/monitoring.config"', *_FLAGS))
    rows = []
    for endpoint, parts in endpoints.items():
        given = ", ".join(f"`{n}` {_written(t)}" for n, t in parts["inputs"].items())
        answered = ", ".join(f"`{n}` {_written(t)}" for n, t in parts["outputs"].items() if n not in marking.DOCS)
        rows.append(f"| `{endpoint}` | {given} | {answered} |")
        for signature, names in parts.get("pictures", {}).items():
            files = ", ".join(f"`{new}` in place of `{name}`" for name, new in names.items())
            kind = "base64 of a PNG file" if signature.endswith("_png") else "integers from 0 to 255"
            rows.append(f"| `{signature}` | as `{endpoint}`, but {files}: {kind} | as `{endpoint}` |")
    if example == "sample" and all(n == "seed" or "default" in t for n, t in endpoints[example]["inputs"].items()):
        call = f"client.sample({sizes[-1]}, seed=0)  # what model.sample({sizes[-1]}, seed=0) gives"
    else:
        call = f"client.predict({example!r}, {', '.join(f'{k}={v!r}' for k, v in request['inputs'].items())})"
    versions, default = manifest["versions"], manifest["default"]
    rows = "\n".join(rows)
    return f"""\
# {name} behind TF Serving

A {manifest["model"]}, exported by kgen {versions["kgen"]} with TensorFlow {versions["tensorflow"]}: take a server of that version or a newer one.
The folders named by numbers are versions, of which the server takes the newest; `manifest.json` in each says what it is.
`kgen verify .` asks TensorFlow's C API, on which the server is built, for every signature and compares the answers with the model's.

## Start it, in this folder

| server | with Docker | signatures |
|---|---|---|
| stock | `docker compose up stock` | all but those that end in `_xla` |
| XLA on a CPU | `docker compose up xla-cpu` | all |
| XLA on a GPU | `docker compose up xla-gpu` | all |

Without Docker:

```bash
tensorflow_model_server --port=8500 --rest_api_port=8501 --model_name={_shell(name)} --model_base_path="$PWD" \\
  {flags}
```

and with `--xla_cpu_compilation_enabled` or `--xla_gpu_compilation_enabled` for XLA. Prometheus finds the server's figures at
`http://localhost:8501/monitoring/prometheus/metrics`.

## Ask it

```bash
curl -d {_shell(body)} \\
  {url}:predict
```

```python
import json
import urllib.request

request = {request!r}
with urllib.request.urlopen({url + ":predict"!r}, json.dumps(request).encode()) as answer:
    outputs = json.load(answer)["outputs"]
print(outputs[{output!r}])
```

```python
import kgen

client = kgen.serving.Client("localhost", {name!r})
answer = {call}
```

## What it answers to

| signature | inputs | outputs |
|---|---|---|
{rows}

`N` is the number of rows, the same in each input, from 1 to {sizes[-1]}. Each signature is there again as `<name>_xla`, compiled by XLA, but those
of `_uint8` and `_png`; `serving_default` is `{default}`.

Each signature also gives `valid` (N) bool and `error` (N) string. A row with a value out of range, NaN or infinity has `valid` false and in
`error` what was expected; its other outputs are NaN, 0 or empty. The other rows are answered as always, also those of other clients
in the same batch. (JSON as TF Serving writes it has the word NaN, which Python reads and a browser's `JSON.parse` does not.)
Wrong shapes, inputs with differing numbers of rows, and too many rows get the status INVALID_ARGUMENT. With batching, a server cannot join
requests of different shapes, and refuses them all: leave out `--enable_batching` where clients cannot be trusted to send the right ones.
"""


def _size(inputs):
    return sum(int(np.prod([n or 1 for n in tensor["shape"]])) for tensor in inputs.values())


def _example(inputs):
    """One row of each input, as JSON has it; the first row of ``sample(n, seed=0)`` where there is a seed."""
    found = {}
    for name, tensor in inputs.items():
        spec = TensorSpec(tensor["shape"][1:], *(tensor.get(k) for k in ("dtype", "doc", "low", "high")))
        given = tensor.get("default") if spec.dtype.startswith("float") else None
        found[name] = (example_rows(spec, name, 1) if given is None else np.full((1, *spec.shape), given)).tolist()
    return found


def _written(tensor):
    shape = ", ".join("N" if n is None else str(n) for n in tensor["shape"])
    low, high = tensor.get("low", "-inf"), tensor.get("high", "inf")
    ends = "" if (low, high) == ("-inf", "inf") else f" in [{low}, {high}]"
    doc = f": {tensor['doc']}" if tensor["doc"] else ""
    doc += f", {tensor['unit']}" if tensor.get("unit") else ""
    if tensor.get("choices"):
        doc += " (" + ", ".join(f"{i} {name}" for i, name in enumerate(tensor["choices"])) + ")"
    return re.sub(r"\s+", " ", f"({shape}) {tensor['dtype']}{ends}{doc}").replace("|", "\\|")


def _shell(text):
    return "'" + text.replace("'", "'\\''") + "'"
