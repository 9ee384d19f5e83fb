"""How requests reach TF Serving, and answers come back: REST and gRPC."""

import base64
import contextlib
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request

import numpy as np

from kgen.serving.capi import StatusError
from kgen.serving.protobuf import DTYPES, STRING, Signature, Tensor, read_signature

_STATUS = {  # of HTTP, as TF Serving and what stands before it give them
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    429: "UNAVAILABLE",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_NAMES = {  # of TensorFlow's dtypes in JSON; the others are those of numpy in capitals
    **{f"DT_{np.dtype(dtype).name.upper()}": code for code, dtype in DTYPES.items()},
    "DT_FLOAT": 1,
    "DT_DOUBLE": 2,
    "DT_STRING": STRING,
    "DT_HALF": 19,
}


class Rest:
    """TF Serving's REST interface, with Python's own library."""

    def __init__(self, host, model, version, timeout):
        if "://" not in host:
            host = f"http://{host}" if ":" in host else f"http://{host}:8501"
        self._url = f"{host.rstrip('/')}/v1/models/{urllib.parse.quote(model)}"
        if version is not None:
            self._url += f"/versions/{version}"
        self._timeout = timeout

    def signatures(self):
        found = self._ask("/metadata")["metadata"]["signature_def"]["signature_def"]
        return {name: _signature(parts) for name, parts in found.items() if name != "__saved_model_init_op"}

    def predict(self, signature, wanted, inputs):
        body = {"signature_name": signature, "inputs": {name: _to_json(value) for name, value in inputs.items()}}
        outputs = self._ask(":predict", json.dumps(body).encode())["outputs"]
        if len(wanted.outputs) == 1:  # whose name REST leaves out
            outputs = {next(iter(wanted.outputs)): outputs}
        return {name: _from_json(value, wanted.outputs[name].dtype) for name, value in outputs.items()}

    def close(self):
        """Each request has its own connection."""

    def _ask(self, path, body=None):
        url = self._url + path
        try:
            with urllib.request.urlopen(url, body, timeout=self._timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            with contextlib.suppress(
                ValueError, KeyError, TypeError
            ):  # what stands before the server has its own words
                text = json.loads(text)["error"]
            raise StatusError(_STATUS.get(error.code, f"HTTP {error.code}"), text) from None
        except TimeoutError:
            raise StatusError("DEADLINE_EXCEEDED", f"{url} took longer than {self._timeout:g} s.") from None
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TimeoutError):
                raise StatusError("DEADLINE_EXCEEDED", f"{url} took longer than {self._timeout:g} s.") from None
            raise StatusError("UNAVAILABLE", f"{url} does not answer ({reason}). Is the server up?") from None


class Grpc:
    """TF Serving's gRPC interface, with the messages of tensorflow-serving-api."""

    def __init__(self, host, model, version, timeout):
        try:
            import grpc
            from tensorflow_serving.apis import model_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            raise ImportError(
                'protocol: "grpc" needs tensorflow-serving-api, which is not installed: pip install tensorflow-serving-api. '
                '"rest" needs nothing.'
            ) from error
        host = host if ":" in host else f"{host}:8500"
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel, self._timeout = grpc.insecure_channel(host, unlimited), timeout
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model = model_pb2.ModelSpec(name=model)
        if version is not None:
            self._model.version.value = version

    def signatures(self):
        from tensorflow_serving.apis import get_model_metadata_pb2 as messages

        request = messages.GetModelMetadataRequest(model_spec=self._model, metadata_field=["signature_def"])
        answer, found = self._ask(self._stub.GetModelMetadata, request), messages.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return {name: read_signature(s.SerializeToString()) for name, s in found.signature_def.items() if s.inputs}

    def predict(self, signature, wanted, inputs):
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(model_spec=self._model)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        answer = self._ask(self._stub.Predict, request)
        return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}

    def close(self):
        self._channel.close()

    def _ask(self, function, request):
        import grpc

        try:
            return function(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise StatusError(error.code().name, error.details()) from None


def _signature(parts):
    """A ``SignatureDef`` in JSON as ``Signature``."""
    tensors = []
    for kind in ("inputs", "outputs"):
        tensors.append({n: Tensor(t["name"], _NAMES[t["dtype"]], _shape(t)) for n, t in parts.get(kind, {}).items()})
    defaults = {}
    for name, tensor in parts.get("defaults", {}).items():
        values, dtype = tensor.get("float_val") or tensor.get("int_val"), np.dtype(DTYPES[_NAMES[tensor["dtype"]]])
        if values:
            values = np.array(values, dtype)
        elif tensor.get("tensor_content"):
            values = np.frombuffer(base64.b64decode(tensor["tensor_content"]), dtype)
        if values is not None:
            defaults[name] = (
                np.broadcast_to(values, _shape(tensor)) if len(values) == 1 else values.reshape(_shape(tensor))
            )
    return Signature(*tensors, defaults)


def _shape(tensor):
    shape = tensor.get("tensor_shape", {})
    if shape.get("unknown_rank"):
        return None
    sizes = [int(dim["size"]) for dim in shape.get("dim", [])]  # JSON writes 64-bit integers as texts
    return tuple(None if size < 0 else size for size in sizes)


def _to_json(value):
    if value.dtype != object:
        return value.tolist()
    return [{"b64": base64.b64encode(text).decode()} for text in value]


def _from_json(value, dtype):
    if dtype != STRING:
        return np.array(value, DTYPES[dtype])
    strings = np.empty(len(value), object)
    strings[:] = [base64.b64decode(v["b64"]) if isinstance(v, dict) else v.encode() for v in value]
    return strings
