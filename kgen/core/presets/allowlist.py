"""What a preset's configuration may name: data that builds layers, never code.

``config.json`` is read here, and each class in it is looked up in the list below, before Keras sees any of it. What is not on the list
is refused: ``Lambda`` and functions (code), layers that read files or wrap another framework's module, Keras's old formats, which it
reads by other rules, and modules outside of kgen and Keras.
"""

import importlib
import importlib.util
import json
import math
import re

import keras

# Bounds of what a configuration may ask for. Weights are bounded by the file that holds them; see ``building``.
LARGEST_INTEGER = 2**20  # units, steps, tokens ...
LARGEST_EXAMPLE = 2**22  # values in one example: 1024 x 1024 x 3 and more
DEEPEST = 64
MOST_VALUES = 200_000

ROOMS = (
    "autoregressive",
    "diffusion",
    "energy",
    "flow",
    "gan",
    "hybrid",
    "layers",
    "networks",
    "numerics",
    "text",
    "vae",
)
KGEN_MODULE = re.compile(rf"kgen\.(({'|'.join(ROOMS)})(\.[a-z_0-9]+)+|core\.conditions(\.[a-z_]+)?)")

# Modules that held classes in kgen 0.1, which its files name.
GONE = {
    "kgen.autoregressive.tokenizers",
    "kgen.energy.objectives",
    "kgen.energy.samplers",
    "kgen.flow.presets",
    "kgen.layers.causal",
}

# Keras's own, by module. What computes from its inputs alone is here; what reads a file, runs a function or prepares data is not.
KERAS = {
    "keras": "DTypePolicy Sequential",
    "keras.src.models.functional": "Functional",
    "keras.layers": """
        Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D AveragePooling2D
        AveragePooling3D BatchNormalization Bidirectional Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D
        Conv3DTranspose Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Dot Dropout ELU EinsumDense Embedding
        Flatten GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
        GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupQueryAttention Identity InputLayer LSTM
        LSTMCell LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention
        Multiply Normalization PReLU Permute RMSNormalization RNN ReLU RepeatVector Rescaling Reshape SeparableConv1D SeparableConv2D
        SimpleRNN SimpleRNNCell Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells
        Subtract TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """,
    "keras.src.ops.numpy": """
        Abs Absolute Add Arctan Arctan2 Clip Concatenate Cos Cosh Divide Einsum Exp ExpandDims Expm1 Flip Floor GetItem Log Log1p
        Matmul Max Maximum Mean Min Minimum Moveaxis Multiply Negative Power Prod Reciprocal Reshape Sign Sin Sinh Sqrt Square Squeeze
        Stack Std Subtract Sum Swapaxes Tan Tanh Transpose TrueDivide Var
    """,
    "keras.src.ops.nn": """
        Celu DepthToSpace Elu Gelu Glu HardSigmoid HardSilu HardTanh LeakyRelu LogSigmoid LogSoftmax Normalize Relu Relu6 Selu Sigmoid
        Silu Softmax Softplus Softsign SpaceToDepth
    """,
    "keras.initializers": """
        Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal LecunUniform Ones Orthogonal
        OrthogonalInitializer RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
    """,
    "keras.regularizers": "L1 L1L2 L2 OrthogonalRegularizer",
    "keras.constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm",
    "keras.optimizers.schedules": """
        CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay PolynomialDecay
    """,
}
KERAS = {module: frozenset(names.split()) for module, names in KERAS.items()}
PLAIN = {  # what Keras writes for values that JSON lacks
    "__keras_tensor__": {"shape", "dtype", "keras_history"},
    "__slice__": {"start", "stop", "step"},
    "__ellipsis__": set(),
}
OBJECT_KEYS = {
    "module",
    "class_name",
    "config",
    "registered_name",
    "build_config",
    "name",
    "inbound_nodes",
    "shared_object_id",
}


def parse(text, where):
    """JSON text, as bytes, to a dict, by the strict rules: no value twice, no NaN, not too deep.

    Raises:
        ValueError: it is not such a text.
    """

    def once(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands twice in one object")
        return found

    def no_constant(name):
        raise ValueError(f"{name} is not a number of JSON")

    if text.count(b"[") + text.count(b"{") > MOST_VALUES:  # lists and objects take far more memory than their text
        raise ValueError(f"{where}: expected at most {MOST_VALUES} lists and objects, received more.")
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=once, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: expected JSON, received what fails: {error or 'too deep'}.") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a JSON object, received {type(value).__name__}.")
    return value


