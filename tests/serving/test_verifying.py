"""What ``kgen.serving.verify`` says of an export that answers as the model does, and of one that does not."""

import shutil

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import kgen
from kgen.serving import warmup
from kgen.tools import cli


def test_an_export_that_answers_as_the_model_does(model, exported):
    report = kgen.serving.verify(exported.parent, model, batch_sizes=(5, 2))
    assert report.ok, f"\n{report}"
    names = ["sample", "encode"]
    assert [(a.signature, a.batch) for a in report] == [
        (s, n) for s in (*names, "serving_default", *(f"{n}_xla" for n in names)) for n in (2, 5)
    ]
    assert all(a.seconds > 0 and a.difference < 1e-4 for a in report)
    table = str(report).splitlines()
    assert table[0].split() == ["signature", "batch", "ms", "difference"]
    assert len(table) == 12 and all(line.endswith("ok") for line in table[1:-1])
    # Three signatures run on a stock server, and six batch sizes are warmed up of each.
    assert report.warmed_up == 18 and table[-1] == "warm-up: 18 requests answered"


def test_warm_up_requests_that_a_server_could_not_answer_are_found(model, exported, tmp_path):
    version = shutil.copytree(exported, tmp_path / "1")
    file = version / warmup.FILE
    good = file.read_bytes()
    file.write_bytes(good[:-40] + bytes([good[-40] ^ 1]) + good[-39:])
    report = kgen.serving.verify(version, model, batch_sizes=(2,), repeats=1)
    assert [a.fault for a in report if a.fault] == [
        f"{file} is damaged: record 17 has another checksum than was written with it."
    ]
    file.write_bytes(good[:-30])
    with pytest.raises(ValueError, match="record 17 has another checksum"):
        warmup.read(version)
    shutil.rmtree(version / "assets.extra")
    wrong = {name: value[:1] + 4 for name, value in warmup.read(exported)[0][1].items()}
    warmup.write(version, [warmup.read(exported)[0], ("sample", wrong)])
    report = kgen.serving.verify(version, model, batch_sizes=(2,), repeats=1)
    (fault,) = (a for a in report if a.fault)
    assert (fault.signature, fault.batch, report.warmed_up) == ("sample", 1, 1)
    assert fault.fault == "warm-up request: row 0: label: expected values in [0, 3], received 6"


def test_rows_that_are_not_marked_are_found(model, exported, monkeypatch):
    def unmarked(version, requests, xla):
        answers = ask(version, requests, xla)
        answers["sample", "spoiled"] = answers["sample", 3] if not xla else None
        if xla:
            outputs, _ = answers["sample_xla", "spoiled"]
            outputs["images"][0, 1, 1] = 0.0
        return {key: answer for key, answer in answers.items() if answer}

    ask = kgen.serving.verifying._answers
    monkeypatch.setattr(kgen.serving.verifying, "_answers", unmarked)
    report = kgen.serving.verify(exported, model, batch_sizes=(3,), repeats=1)
    assert [(a.signature, a.fault) for a in report if a.fault] == [
        ("sample", "rows out of range: row 0: not marked"),
        ("sample_xla", "rows out of range: images: expected NaN, 0 or nothing in rows out of range"),
    ]


def test_versions_that_mark_nothing_are_compared_all_the_same(model, exported, monkeypatch):
    """Those that kgen 0.1 exported refuse a request with a row out of range."""
    old = {
        name: signature._replace(outputs={k: v for k, v in signature.outputs.items() if k not in ("valid", "error")})
        for name, signature in kgen.serving.verifying.read_saved_model_signatures(exported).items()
    }
    monkeypatch.setattr(kgen.serving.verifying, "read_saved_model_signatures", lambda version: old)

    def without(version, requests, xla):
        assert not [key for key in requests if key[1] == "spoiled"]
        answers = ask(version, requests, xla)
        for outputs, _ in answers.values():
            del outputs["valid"], outputs["error"]
        return answers

    ask = kgen.serving.verifying._answers
    monkeypatch.setattr(kgen.serving.verifying, "_answers", without)
    assert kgen.serving.verify(exported, model, batch_sizes=(2,), repeats=1).ok


