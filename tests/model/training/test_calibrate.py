"""Calibrated confidence: the fit, its place in a decoder's file, and the command."""

import dataclasses
import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from model.calibration import (
    Calibration,
    Evidence,
    Logistic,
    calibration_error,
    chance_error,
    cross_validated,
    fit_logistic,
    predict,
    reliability,
)
from model.captioner import Captioner
from model.network.checkpoint import CheckpointError, fingerprint, load_decoder, save_decoder, write_calibration
from model.network.vocabulary import Vocabulary
from model.training import calibrate
from tests.conftest import PHOTOS, WEIGHTS

TRUE = Logistic(slope=3.0, words=-0.2, intercept=5.0, agreement=4.0, domain=1.5)


def outcomes(count: int) -> tuple[list[Evidence], list[bool]]:
    """Captions that are right with the probability that TRUE gives."""
    rng = np.random.default_rng(0)
    means, words, agreements = rng.normal(-1.4, 0.4, count), rng.integers(6, 16, count), rng.uniform(0, 0.3, count)
    domains = rng.random(count)
    evidence = list(zip(means.tolist(), words.tolist(), agreements.tolist(), domains.tolist(), strict=True))
    return evidence, (rng.random(count) < predict(TRUE, evidence)).tolist()


def test_the_fit_finds_the_parameters_that_made_the_outcomes() -> None:
    evidence, right = outcomes(20_000)
    fit = fit_logistic(evidence, right, domain=None)
    assert fit.slope == pytest.approx(TRUE.slope, rel=0.1)
    assert fit.words == pytest.approx(TRUE.words, rel=0.1)
    assert fit.intercept == pytest.approx(TRUE.intercept, rel=0.1)
    assert fit.agreement == pytest.approx(TRUE.agreement, rel=0.1)
    assert fit.domain == pytest.approx(TRUE.domain, rel=0.1)
    evidence, right = outcomes(2_000)
    assert fit_logistic([(m, n, 0.0, q) for m, n, _, q in evidence], right).agreement == 0.0


def test_a_weight_of_the_domain_that_is_known_is_kept_and_the_rest_is_fitted_beside_it() -> None:
    evidence, right = outcomes(5_000)
    fitted = fit_logistic(evidence, right, domain=None)
    again = fit_logistic(evidence, right, domain=fitted.domain)
    assert dataclasses.astuple(again) == pytest.approx(dataclasses.astuple(fitted), abs=2e-3)
    plain = fit_logistic(evidence, right)
    assert plain.domain == 0.0
    assert plain(-1.0, 8, 0.1, 1.0) == plain(-1.0, 8, 0.1, 0.0)
    assert plain.intercept > fitted.intercept + 0.5  # what the domains add on average
    heavy = fit_logistic(evidence, right, domain=6.0)
    assert predict(heavy, evidence).mean() == pytest.approx(np.mean(right), abs=0.01)  # the rest makes up for it
    held_out = cross_validated(evidence, right, domain=6.0)
    assert np.mean((held_out - right) ** 2) > np.mean((cross_validated(evidence, right, domain=None) - right) ** 2)


def test_calibrated_estimates_have_a_small_error_and_wrong_ones_a_large_one() -> None:
    evidence, right = outcomes(5_000)
    assert calibration_error(cross_validated(evidence, right, domain=None), right) < 0.03
    assert calibration_error(np.full(len(right), 0.99), right) == pytest.approx(0.99 - np.mean(right))
    assert chance_error(np.full(100, 0.5)) > chance_error(np.full(10_000, 0.5), draws=20) > 0
    bins = reliability(cross_validated(evidence, right, domain=None), right)
    assert [part.count for part in bins] == [500] * 10
    assert all(a.estimate <= b.estimate for a, b in itertools.pairwise(bins))


@pytest.mark.parametrize("right", [[True] * 6, [False] * 6, [True, True, True, False, False, False]])
def test_outcomes_that_leave_no_doubt_give_a_finite_fit(right: list[bool]) -> None:
    fit = fit_logistic([(mean, 8, 0.0, 0.0) for mean in (-0.5, -0.6, -0.7, -2.0, -2.1, -2.2)], right)
    assert 0 < fit(-3.0, 8) < 1
    assert fit(-0.5, 8) >= fit(-2.2, 8) - 1e-9
    with pytest.raises(ValueError, match="outcomes"):
        fit_logistic([], [])


def test_a_calibration_survives_json_and_nonsense_is_refused() -> None:
    calibration = Calibration(0.5, {"greedy": TRUE, "beam": Logistic(1.0, 0.0, 0.5)})
    assert Calibration.from_json(calibration.to_json()) == calibration
    alone = Calibration(0.5, {"greedy": TRUE})
    assert alone.fit_of("beam") == TRUE
    for bad in ("{}", "[]", "nothing", '{"threshold": 0.5, "fits": {}}', calibration.to_json().replace("3.0", "NaN")):
        with pytest.raises(ValueError, match=r"calibration|Expecting"):
            Calibration.from_json(bad)


