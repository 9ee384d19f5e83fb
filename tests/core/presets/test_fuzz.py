"""Whatever bytes stand in a preset's files, it loads or is refused: by one of the exceptions that are promised, with no crash, no hang."""

import contextlib
import json
import shutil

import pytest
from core.presets import corpus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kgen

FEW = settings(max_examples=60, deadline=20_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
MODELS = {"vae": corpus.vae, "gpt": corpus.gpt}


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) / "p" for name in MODELS}
    for name, folder in folders.items():
        MODELS[name]().save_to_preset(folder)
    return folders


def loads_or_is_refused(whole, tmp_path, change):
    folder = tmp_path / "p"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    change(folder)
    with contextlib.suppress(ValueError, NotImplementedError):
        assert isinstance(kgen.from_preset(folder), kgen.GenerativeModel)


# A piece of the file (where it starts, as a share of its length, and how long it is) gives way to other bytes.
MUTATION = st.tuples(
    st.floats(0, 1),
    st.integers(0, 40),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [b"null", b"-1", b"1e308", b"[]", b"{}", b'"', b"}", b"\x00" * 8, b"\xff" * 8, b"9" * 30, b"true", b'""']
        ),
    ),
)


def mutated(content, mutations):
    for share, length, new in mutations:
        start = int(share * len(content))
        content = content[:start] + new + content[start + length :]
    return content


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "metadata.json", "README.md"])
@given(model=st.sampled_from(sorted(MODELS)), mutations=st.lists(MUTATION, min_size=1, max_size=4))
@FEW
def test_other_bytes(name, wholes, tmp_path, model, mutations):
    def change(folder):
        (folder / name).write_bytes(mutated((folder / name).read_bytes(), mutations))
        if name != "metadata.json":
            corpus.seal(folder)

    loads_or_is_refused(wholes[model], tmp_path, change)


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**21), 2**21),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["relu", "float16", "keras.layers", "kgen.vae.vae", "__lambda__", "Dense", "zeros"]),
    ),
    lambda children: st.one_of(
        st.lists(children, max_size=3),
        st.dictionaries(
            st.sampled_from(["class_name", "module", "config", "registered_name", "name"]), children, max_size=4
        ),
    ),
    max_leaves=8,
)


def places(value, found, keys=()):
    """The places of all values in a JSON value."""
    found.append(keys)
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        places(child, found, (*keys, key))
    return found


def replaced(value, where, new):
    """A JSON value in which one place, chosen by a share of their number, holds another value."""
    chosen = places(value, [])[1:]
    keys = chosen[int(where * (len(chosen) - 1))]
    inner = value
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = new
    return value


@pytest.mark.parametrize("name", ["config.json", "metadata.json"])
@given(model=st.sampled_from(sorted(MODELS)), where=st.floats(0, 1), new=JSON)
@FEW
def test_another_value_in_whole_json(name, wholes, tmp_path, model, where, new):
    def change(folder):
        value = replaced(json.loads((folder / name).read_text()), where, new)
        (folder / name).write_text(json.dumps(value))
        if name != "metadata.json":
            corpus.seal(folder)

    loads_or_is_refused(wholes[model], tmp_path, change)


@given(where=st.floats(0, 1), new=JSON)
@FEW
def test_another_tokenizer(wholes, tmp_path, where, new):
    """The tokenizer's definition, a JSON text of its own, is read by another library."""

    def change(value):
        definition = replaced(json.loads(value["config"]["tokenizer"]["config"]["definition"]), where, new)
        value["config"]["tokenizer"]["config"]["definition"] = json.dumps(definition)

    loads_or_is_refused(wholes["gpt"], tmp_path, corpus.config(change))
