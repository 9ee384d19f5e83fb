"""Presets as strangers might make them: each is a whole one in which one thing was changed, and its hashes made to fit again."""

import hashlib
import json
import os
import pathlib
import pickle
import struct

import h5py
import keras
import numpy as np
from keras import layers

import kgen


def networks():
    """A small VAE of plain Keras layers, whose configuration names each of them."""
    encoder = keras.Sequential(
        [keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(8, activation="relu"), layers.Dense(4)], name="encoder"
    )
    inputs = keras.Input((2,))
    outputs = layers.Reshape((4, 4, 1))(layers.Dense(16)(keras.ops.sin(inputs)))
    return encoder, keras.Model(inputs, outputs, name="decoder")


def vae():
    encoder, decoder = networks()
    return kgen.vae.VAE((4, 4, 1), 2, encoder=encoder, decoder=decoder, ema=0.9)


def ddpm():
    network = kgen.networks.UNet((8, 8, 1), channels=(8,), blocks=1, attention=(True,))
    return kgen.diffusion.DDPM((8, 8, 1), network=network, ema=None)


def point_network():
    x, t = keras.Input((2,)), keras.Input(())
    return keras.Model([x, t], layers.Dense(2)(layers.Concatenate()([x, layers.Reshape((1,))(t)])))


def gpt():
    tokenizer = kgen.autoregressive.BPETokenizer.train("to be or not to be", 260, specials=["<end>"])
    return kgen.autoregressive.GPT(tokenizer=tokenizer, context=8, layers=1, heads=1, width=8)


def seal(folder):
    """Writes the hashes of what is there now into metadata.json: an attacker would."""
    path = folder / "metadata.json"
    metadata = json.loads(path.read_text())
    for name in metadata["files"]:
        if (folder / name).is_file():
            metadata["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(metadata))


# Changes of config.json.


def config(change):
    def apply(folder):
        path = folder / "config.json"
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))
        seal(folder)

    return apply


def text(make):
    """Another text in place of config.json."""

    def apply(folder):
        path = folder / "config.json"
        path.write_bytes(make(path.read_text()))
        seal(folder)

    return apply


def second_layer(new):
    """Another object in place of the encoder's second layer."""

    def change(value):
        value["config"]["encoder"]["config"]["layers"][1] = new

    return config(change)


def keras_object(module, class_name, config=None, **more):
    return {"module": module, "class_name": class_name, "config": config or {}, "registered_name": None, **more}


def setting(*keys, to):
    """Another value at a place of the configuration."""

    def change(value):
        for key in keys[:-1]:
            value = value[key]
        value[keys[-1]] = to

    return config(change)


def dense(**settings):
    def change(value):
        value["config"]["encoder"]["config"]["layers"][2]["config"].update(settings)

    return config(change)


