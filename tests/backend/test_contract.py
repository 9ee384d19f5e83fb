"""Each backend's module has the functions of the contract, with its arguments; the contract alone documents them."""

import ast
import inspect
import pathlib

import pytest

from kgen import backend

FUNCTIONS = sorted(set(backend.__all__) - {"TrainStep", "tfp"})


def test_every_function_is_of_the_contract():
    functions = {k: v for k, v in vars(backend).items() if inspect.isfunction(v) and v.__module__ == backend.__name__}
    made = {name for name in functions if not name.startswith("_")}
    assert made == set(FUNCTIONS)


@pytest.mark.parametrize("name", ["tensorflow", "jax", "torch"])
def test_each_module_has_each_function(name):
    tree = ast.parse(pathlib.Path(backend.__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    found = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assert "TrainStep" in found
    for function in FUNCTIONS:
        arguments = found[function].args
        names = [a.arg for a in [*arguments.args, *arguments.kwonlyargs]]
        assert names == list(inspect.signature(getattr(backend, function)).parameters), function
        said = ast.get_docstring(found[function]) or ""
        assert "Args:" not in said and "Returns:" not in said, f"{function} is documented in kgen/backend/__init__.py"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_is_documented(function):
    said = inspect.getdoc(getattr(backend, function))
    assert said and (function == "gpus" or "Args:" in said or "finite" in said)
