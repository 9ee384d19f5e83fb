"""Packaging of kgen; the recipes, a top-level folder, are installed as ``kgen.recipes``."""

import pathlib
import re

from setuptools import find_packages, setup

here = pathlib.Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "kgen" / "__init__.py").read_text(encoding="utf-8")).group(1)

extras = {
    "jax": ["jax>=0.6", "jaxlib>=0.6"],
    "torch": ["torch>=2.6"],
    "hubs": ["huggingface_hub>=0.24", "kagglehub>=0.3"],
    "serving": ["tensorflow-serving-api>=2.19"],
    "onnx": ["tf2onnx>=1.16", "onnxruntime>=1.20"],
    "demo": ["gradio>=6,<7"],
    "test": [
        "pytest>=8",
        "pytest-xdist>=3.5",
        "pytest-timeout>=2.3",
        "hypothesis>=6",
        "ruff>=0.6",
        "tensorboard>=2",
        "playwright>=1.40",
        "gradio>=6,<7",
    ],
    "bench": [
        "diffusers>=0.30",
        "transformers>=4.50",
        "zuko>=1.0",
        "pythae>=0.1",
        "torchebm",
        "torch>=2.6",
        "prdc",
        "torch-fidelity",
    ],
}

setup(
    name="kgen",
    version=version,
    description="Generative models in Keras 3: train with fit, load pretrained recipes, export to TF Serving",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11",
    packages=[*find_packages(include=["kgen", "kgen.*"]), "kgen.recipes"],
    package_dir={"kgen.recipes": "recipes"},
    package_data={"kgen": ["tools/judge.html"], "kgen.metrics": ["classifiers/*.keras"]},
    install_requires=[
        "keras>=3.15.1",
        "tensorflow>=2.19",
        "tensorflow-probability>=0.25",
        "tf-keras>=2.19",
        "keras-cv>=0.9",
        "numpy>=1.26",
        "scikit-learn>=1.3",
        "scipy>=1.11",
        "pillow>=10.1",
        "matplotlib>=3.8",
        "click>=8.1",
        "tokenizers>=0.20",
        "safetensors>=0.4.3",
    ],
    extras_require=extras,
    entry_points={"console_scripts": ["kgen = kgen.tools.cli:main"]},
)