def check(config, where):
    """Checks a model's configuration, value by value, before anything is made from it.

    Args:
        config: what ``parse`` gave.
        where: the file, for the errors.
    Returns:
        the model's class.
    Raises:
        ValueError: a class is not allowed, or a value is not within the bounds.
    """
    visit = _Visit(where)
    if "class_name" not in config:
        raise ValueError(f"{where}: expected a model's configuration, received keys {_shown(sorted(config))}.")
    visit.value(config, "", 0)
    return resolve(config, where)


class _Visit:
    def __init__(self, where):
        self.where, self.count = where, 0

    def refuse(self, path, message):
        raise ValueError(f"{self.where}: {path.lstrip('.') or 'the model'}: {message}.")

    def value(self, value, path, depth):
        self.count += 1
        if self.count > MOST_VALUES or depth > DEEPEST:
            self.refuse(path, f"expected at most {MOST_VALUES} values, {DEEPEST} deep, received more")
        if isinstance(value, dict):
            if "class_name" in value:
                self.object(value, path)
            for key, child in value.items():
                self.value(child, f"{path}.{key[:80]}", depth + 1)
        elif isinstance(value, list):
            if path.endswith("shape"):
                self.shape(value, path)
            for i, child in enumerate(value):
                self.value(child, f"{path}[{i}]", depth + 1)
        elif isinstance(value, float) and not math.isfinite(value):
            self.refuse(path, f"expected a finite number, received {value}")
        elif isinstance(value, int) and abs(value) > (2**64 if path.endswith("seed") else LARGEST_INTEGER):
            self.refuse(path, f"expected an integer of at most {LARGEST_INTEGER}, received {_shown(value)}")

    def shape(self, value, path):
        sizes = [v for v in value if isinstance(v, int) and v > 0]
        if math.prod(sizes) > LARGEST_EXAMPLE:
            self.refuse(
                path, f"expected at most {LARGEST_EXAMPLE} values in one example, received shape {_shown(value)}"
            )

    def object(self, value, path):
        name, inner = value["class_name"], value.get("config")
        if isinstance(name, str) and name in PLAIN:
            if set(value) - OBJECT_KEYS or not isinstance(inner, dict) or set(inner) != PLAIN[name]:
                self.refuse(path, f"expected {name} with {sorted(PLAIN[name])}, received {_shown(value)}")
            return
        unknown = set(value) - OBJECT_KEYS
        if unknown:
            self.refuse(path, f"expected an object of {sorted(OBJECT_KEYS)}, received {_shown(sorted(unknown))} too")
        if not isinstance(inner, dict):
            self.refuse(path, f"expected the configuration of {_shown(name)} as an object, received {_shown(inner)}")
        resolve(value, f"{self.where}: {path.lstrip('.')}" if path else self.where)


def resolve(value, where):
    """The class that an object's configuration names; for Keras's own, None.

    Raises:
        ValueError: it is not on the list.
    """
    name, module, registered = (value.get(k) for k in ("class_name", "module", "registered_name"))
    if not isinstance(name, str) or not isinstance(module, str) or not isinstance(registered, (str, type(None))):
        _refuse(where, value, "a class needs a name and a module")
    if module in KERAS:
        # Keras looks for a registered name first: only what it writes itself gets past this.
        if name not in KERAS[module] or registered not in (None, name):
            _refuse(where, value, "it is not one of the Keras classes that a preset may name")
        return None
    if KGEN_MODULE.fullmatch(module) and registered == f"kgen>{name}":
        import_kgen(module)
        found = keras.saving.get_registered_object(registered)
        # Its module may be another than when the file was written, but it names one that is there, or was.
        known = module in GONE or importlib.util.find_spec(module) is not None
        if known and isinstance(found, type) and KGEN_MODULE.fullmatch(found.__module__):
            return found
    elif registered is not None and not registered.startswith("kgen>"):
        found = keras.saving.get_registered_object(registered)
        if isinstance(found, type):  # registered by the program that runs: its author's own code
            return found
    _refuse(where, value, "it is neither kgen's nor registered in this program")


def import_kgen(module):
    """Imports the room of one of kgen's modules that hold classes, which registers all of them; any other name is left alone.

    The module itself may have been moved within its room, or out of it, since a file was written.
    """
    if KGEN_MODULE.fullmatch(module):
        parts = module.split(".")
        importlib.import_module(".".join(parts[: 3 if parts[1] == "core" else 2]))
    elif module == "kgen.core.optimizers":
        importlib.import_module(module)


def _refuse(where, value, why):
    shown = ", ".join(f"{k}={_shown(value.get(k))}" for k in ("module", "class_name", "registered_name"))
    raise ValueError(
        f"{where}: refused {shown}: {why}. A preset holds kgen's classes, Keras's layers, and classes that your own program has "
        "registered by @keras.saving.register_keras_serializable()."
    )


def _shown(value):
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**50 else "a number of more than 50 digits"
    return text if len(text) <= 120 else text[:117] + "..."