def test_batch_sizes_are_those_of_the_export(model, tmp_path):
    kgen.serving.export(model, tmp_path, batch_sizes=(3, 1))
    report = kgen.serving.verify(tmp_path, model, repeats=1)
    assert report.ok and {a.batch for a in report} == {1, 3} and report.warmed_up == 6


def test_another_models_weights_are_found(model, exported, tmp_path):
    other = type(model)(ema=0.5)
    report = kgen.serving.verify(exported, other, batch_sizes=(2,), repeats=1)
    assert not report.ok
    faults = {a.signature: a.fault for a in report}
    assert "images: differs by" in faults["sample"] and "images: differs by" in faults["sample_xla"]
    assert faults["encode"] == ""  # which has no weights
    assert "images: differs by" in str(report)


def test_rows_that_depend_on_each_other_are_found(tmp_path):
    mixed = Mixed((4, 4, 1), 1)
    kgen.serving.export(mixed, tmp_path)
    report = kgen.serving.verify(tmp_path, mixed, batch_sizes=(1, 4), repeats=1)
    assert any("differs by" in a.fault for a in report if a.signature == "encode")


@keras.saving.register_keras_serializable(package="kgen_tests")
class Mixed(kgen.vae.VAE):
    """Its encoder adds each row to the next: what a server must not batch."""

    def endpoints(self):
        (encode,) = (e for e in super().endpoints() if e.name == "encode")

        def mixed(**inputs):
            return {k: v + keras.ops.roll(v, 1, axis=0) for k, v in encode.function(**inputs).items()}

        return [kgen.core.Endpoint("encode", mixed, encode.inputs, encode.outputs)]


def test_the_command(model, exported, tmp_path, monkeypatch):
    shutil.copytree(exported.parent, tmp_path / "run")
    run = CliRunner().invoke
    model.save(tmp_path / "right.keras")
    arguments = ["verify", str(tmp_path / "run"), "--batch-sizes", "2"]
    done = run(cli.main, [*arguments, "--model", str(tmp_path / "right.keras")])
    assert done.exit_code == 0 and "serving_default" in done.output and "ok" in done.output
    type(model)(ema=0.5).save(tmp_path / "run" / "model.keras")
    done = run(cli.main, arguments)
    assert done.exit_code == 1 and "images: differs by" in done.output
    # What comes with kgen is named as everywhere else, the export as well as the model.
    monkeypatch.setattr(kgen.core.loading, "SHIPPED", tmp_path)
    done = run(cli.main, ["verify", "run", "--model", "run", "--batch-sizes", "2"])
    assert done.exit_code == 1 and "images: differs by" in done.output
    done = run(cli.main, ["verify", "runs"])
    assert done.exit_code == 2 and "Did you mean run?" in done.stderr


def test_wrong_arguments(model, exported, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="base: expected a folder with exported versions such as .*; there is none"
    ):
        kgen.serving.verify(tmp_path, model)
    with pytest.raises(
        FileNotFoundError, match="model.keras does not exist: pass model=, the model that .* was exported from"
    ):
        kgen.serving.verify(exported.parent)
    with pytest.raises(
        ValueError, match="model: expected the one that was exported to .*, received a Mixed, which has no sample"
    ):
        kgen.serving.verify(exported.parent, Mixed((4, 4, 1), 1))
    with pytest.raises(ValueError, match=r"batch_sizes: expected integers from 1 to 32, .*, received \[8, 33\]"):
        kgen.serving.verify(exported.parent, model, batch_sizes=[8, 33])
    with pytest.raises(ValueError, match="batch_sizes: expected an integer of at least 1, received 0"):
        kgen.serving.verify(exported.parent, model, batch_sizes=(0,))
    assert np.isinf(kgen.serving.verifying._compare("INVALID_ARGUMENT: x", {}, 1e-4)[0])
