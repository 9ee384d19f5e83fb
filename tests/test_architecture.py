"""Who imports whom: read from the sources, so that a shortcut is seen before it is needed."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent / "kgen"
FRAMEWORKS = {"tensorflow", "jax", "torch", "tensorflow_probability"}
FAMILIES = {"gan", "vae", "diffusion", "autoregressive", "flow", "energy"}
# What each room may import. ``metrics``, ``callbacks``, ``serving`` and ``data`` know no family by name.
FOUNDATION = {"backend", "core"}
PARTS = FOUNDATION | {"numerics", "distributions", "layers", "text"}
MAY_IMPORT = {
    "backend": set(),
    "core": {"backend"},
    "numerics": FOUNDATION,
    "distributions": FOUNDATION | {"numerics"},
    "layers": FOUNDATION | {"numerics", "distributions"},
    "text": FOUNDATION,
    "networks": PARTS,
    **dict.fromkeys(FAMILIES, PARTS | {"networks"}),
    "hybrid": PARTS | {"networks"} | FAMILIES,
    **dict.fromkeys(("metrics", "callbacks", "serving", "data"), PARTS | {"networks"}),
    "apply": FOUNDATION | {"metrics"},
    "interop": FOUNDATION,
    "tools": FOUNDATION | {"metrics", "data", "serving", "interop"},  # it asks the models, and knows no family
}
# What a room may name inside its functions alone: weights of others are made into kgen's classes when they are loaded.
INSIDE_A_FUNCTION = {"interop": {"networks"} | FAMILIES}
# Stated in the design: TensorFlow is what serving is about, and one module wraps KerasCV's TensorFlow networks.
FRAMEWORK_INSIDE_A_FUNCTION = {"serving": {"tensorflow"}, "hybrid": {"tensorflow"}}
# A run offers to export itself: the one name that the core reads from a room above it, when it is called.
CORE_READS = {("core/run.py", "serving")}


def sources():
    return [pytest.param(path, id=path.relative_to(ROOT).as_posix()) for path in sorted(ROOT.rglob("*.py"))]


def room_of(path):
    return path.relative_to(ROOT).parts[0]


def imports(path):
    """Pairs (module, whether inside of a function); names read from the lazy package, ``kgen.room``, count too."""
    found = []

    def visit(node, inside):
        if isinstance(node, ast.Import):
            found.extend((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            if node.level:
                parents = ("kgen", *path.relative_to(ROOT).parts)[: -node.level]
                package = ".".join([*parents, *filter(None, [node.module])])
            found.append((package, inside))
            found.extend((f"{package}.{alias.name}", inside) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "kgen":
            found.append((f"kgen.{node.attr}", inside))
        inside = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(path.read_text(encoding="utf-8")), False)
    return found


def rooms(path):
    """The rooms of kgen that a file imports, but for those that it may name where it does."""
    late = INSIDE_A_FUNCTION.get(room_of(path), set())
    names = (name.split(".") for name, inside in imports(path) if not (inside and set(name.split(".")[1:2]) & late))
    return {parts[1] for parts in names if parts[0] == "kgen" and len(parts) > 1 and parts[1] in MAY_IMPORT}


@pytest.mark.parametrize("path", sources())
def test_frameworks_are_imported_in_the_backend_alone(path):
    allowed = FRAMEWORK_INSIDE_A_FUNCTION.get(room_of(path), set())
    for name, inside in imports(path):
        framework = name.split(".")[0]
        if framework in FRAMEWORKS and room_of(path) != "backend":
            assert inside and framework in allowed, f"{path} imports {name}"


@pytest.mark.parametrize("path", sources())
def test_a_room_imports_only_what_it_stands_on(path):
    room = room_of(path)
    if room in MAY_IMPORT:
        above = rooms(path) - MAY_IMPORT[room] - {room}
        above = {r for r in above if (path.relative_to(ROOT).as_posix(), r) not in CORE_READS}
        assert not above, f"{path} imports kgen.{', kgen.'.join(sorted(above))}"


def test_every_room_has_its_place():
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and list(p.glob("*.py"))}
    assert folders <= set(MAY_IMPORT), f"Say in MAY_IMPORT what these may import: {sorted(folders - set(MAY_IMPORT))}"


def test_this_test_sees_what_it_forbids(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "vae" / "bad.py"
    path.parent.mkdir()
    path.write_text(
        "import kgen\nfrom kgen import gan\nfrom ..flow import x\nfrom .own import y\n"
        "def f():\n    import torch.nn\n    from kgen.energy import z\n    return kgen.diffusion.DDPM\n"
    )
    assert rooms(path) == {"gan", "flow", "energy", "diffusion", "vae"}
    assert ("torch.nn", True) in imports(path)
    late = tmp_path / "interop" / "late.py"
    late.parent.mkdir()
    late.write_text(
        "from kgen.diffusion import x\ndef f():\n    from kgen.networks import y\n    from kgen.hybrid import z\n"
    )
    assert rooms(late) == {"diffusion", "hybrid"}
    with pytest.raises(AssertionError, match=r"imports torch\.nn"):
        test_frameworks_are_imported_in_the_backend_alone(path)
    with pytest.raises(AssertionError, match=r"imports kgen\.diffusion, kgen\.energy, kgen\.flow, kgen\.gan"):
        test_a_room_imports_only_what_it_stands_on(path)


def test_importing_kgen_loads_no_framework():
    script = (
        "import sys, kgen; kgen.__version__; dir(kgen);"
        "print([m for m in ('keras', 'tensorflow', 'jax', 'torch', 'tensorflow_probability') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_a_name_that_is_not_there_is_answered_with_those_that_are():
    import kgen

    with pytest.raises(AttributeError, match=r"module 'kgen' has no attribute 'vea'. It has: .*vae"):
        _ = kgen.vea