BYTECODE = {"class_name": "__lambda__", "config": {"value": "4wEAAAA=\n", "defaults": None, "closure": None}}
CODE = {
    # What runs code, in the ways of CVE-2024-3660, CVE-2025-1550, -8747, -9905, -9906, CVE-2026-1462 and -12481.
    "a lambda's bytecode": second_layer(keras_object("keras.layers", "Lambda", {"function": BYTECODE})),
    "a bare lambda": dense(activation=BYTECODE),
    "a function by its path": dense(activation=keras_object("os", "function", "system")),
    "a function of Keras": dense(activation=keras_object("keras.utils", "function", "get_file")),
    "a lambda that calls Keras": second_layer(
        keras_object(
            "keras.layers",
            "Lambda",
            {"function": keras_object("keras.config", "function", "enable_unsafe_deserialization")},
        )
    ),
    "a class by its path": second_layer(keras_object("subprocess", "Popen", {"args": ["touch", "/tmp/owned"]})),
    "a class of Keras's inside": second_layer(keras_object("keras.src.saving.saving_lib", "H5IOStore", {"path": "/"})),
    "a SavedModel": second_layer(keras_object("keras.layers", "TFSMLayer", {"filepath": "/tmp/model"})),
    "a pickled module": second_layer(keras_object("keras.layers", "TorchModuleWrapper", {"module": "gASVAA=="})),
    "a model of another package": second_layer(keras_object("keras_hub.models", "Backbone")),
    "the old format": second_layer({"class_name": "Lambda", "config": {"function": "x"}}),
    "a built-in by another's name": second_layer(
        keras_object("keras.layers", "Dense", {"units": 8}) | {"registered_name": "kgen>VAE"}
    ),
    "a module of kgen that is no room": second_layer(
        keras_object("kgen.recipes.ddpm_digits", "Main") | {"registered_name": "kgen>Main"}
    ),
    "a module that is not there": second_layer(
        keras_object("kgen.vae.nothing", "VAE") | {"registered_name": "kgen>VAE"}
    ),
    "a compiled model": config(lambda value: value.update(compile_config={"optimizer": "adam"})),
    "a tensor specification": dense(activation={"class_name": "__typespec__", "config": [1], "spec_name": "x"}),
    "an array": dense(activation={"class_name": "__numpy__", "config": {"value": [1.0] * 10, "dtype": "float32"}}),
    # What reads files: CVE-2025-12058.
    "a vocabulary file": second_layer(keras_object("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"})),
    "a layer as the model": text(lambda t: json.dumps(keras_object("keras.layers", "Dense", {"units": 1})).encode()),
}
ASKING = {
    # What asks for memory or time: CVE-2026-0897 and others.
    "10^12 units": dense(units=10**12),
    "2^20 units": dense(units=2**20),
    "more units": dense(units=9),
    "units that are no number": dense(units="8"),
    "a giant image": setting("config", "shape", to=[2**20, 2**20, 1]),
    "a number of 10^5 digits": text(lambda t: t.replace('"ema": 0.9', f'"ema": {"9" * 10**5}').encode()),
    "infinity": text(lambda t: t.replace('"ema": 0.9', '"ema": 1e999').encode()),
    "not a number": text(lambda t: t.replace('"ema": 0.9', '"ema": NaN').encode()),
    "a key twice": text(lambda t: t.replace('"ema": 0.9', '"ema": 0.9, "ema": 0.5').encode()),
    "depth": text(lambda t: b'{"a":' * 10**6 + b"1" + b"}" * 10**6),
    "depth that JSON can read": setting("config", "beta", to=json.loads("[" * 100 + "]" * 100)),
    "breadth": text(lambda t: b'{"class_name": "VAE", "a": [' + b"[]," * (2 * 10**6) + b"0]}"),
    "a large text": text(lambda t: b" " * (2**23 + 1)),
    "no text": text(lambda t: b"\xff\xfe"),
    "nothing": text(lambda t: b""),
    "a list": text(lambda t: b"[]"),
    "an unknown setting": setting("config", "surprise", to=1),
    "a graph without its layers": setting("config", "decoder", "config", "layers", to=[]),
    "a name that is a path": setting("config", "encoder", "config", "name", to="../../x"),
}

# Changes of the weights.


def weights(change):
    def apply(folder):
        path = folder / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))
        seal(folder)

    return apply


def header(change):
    def apply(content):
        size = struct.unpack("<Q", content[:8])[0]
        value = json.loads(content[8 : 8 + size])
        change(value)
        new = json.dumps(value).encode()
        return struct.pack("<Q", len(new)) + new + content[8 + size :]

    return weights(apply)


def first(**settings):
    def change(value):
        value[min(k for k in value if k != "__metadata__")].update(settings)

    return header(change)


def renamed(value):
    name = min(value)
    value["other"] = value.pop(name)


def shared(value):
    """Two tensors of one size in the same bytes."""
    kernels = [k for k in value if value[k].get("shape") == [16, 8]]
    value[kernels[0]]["data_offsets"] = value[kernels[1]]["data_offsets"]


def missing(value):
    # What is left must still fill the file: the last tensor takes the first one's bytes' place.
    name = max(value, key=lambda k: value[k]["data_offsets"][1])
    value[name] = {
        "dtype": "U8",
        "shape": [np.diff(value[name]["data_offsets"]).item()],
        "data_offsets": value[name]["data_offsets"],
    }


