"""The model card of a preset: README.md, with the fields that model hubs read."""

import json


def _head(metadata):
    # JSON's strings are YAML's too: nothing that is given can end the header.
    head = ["library_name: keras", "tags: [kgen]"]
    return ["---", *head, *([f"license: {json.dumps(metadata['license'])}"] if metadata["license"] else []), "---", ""]


def described(description, metadata):
    """A card of a text of its own."""
    return "\n".join([*_head(metadata), description.strip()]) + "\n"


def asked(model):
    """What samples of a model are conditioned on, as its conditions describe themselves: lines of Markdown, [] where it is nothing."""
    lines = ["Samples are conditioned on:", ""] if len(model.conditions) else []
    for condition in model.conditions:
        spec = next(iter(condition.specs().values()))
        says = [spec.choices and "one of " + ", ".join(spec.choices), spec.unit]
        if not spec.choices and condition.kind != "image" and (spec.low, spec.high) != (None, None):
            high = spec.high - 1 if condition.kind == "label" and condition.optional else spec.high
            says.append(f"in [{'-inf' if spec.low is None else spec.low}, {'inf' if high is None else high}]")
        says.append("may be left out" if condition.optional else None)
        doc = spec.doc.split(";")[0]
        lines.append(f"- `{condition.keyword}` ({condition.kind}): {', '.join([doc, *filter(None, says)])}")
    return [*lines, ""] if lines else []


def text(name, model, metadata):
    """The card of a preset called ``name``."""
    first_line = (type(model).__doc__ or "").strip().split("\n")[0]
    lines = [*_head(metadata), f"# {name}", "", f"`{type(model).__name__}`: {first_line}", ""]
    lines += ["```python", "import kgen", "", f'model = kgen.from_preset("{name}")', "```", ""]
    lines += asked(model)
    if metadata["figures"]:
        lines += ["| figure | value | unit |", "|---|---|---|"]
        for figure, value in metadata["figures"].items():
            value = value if isinstance(value, dict) else {"value": value}
            lines.append(f"| {figure.replace('_', ' ')} | {_number(value.get('value'))} | {value.get('unit', '')} |")
        lines.append("")
    versions = ", ".join(f"{k} {v}" for k, v in metadata["versions"].items())
    lines += [
        f"- weights: {model.count_params():,} numbers",
        f"- data: {metadata['data'] or 'not said'}",
        f"- license: {metadata['license'] or 'not said'}",
        f"- written by: {versions}, on {metadata['backend']}; loads on each backend that has the model",
    ]
    return "\n".join(lines) + "\n"


def _number(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
