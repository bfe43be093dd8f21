"""The `models` commands: verifying folders, showing and importing artefacts."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from main import app
from models.artefact import load_artefact
from models.krnn import KRNN
from models.kronos.configuration import ModelSizes, TokenizerSizes
from models.kronos.network import Kronos
from models.kronos.tokenizer import KronosTokenizer


def run(*arguments):
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


@pytest.fixture
def state_dict(tmp_path):
    torch.manual_seed(0)
    net = KRNN(cnn_dim=8, rnn_dim=6, layout="qlib_raw")
    path = tmp_path / "krnn.pt"
    torch.save(net.state_dict(), path)
    return path, net


def golden_krnn(folder, spoil=0.0):
    """Write a folder of the golden form, made by our own network."""
    torch.manual_seed(1)
    net = KRNN(cnn_dim=8, rnn_dim=6, layout="qlib_raw").eval()
    folder.mkdir()
    x = torch.randn(4, 60)
    with torch.no_grad():
        outputs = {"y": net(x) + spoil}
    sizes = {
        name: getattr(net.configuration, name)
        for name in ("fea_dim", "cnn_dim", "cnn_kernel_size", "rnn_dim", "rnn_dups", "rnn_layers")
    }
    (folder / "config.json").write_text(json.dumps(sizes))
    save_file(dict(net.state_dict()), folder / "state_dict.safetensors")
    save_file({"x": x}, folder / "input.safetensors")
    save_file(outputs, folder / "output.safetensors")
    return folder


def test_verify_tells_right_from_wrong_and_passes_over_files(tmp_path):
    right, wrong = golden_krnn(tmp_path / "right"), golden_krnn(tmp_path / "wrong", spoil=1e-3)
    (tmp_path / "README.md").write_text("…")

    assert run("verify", right, tmp_path / "README.md").exit_code == 0
    done = run("verify", right, wrong)
    assert done.exit_code == 1
    assert "y  1.00e-03  tolerance 2e-06  OUT" in done.output
    assert "4 tensors in 2 folders; 1 of 2 folders are right" in done.output
    found = json.loads(run("verify", right, wrong, "--json").stdout)
    assert [[check["is_ok"] for check in one["checks"]] for one in found] == [[True, True], [False, False]]


def test_verify_goes_on_after_a_folder_it_cannot_read(tmp_path):
    right = golden_krnn(tmp_path / "right")
    broken = golden_krnn(tmp_path / "broken")
    (broken / "input.safetensors").write_bytes(b"nothing")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"layers": 3}')

    done = run("verify", broken, foreign, right, tmp_path / "nowhere")

    assert done.exit_code == 1  # a network's folder is among those that are wrong
    assert run("verify", foreign, right).exit_code == 2
    assert "cannot be read as safetensors" in done.output
    assert "of no known kind" in done.output
    assert "nowhere is not a folder" in done.output
    assert "1 of 4 folders are right" in done.output


@pytest.mark.parametrize("file", ["state_dict", "input", "output"])
def test_verify_finds_any_number_that_was_changed(tmp_path, file):
    folder = golden_krnn(tmp_path / "golden")
    path = folder / f"{file}.safetensors"
    tensors = load_file(path)
    name = max(tensors, key=lambda one: tensors[one].numel())
    tensors[name].view(-1)[0] += 0.5
    save_file(tensors, path)

    assert run("verify", folder).exit_code == 1


def test_verify_is_not_content_with_nothing_to_compare(tmp_path):
    folder = golden_krnn(tmp_path / "golden")
    save_file({}, folder / "output.safetensors")

    done = run("verify", folder)

    assert done.exit_code == 1
    assert "output.safetensors has no tensors; expected those that the network is held against" in done.output


def test_verify_takes_inputs_in_double_precision(tmp_path):
    folder = golden_krnn(tmp_path / "golden")
    save_file({"x": load_file(folder / "input.safetensors")["x"].double()}, folder / "input.safetensors")

    assert run("verify", folder).exit_code == 0


@pytest.mark.parametrize(("change", "message"), [
    ({"cnn_kernel_size": None}, "config.json: there is no 'cnn_kernel_size'; expected a whole number"),
    ({"cnn_kernel_size": "3"}, "cnn_kernel_size is '3'; expected a whole number"),
    ({"cnn_kernel_size": 5}, "config.json has cnn_kernel_size 5, the weights 3"),
    ({"tolerance_abs": 1e9}, "tolerance_abs is 1000000000.0; expected a number of 0 or more, at most 0.01"),
    ({"tolerance_abs": "3"}, "tolerance_abs is '3'; expected a number"),
    ({"tolerance_abs": float("nan")}, "tolerance_abs is nan; expected a number"),
])
def test_verify_says_what_is_wrong_with_a_config(tmp_path, change, message):
    folder = golden_krnn(tmp_path / "golden")
    content = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps({name: one for name, one in content.items() if one is not None}))

    done = run("verify", folder)

    assert done.exit_code == 1
    assert message in done.output.replace("\n", " ")


@pytest.mark.parametrize("name", ["encoder.cnn_encoder.conv.weight", "encoder.krnn_encoder.rnn_modules.0.weight_hh_l0"])
def test_weights_of_no_shape_are_no_traceback(tmp_path, name):
    folder = golden_krnn(tmp_path / "golden")
    tensors = load_file(folder / "state_dict.safetensors")
    save_file(tensors | {name: torch.tensor(3.0)}, folder / "state_dict.safetensors")

    done = run("verify", folder)

    assert done.exit_code == 1
    assert "does not fit together" in done.output


def test_verify_keeps_what_it_found_before_a_fault(tmp_path):
    folder = golden_krnn(tmp_path / "golden")
    outputs = load_file(folder / "output.safetensors")
    save_file({"a": torch.zeros(1), **outputs}, folder / "output.safetensors")

    done = run("verify", folder)

    assert done.exit_code == 1
    assert "a: nothing of ours has this name" in done.output
    assert "y (fused)" in done.output


def test_an_artefact_is_rebuilt_and_not_only_read(tmp_path, state_dict):
    folder = tmp_path / "artefact"
    assert run("import", "krnn", state_dict[0], "--to", folder).exit_code == 0
    assert run("verify", folder).exit_code == 0
    card = json.loads((folder / "artefact.json").read_text())

    for change, message in (
        ({"architecture": "prophet"}, "its architecture is 'prophet'; expected one of"),
        ({"architecture": "kronos"}, "there is no 'model'; expected an object"),
        ({"architecture": "tft"}, "tft: unknown hyper-parameter"),
    ):
        (folder / "artefact.json").write_text(json.dumps(card | change))
        done = run("verify", folder)
        assert done.exit_code == 1, change
        assert message in done.output.replace("\n", " ")


def test_what_could_not_be_compared_is_not_called_right(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nothing"))
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "regression_input.csv").write_text("")

    done = run("verify", tmp_path / "published", golden_krnn(tmp_path / "right"))

    assert done.exit_code == 0
    assert "2 tensors in 2 folders, 1 passed over; 1 of 2 folders are right, 1 could not be compared" in done.output


def test_a_damaged_artefact_hides_no_other_from_the_list(tmp_path, state_dict):
    for name in ("a", "b"):
        assert run("import", "krnn", state_dict[0], "--to", tmp_path / name).exit_code == 0
    (tmp_path / "a" / "model.safetensors").write_bytes(b"nothing")

    done = run("list", "--folder", tmp_path)

    assert done.exit_code == 1
    assert "model.safetensors cannot be read as safetensors" in done.output
    assert "krnn" in done.output
    assert "hash" in done.output


@pytest.mark.parametrize("spoil", [
    lambda tensors: tensors.pop("out_fc.weight"),
    lambda tensors: tensors.update({"out_fc.weight": torch.zeros(1, 3)}),
    lambda tensors: tensors.update({"foreign": torch.zeros(1)}),
], ids=["missing", "of another shape", "foreign"])  # fmt: skip
def test_verify_fails_where_weights_do_not_fit(tmp_path, spoil):
    folder = golden_krnn(tmp_path / "golden")
    path = folder / "state_dict.safetensors"
    tensors = load_file(path)
    spoil(tensors)
    save_file(tensors, path)

    assert run("verify", folder).exit_code == 1


def test_a_state_dict_of_qlib_becomes_an_artefact(tmp_path, state_dict):
    path, net = state_dict

    done = run("import", "krnn", path, "--to", tmp_path / "art")

    assert done.exit_code == 0, done.output
    artefact = load_artefact(tmp_path / "art")
    assert artefact.card.layout == "qlib_raw"
    assert artefact.card.lookback == 60
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in artefact.weights.items())
    assert run("verify", tmp_path / "art").exit_code == 0
    shown = json.loads(run("show", tmp_path / "art", "--json").stdout)
    assert shown["parameters"] == sum(p.numel() for p in net.parameters())
    assert shown["trained"] == "unknown, which counts as contaminated"
    listed = json.loads(run("list", "--folder", tmp_path, "--json").stdout)
    assert [one["hash"] for one in listed] == [artefact.hash]


def test_a_predictor_and_its_tokenizer_become_an_artefact(tmp_path):
    torch.manual_seed(0)
    sizes = ModelSizes(3, 3, 1, 16, 2, 16, 0.0, 0.0, 0.0, 0.0, True)
    of = TokenizerSizes(6, 16, 2, 16, 2, 2, 0.0, 0.0, 0.0, 3, 3, 0.05, 1.0, 1.1, 0.05, 3)
    for name, module in (("model", Kronos(sizes)), ("tok", KronosTokenizer(of))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(vars(module.sizes)))
        save_file(
            {key: value.clone() for key, value in module.state_dict().items()}, tmp_path / name / "model.safetensors"
        )
    source = ("import", "kronos", tmp_path / "model", "--to", tmp_path / "art")

    assert "name the tokenizer" in run(*source).output
    assert "so its context is not known; give max_context" in run(*source, "--tokenizer", tmp_path / "tok").output
    done = run(*source, "--tokenizer", tmp_path / "tok", "--max-context", 64)
    assert done.exit_code == 0, done.output
    assert load_artefact(tmp_path / "art").card.configuration["max_context"] == 64
    known = (*source, "--tokenizer", tmp_path / "tok", "--max-context", 64)
    assert run(*known, "--future-stamps", "XSHG").exit_code == 0
    conventions = load_artefact(tmp_path / "art").card.conventions
    assert (conventions["future_stamps"], conventions["clock"]) == ("XSHG", "Asia/Shanghai")
    assert "future_stamps 'XSGH'; expected 24/7" in run(*known, "--future-stamps", "XSGH").output
    assert "the clock 'Mars', which is no time zone" in run(*known, "--clock", "Mars").output


@pytest.mark.parametrize(
    ("content", "message"),
    [({"a": 3}, "holds something else than tensors by name"), ({"a": torch.zeros(2)}, "not the state dict of a KRNN")],
)
def test_files_that_are_no_network_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")

    done = run("import", "krnn", tmp_path / "x.pt", "--to", tmp_path / "art")

    assert done.exit_code == 2
    assert message in done.output


def test_pickles_are_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"a": Trap()}, tmp_path / "x.pt")
    done = run("import", "krnn", tmp_path / "x.pt", "--to", tmp_path / "art")

    assert done.exit_code == 2
    assert "cannot be read as tensors alone" in done.output
    assert not (tmp_path / "sprung").exists()
