"""The network that edits, as tiny pipelines of diffusers in folders: what is loaded, what is refused, and edits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from model.command import edit_photo
from model.editor import EditModelError, Editor
from model.edits import LONGEST, EditFault, EditRequest, parse_edit
from model.errors import EditRefused, EditTextTooLong, EditTooSlow, OutOfMemory
from tests.conftest import PHOTOS
from tests.support.editors import Kind, write_editor
from tests.support.processes import imported

STEPS = 3


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_editor(tmp_path_factory.mktemp("editors") / "model")


@pytest.fixture
def photo() -> Image.Image:
    return Image.open(PHOTOS / "cat.jpg").convert("RGB")


def ignore(share: float) -> None:
    pass


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image-to-image", "instruct", "text-to-image"])
def test_words_seed_and_strength_make_the_picture(tmp_path: Path, photo: Image.Image, kind: Kind) -> None:
    editor = Editor.load(write_editor(tmp_path / "model", kind), "cpu", steps=STEPS)
    shares: list[float] = []

    def edit(text: str = "winter", strength: float = 0.6, seed: int = 3) -> bytes:
        edited = editor.edit(photo, text, strength, seed, shares.append)
        assert edited.size == (96, 64)  # the cat is 451 × 300, the network learned on 64 × 64
        return edited.tobytes()

    first = edit()
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) > 1
    assert edit() == first
    assert first not in (edit(text="summer"), edit(seed=4), edit(strength=0.9))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "edited"),
    [((4000, 3000), (85, 64)), ((64, 64), (64, 64)), ((9, 9), (64, 64)), ((3000, 100), (96, 64)), ((9, 16), (64, 96))],
)
def test_a_photo_is_edited_in_the_size_that_the_network_learned(
    folder: Path, size: tuple[int, int], edited: tuple[int, int]
) -> None:
    width, height = Editor.load(folder, "cpu").size_for(Image.new("RGB", size))
    assert (width % 8, height % 8) == (0, 0)
    assert (abs(width - edited[0]) < 8, abs(height - edited[1]) < 8) == (True, True)
    large = Editor.load(folder, "cpu")
    large._pipeline.unet.register_to_config(sample_size=512)
    assert max(large.size_for(Image.new("RGB", size))) <= 768


@pytest.mark.slow
def test_text_that_the_tokenizer_would_cut_is_refused(folder: Path, photo: Image.Image) -> None:
    editor = Editor.load(folder, "cpu", steps=STEPS)
    editor.edit(photo, "a" * 75, 0.6, 0, ignore)
    with pytest.raises(EditTextTooLong, match="78 tokens, of which the network reads 77"):
        editor.edit(photo, "a" * 76, 0.6, 0, ignore)


def test_an_edit_ends_when_its_time_is_over_or_its_step_raises(folder: Path, photo: Image.Image) -> None:
    with pytest.raises(EditTooSlow):
        Editor.load(folder, "cpu", steps=STEPS, seconds=0.0).edit(photo, "winter", 1.0, 0, ignore)
    editor, calls = Editor.load(folder, "cpu", steps=STEPS), []

    def step(share: float) -> None:
        calls.append(share)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        editor.edit(photo, "winter", 1.0, 0, step)
    assert len(calls) == 1
    editor.edit(photo, "winter", 1.0, 0, ignore)  # and the next one is not hurt


def test_what_the_safety_checker_flags_is_not_shown(
    folder: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = Editor.load(folder, "cpu", steps=STEPS)
    monkeypatch.setattr(editor._pipeline, "run_safety_checker", lambda image, *_: (image, [True]))
    with pytest.raises(EditRefused):
        editor.edit(photo, "winter", 0.6, 0, ignore)


def test_a_gpu_that_is_full_is_told_as_such(folder: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = Editor.load(folder, "cpu", steps=STEPS)

    def full(**_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(editor, "_pipeline", full)
    monkeypatch.setattr(editor, "_check_length", lambda text: None)
    monkeypatch.setattr(editor, "size_for", lambda photo: (64, 64))
    with pytest.raises(OutOfMemory):
        editor.edit(photo, "winter", 0.6, 0, ignore)


def test_folders_that_do_not_edit_or_bring_code_are_refused(folder: Path, tmp_path: Path) -> None:
    def broken(name: str, **changes: object) -> Path:
        copy = Path(shutil.copytree(folder, tmp_path / name))
        index = json.loads((copy / "model_index.json").read_text())
        (copy / "model_index.json").write_text(json.dumps(index | changes))
        return copy

    code = broken("code", unet=["my_unet", "MyUNet"])
    (code / "unet" / "my_unet.py").write_text("raise SystemExit('this was run')")
    pickled = broken("pickled")
    (pickled / "unet" / "diffusion_pytorch_model.safetensors").rename(pickled / "unet" / "diffusion_pytorch_model.bin")
    for wrong, said in [
        (tmp_path / "absent", "no folder of diffusers"),
        (broken("other", _class_name="FluxPipeline"), "'FluxPipeline'; these edit"),
        (code, "code of its own for unet"),
        (pickled, "no weights as safetensors"),
        (broken("half", vae=["diffusers", "NoSuchModel"]), "cannot be loaded"),
    ]:
        with pytest.raises(EditModelError, match=said):
            Editor.load(wrong, "cpu")


def test_half_precision_weights_are_found(folder: Path, tmp_path: Path, photo: Image.Image) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "half"))
    for file in [*copy.rglob("*.safetensors")]:
        file.rename(file.with_suffix(".fp16.safetensors"))
    Editor.load(copy, "cpu", steps=STEPS).edit(photo, "winter", 0.6, 0, ignore)


@pytest.mark.slow
def test_diffusers_is_imported_with_a_model_only() -> None:
    modules = "model.serving.worker.process, model.editor, model.command"
    assert imported(modules, ("diffusers", "transformers")) == "[]"


def test_the_terminal_edits_upright_and_says_what_it_did(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sideways, output = tmp_path / "cat.jpg", tmp_path / "winter.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (300, 200), "teal").save(sideways, exif=exif)
    run = [str(sideways), "make it winter", output, folder, "cpu"]
    assert edit_photo(*run, strength=60, seed=7) == 0  # type: ignore[arg-type]
    assert capsys.readouterr().out == f"{sideways}: {output} (edited by a machine, strength 60 %, seed 7)\n"
    with Image.open(output) as edited:
        assert (edited.format, edited.size) == ("JPEG", (64, 96))
    assert edit_photo(str(sideways), "❄❄", output, folder, "cpu", strength=60, seed=7) == 2
    assert "no words" in capsys.readouterr().err
    assert edit_photo(str(folder / "model_index.json"), "winter", output, folder, "cpu", strength=60, seed=7) == 1
    assert edit_photo(str(sideways), "winter", output, tmp_path, "cpu", strength=60, seed=7) == 2
    assert edit_photo(str(sideways), "winter" * 20, output, folder, "cpu", strength=60, seed=7) == 1
    assert "tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        ("make it look like winter", EditRequest("make it look like winter")),
        ("  a <b>,\n strength=70 seed=3 ", EditRequest("a <b>,", 70, 3)),
        ("seed=3 Strength = 0,7 зима", EditRequest("зима", 70, 3)),
        ("сила=10% x", EditRequest("x", 10)),
        ("put seed=3 on the sign, please", EditRequest("put seed=3 on the sign, please")),
        ("a" * LONGEST, EditRequest("a" * LONGEST)),
    ],
)
def test_what_is_understood(arguments: str, request_: EditRequest) -> None:
    assert parse_edit(arguments) == request_


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ("", "none"),
        (" \n", "none"),
        ("seed=3", "none"),
        ("❄️☃️ 123", "no_words"),
        ("a" * (LONGEST + 1), "too_long"),
        ("a " * 5000, "too_long"),
        ("x strength=5", "option"),
        ("x strength=1.5", "option"),
        ("x seed=-1", "option"),
        ("x seed=1234567890", "option"),
        ("x seed=1 seed=2", "option"),
    ],
)
def test_what_is_not_understood(arguments: str, fault: str) -> None:
    with pytest.raises(EditFault) as raised:
        parse_edit(arguments)
    assert raised.value.fault == fault