def test_a_decoder_file_keeps_its_tensors_and_gains_a_calibration(
    tiny: Captioner, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    file = tmp_path / "attention.safetensors"
    save_decoder(file, tiny.decoder, vocabulary, "f00d")
    assert load_decoder(file).calibration is None
    with safe_open(file, framework="pt") as opened:
        before = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    for calibration in (Calibration(0.4, {"greedy": TRUE}), Calibration(0.5, {"greedy": TRUE, "beam": TRUE})):
        write_calibration(file, calibration)
        loaded = load_decoder(file)
        assert loaded.calibration == calibration
        assert loaded.encoder_sha256 == "f00d"
        assert loaded.vocabulary.words == vocabulary.words
    with safe_open(file, framework="pt") as opened:
        assert set(opened.keys()) == set(before)
        for name, tensor in before.items():
            assert opened.get_tensor(name).dtype == torch.float16
            assert torch.equal(opened.get_tensor(name), tensor)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    with pytest.raises(CheckpointError, match="no such weights file"):
        write_calibration(tmp_path / "none.safetensors", calibration)


def test_confidence_is_the_estimate_where_there_is_one(tiny: Captioner) -> None:
    features = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(1))
    beam = Logistic(1.0, 0.0, 0.5)
    sure = Captioner(
        tiny.encoder,
        tiny.decoder,
        tiny.vocabulary,
        torch.float32,
        calibration=Calibration(0.5, {"greedy": TRUE, "beam": beam}),
    )
    for plain, calibrated in zip(
        tiny.caption_features(features, samples=2, beam=3),
        sure.caption_features(features, samples=2, beam=3),
        strict=True,
    ):
        assert plain.greedy.confidence == plain.greedy.geometric_mean
        for caption, fit in ((calibrated.greedy, TRUE), (calibrated.samples[1], TRUE), (calibrated.main, beam)):
            x = fit.slope * caption.log_probs.mean() + fit.words * len(caption.words) + fit.intercept
            assert caption.confidence == pytest.approx(1 / (1 + math.exp(-x)))
        assert calibrated.greedy.words == plain.greedy.words


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Eight crops; the captions of half of them speak of what is there."""
    root = tmp_path / "crops"
    (root / "images").mkdir(parents=True)
    images = []
    with Image.open(PHOTOS / "cat.jpg") as photo:
        for number in range(8):
            photo.crop((10 * number, 0, 300, 300)).save(root / "images" / f"{number}.png")
            raw = "a cat is sitting on a chair" if number % 2 else "rockets rise"
            entry = {"filename": f"{number}.png", "sentences": [{"raw": raw}]}
            images += [{**entry, "split": split} for split in ("val", "test")]
    (root / "dataset_crops.json").write_text(json.dumps({"images": images}))
    return root


@pytest.mark.slow
def test_the_command_calibrates_both_decoders_of_a_folder_and_draws(
    dataset: Path,
    tmp_path: Path,
    small_weights: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(calibrate, "java", lambda: False)
    weights = tmp_path / "weights"
    weights.mkdir()
    for name, source in {"encoder": "encoder", "attention": "attention", "attention-sampling": "attention"}.items():
        shutil.copy(Path(small_weights) / f"{source}.safetensors", weights / f"{name}.safetensors")
    encoder = fingerprint(weights / "encoder.safetensors")
    data = [str(dataset)] * 2  # as of two data sets
    options = ["--data", *data, "--weights", str(weights), "--device", "cpu", "--plot", str(tmp_path / "docs")]
    assert calibrate.main([*options, "--dry-run", "--limit", "4"]) == 0
    assert (
        load_decoder(weights / "attention.safetensors").calibration
        == load_decoder(WEIGHTS / "attention.safetensors").calibration
    )
    assert calibrate.main([*options, "--check", "test", f"{dataset}:val", "--domain", "0.5", "1.5"]) == 0
    assert calibrate.main(["--data", data[0], *options[3:]]) == 0  # the weights of the domain stay
    out = capsys.readouterr().out
    assert "crops val and crops val, simple tokeniser, right: CIDEr > 0.5" in out
    assert "crops val, by the fit to val" in out
    assert "crops test, by the fit to val" in out
    for name in ("attention", "attention-sampling"):
        calibration = load_decoder(weights / f"{name}.safetensors").calibration
        assert calibration is not None
        assert {search: fit.domain for search, fit in calibration.fits.items()} == {"greedy": 0.5, "beam": 1.5}
        with Image.open(tmp_path / "docs" / f"calibration-{name}.png") as plot:
            assert plot.size == (500, 500)
    assert fingerprint(weights / "encoder.safetensors") == encoder
    captioner = Captioner.load(weights, "cpu", precision="fp32")
    assert captioner.sampler is not None
    [captions] = captioner.caption([Image.open(PHOTOS / "cat.jpg")], samples=2, beam=3)
    for caption in (captions.greedy, captions.main, *captions.samples):
        assert 0 < caption.confidence < 1
        assert caption.confidence != caption.geometric_mean
    assert calibrate.main(["--data", str(tmp_path), "--weights", str(weights)]) == 2
    assert "no dataset" in capsys.readouterr().err