def hdf5(content):
    """An HDF5 file with every way in which one may point elsewhere (CVE-2026-1669)."""
    import io

    file = io.BytesIO()
    with h5py.File(file, "w") as f:
        f["external"] = h5py.ExternalLink("/etc/passwd", "/")
        f["soft"] = h5py.SoftLink("/external")
        f.create_dataset("bomb", shape=(10**9,), dtype="f4", chunks=(10**6,), compression="gzip")
    return file.getvalue()


WEIGHTS = {
    "a header longer than the file": weights(lambda c: struct.pack("<Q", 2**20) + c[8:]),
    "a header of 2^63 bytes": weights(lambda c: struct.pack("<Q", 2**63) + c[8:]),
    "a tensor of 2^60 numbers": first(shape=[2**30, 2**30]),
    "a tensor that overflows": first(shape=[2**62, 2**62]),
    "a negative size": first(shape=[-1, -16]),
    "bytes outside of the file": first(data_offsets=[0, 2**40]),
    "bytes twice": header(shared),
    "another kind of number": first(dtype="F64"),
    "a kind of number that is none": first(dtype="OBJECT"),
    "a name that is another": header(renamed),
    "a tensor of another shape": header(missing),
    "half of it": weights(lambda c: c[: len(c) // 2]),
    "more after its end": weights(lambda c: c + b"more"),
    "no bytes": weights(lambda c: b""),
    "no header": weights(lambda c: struct.pack("<Q", 2) + b"[]"),
    "an HDF5 file": weights(hdf5),
    "a pickle": weights(lambda c: pickle.dumps(pathlib.Path("x"))),
}

# Changes of the folder and of metadata.json.


def metadata(change):
    def apply(folder):
        path = folder / "metadata.json"
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return apply


def extra(name, content=b"x"):
    return lambda folder: (folder / name).write_bytes(content)


def link(name, target):
    def apply(folder):
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return apply


def moved_out(folder):
    outside = folder.parent / "outside.json"
    (folder / "config.json").rename(outside)
    (folder / "config.json").symlink_to(outside)


def instead(name, make):
    def apply(folder):
        (folder / name).unlink()
        make(folder / name)

    return apply


def grown(folder):
    with open(folder / "README.md", "r+b") as f:
        f.truncate(2**40)


def one_bit(name):
    def apply(folder):
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return apply


FOLDER = {
    "code beside it": extra("payload.py", b"raise SystemExit"),
    "a hidden file": extra(".hidden"),
    "Keras's weights": extra("model.weights.h5", hdf5(b"")),
    "a pickle beside it": extra("data.pkl", pickle.dumps(1)),
    "a folder in it": lambda folder: (folder / "assets").mkdir(),
    "a link to a secret": link("model.safetensors", "/etc/passwd"),
    "a link to nothing": link("README.md", "nowhere"),
    "a link out of it": moved_out,
    "a pipe": instead("config.json", os.mkfifo),
    "a folder as a file": instead("README.md", os.mkdir),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no configuration": lambda folder: (folder / "config.json").unlink(),
    "a file of a terabyte": grown,
    "a bit in the configuration": one_bit("config.json"),
    "a bit in the weights": one_bit("model.safetensors"),
    "a bit in the card": one_bit("README.md"),
    "a path that leaves": metadata(lambda m: m["files"].update({"../../etc/passwd": "0" * 64})),
    "a hash that is missing": metadata(lambda m: m["files"].pop("config.json")),
    "a hash that is none": metadata(lambda m: m["files"].update({"config.json": None})),
    "no hashes": metadata(lambda m: m.update(files=[])),
    "no versions": metadata(lambda m: m.pop("versions")),
    "another version": metadata(lambda m: m["versions"].update(kgen="99.0.0")),
    "a version that is none": metadata(lambda m: m["versions"].update(kgen=[])),
    "another format": metadata(lambda m: m.update(format=3)),
    "a field that is none of them": metadata(lambda m: m.update(code="import os")),
    "metadata that is none": lambda folder: (folder / "metadata.json").write_bytes(b"\x80\x04."),
}

ATTACKS = {**CODE, **ASKING, **WEIGHTS, **FOLDER}
assert len(ATTACKS) == len(CODE) + len(ASKING) + len(WEIGHTS) + len(FOLDER)
