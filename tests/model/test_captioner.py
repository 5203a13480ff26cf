"""The library face, on real photos and the shipped weights."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from model.captioner import FEW, Captioner, CaptionSet
from model.decoding.sampling import Sampling
from model.decoding.search import BeamSearch
from model.network.checkpoint import CheckpointError, save_decoder
from model.network.decoder import DecoderState
from model.network.packed import Int8Linear
from model.network.threads import openmp
from model.network.vocabulary import Vocabulary
from tests.conftest import WEIGHTS


@pytest.fixture(scope="module")
def answers(captioner: Captioner, photos: list[Image.Image]) -> list[CaptionSet]:
    return captioner.caption(photos, samples=5, beam=3)


@pytest.mark.slow
def test_each_photo_gets_captions_of_its_own(answers: list[CaptionSet]) -> None:
    assert len({answer.greedy.text for answer in answers}) == len(answers)
    for answer in answers:
        assert 3 <= len(answer.greedy.words) <= 20
        assert len(answer.samples) == 5
        assert len({sample.text for sample in answer.samples}) >= 3
        assert not {"<unk>", "<start>", "<end>", "<pad>"} & {
            w for c in (answer.greedy, *answer.samples) for w in c.words
        }


@pytest.mark.slow
def test_what_is_plain_to_see_is_named(
    captioner: Captioner, photo_files: list[Path], answers: list[CaptionSet]
) -> None:
    said = {path.stem: answer for path, answer in zip(photo_files, answers, strict=True)}
    assert "cat" in said["cat"].greedy.words
    assert {"building", "tower", "temple", "house"} & set(said["temple"].greedy.words)


def test_the_geometric_mean_is_that_of_the_word_probabilities(answers: list[CaptionSet]) -> None:
    for answer in answers:
        for caption in (answer.greedy, *answer.samples):
            assert caption.log_probs.shape == (len(caption.words),)
            assert (caption.log_probs <= 0).all()
            product = np.exp(caption.log_probs.astype(np.float64)).prod()
            assert caption.geometric_mean == pytest.approx(product ** (1 / len(caption.words)), rel=1e-4)
            assert 0 < caption.confidence < 1


def test_attention_maps_sum_to_one_and_differ_from_word_to_word(answers: list[CaptionSet]) -> None:
    for answer in answers:
        attention = answer.greedy.attention
        assert attention is not None
        assert attention.shape == (len(answer.greedy.words), 8, 8)
        np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1.0, atol=1e-4)
        assert np.abs(np.diff(attention, axis=0)).sum(axis=(1, 2)).max() > 0.1


@pytest.mark.slow
def test_captions_do_not_depend_on_the_batch(
    captioner: Captioner, photos: list[Image.Image], answers: list[CaptionSet]
) -> None:
    """Alone, in another order, and with other samples beside them: the same words, in fp32."""
    [alone] = captioner.caption(photos[2:3], samples=3)
    assert alone.greedy.words == answers[2].greedy.words
    assert [s.words for s in alone.samples] == [s.words for s in answers[2].samples[:3]]
    backwards = captioner.caption(photos[::-1], samples=5)
    for before, after in zip(answers, backwards[::-1], strict=True):
        assert before.greedy.words == after.greedy.words
        assert [s.words for s in before.samples] == [s.words for s in after.samples]


def test_seeds_choose_the_samples(captioner: Captioner, photos: list[Image.Image]) -> None:
    first, again, other = (
        [s.text for s in captioner.caption(photos[:1], samples=5, seed=seed)[0].samples] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.slow
def test_bf16_sees_nearly_the_same(captioner: Captioner, photos: list[Image.Image]) -> None:
    squares = captioner.squares(photos)
    half = Captioner.load(WEIGHTS, "cpu", precision="bf16")
    full, rough = captioner.encode(squares), half.encode(squares)
    assert rough.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(full.flatten(1), rough.flatten(1)).min() > 0.99


@pytest.mark.slow
def test_the_encoder_runs_once_a_photo(captioner: Captioner, photos: list[Image.Image]) -> None:
    seen: list[int] = []
    handle = captioner.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    captioner.caption(photos, samples=10, beam=3)
    handle.remove()
    assert seen == [len(photos)]


@pytest.mark.slow
def test_pictures_of_any_mode_and_size(captioner: Captioner, photos: list[Image.Image]) -> None:
    """A mode is but a way of writing the same picture: the captions are those of the RGB one."""
    photo = photos[1]
    grey = photo.convert("L")
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    clear = photo.convert("RGBA")
    clear.putalpha(0)
    same = [(photo.convert("RGBA"), photo), (grey, grey.convert("RGB")), (sixteen, grey.convert("RGB"))]
    same.append((clear, Image.new("RGB", photo.size, "white")))
    answers = captioner.caption([image for pair in same for image in pair], samples=1)
    for odd, plain in zip(answers[::2], answers[1::2], strict=True):
        assert odd.greedy.words == plain.greedy.words
    tiny = [photo.convert("CMYK"), photo.convert("P"), photo.resize((1, 1)), photo.resize((3000, 7))]
    assert all(answer.greedy.words for answer in captioner.caption(tiny, samples=1))


def test_exif_orientation_is_honoured(captioner: Captioner, photos: list[Image.Image]) -> None:
    upright = photos[1]
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    lying.getexif()[0x0112] = 6
    [expected], [found] = captioner.caption([upright], samples=0), captioner.caption([lying], samples=0)
    assert found.greedy.words == expected.greedy.words


def test_the_baseline_has_no_attention_and_shares_the_encoder(
    captioner: Captioner, baseline: Captioner, photos: list[Image.Image]
) -> None:
    beside = captioner.beside(WEIGHTS, "baseline")
    assert beside.encoder is captioner.encoder
    [own], [shared] = baseline.caption(photos[:1], samples=2), beside.caption(photos[:1], samples=2)
    assert own.greedy.attention is None
    assert own.greedy.words == shared.greedy.words


def test_no_images_no_captions(captioner: Captioner) -> None:
    assert captioner.caption([]) == []


def test_bad_arguments_are_named(captioner: Captioner, photos: list[Image.Image]) -> None:
    for bad, words in (
        ({"samples": -1}, "samples"),
        ({"beam": 0}, "beam"),
        ({"seed": [1, 2]}, "2 seeds for 1"),
        ({"seed": -1}, "a seed must not be negative: -1"),
    ):
        with pytest.raises(ValueError, match=words):
            captioner.caption(photos[:1], **bad)
    with pytest.raises(ValueError, match="unknown device"):
        Captioner.load(WEIGHTS, "abacus")
    with pytest.raises(ValueError, match="CUDA devices"):
        Captioner.load(WEIGHTS, "cuda:63")
    with pytest.raises(ValueError, match="unknown precision 'fp16': auto, fp32, bf16, int8"):
        Captioner.load(WEIGHTS, "cpu", precision="fp16")  # type: ignore[arg-type]


def test_a_decoder_of_another_encoder_is_refused(tmp_path: Path, captioner: Captioner) -> None:
    from model.network.checkpoint import save_encoder
    from model.network.encoder import Encoder

    shutil.copy(WEIGHTS / "attention.safetensors", tmp_path)
    save_encoder(tmp_path / "encoder.safetensors", Encoder())
    with pytest.raises(CheckpointError, match="was not trained on this encoder"):
        Captioner.load(tmp_path, "cpu")
    (tmp_path / "encoder.safetensors").unlink()
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="no such weights file"):
            Captioner.load(folder, "cpu")


def test_sampling_settings_reach_the_decoder(captioner: Captioner, photos: list[Image.Image]) -> None:
    """Cold samples are nearly the greedy caption, hot ones nearly never."""

    def agreement(sampling: Sampling) -> float:
        [answer] = captioner.caption(photos[:1], samples=10, sampling=sampling)
        return sum(sample.words == answer.greedy.words for sample in answer.samples) / 10

    assert agreement(Sampling(temperature=0.1, top_p=0.5)) > agreement(Sampling(temperature=1.8, top_p=1.0))
    assert agreement(Sampling(top_k=1)) == 1.0


@pytest.mark.slow
def test_a_second_decoder_may_draw_the_samples(tmp_path: Path, captioner: Captioner, photos: list[Image.Image]) -> None:
    """Main captions come from one file, sampled ones from the other, over one encoder."""
    sources = {
        "encoder": "encoder",
        "attention": "baseline",
        "attention-sampling": "attention",
        "localizer": "localizer",
    }
    for name, source in sources.items():
        shutil.copy(WEIGHTS / f"{source}.safetensors", tmp_path / f"{name}.safetensors")
    both = Captioner.load(tmp_path, "cpu", precision="fp32")
    assert both.sampler is not None
    assert both.sampler.encoder is both.encoder
    [mixed], [attention], [baseline] = (
        each.caption(photos[:1], samples=3, beam=3, seed=4)
        for each in (both, captioner, captioner.beside(WEIGHTS, "baseline"))
    )
    assert [s.words for s in mixed.samples] == [s.words for s in attention.samples]
    for sample, alike in zip(mixed.samples, attention.samples, strict=True):
        assert sample.attention is not None
        assert sample.attention == pytest.approx(alike.attention, abs=1e-5)
    assert mixed.greedy.words == baseline.greedy.words
    assert mixed.main.words == baseline.main.words
    [few] = both.caption(photos[:1], samples=0)
    assert few.samples == ()
    beside = captioner.beside(tmp_path, "attention")
    assert beside.sampler is not None
    assert beside.sampler.encoder is captioner.encoder


def test_a_sampler_of_another_encoder_is_refused(tmp_path: Path, tiny: Captioner, vocabulary: Vocabulary) -> None:
    for name in ("encoder", "attention"):
        shutil.copy(WEIGHTS / f"{name}.safetensors", tmp_path)
    save_decoder(tmp_path / "attention-sampling.safetensors", tiny.decoder, vocabulary, "f00d")
    with pytest.raises(CheckpointError, match=r"attention-sampling\.safetensors was not trained on this encoder"):
        Captioner.load(tmp_path, "cpu")


@pytest.mark.slow
def test_the_beams_caption_has_attention_of_its_own(captioner: Captioner, photos: list[Image.Image]) -> None:
    features = captioner.encode(captioner.squares(photos))
    captions = captioner.caption_features(features, samples=1, beam=3)
    [found] = captioner.decode(features, BeamSearch(3))
    alone = [caption for [caption] in found]
    for several, best in zip(captions, alone, strict=True):
        assert several.main is several.best
        assert several.best is not None
        assert several.best.words == best.words
        assert several.best.attention is not None
        assert several.best.attention.shape == (len(best.words), 8, 8)
        np.testing.assert_allclose(several.best.attention.sum(axis=(1, 2)), 1.0, atol=1e-4)
    assert any(several.greedy.words != best.words for several, best in zip(captions, alone, strict=True))
    [without] = captioner.caption_features(features[:1], samples=1)
    assert without.best is None
    assert without.main is without.greedy


class AsInt8(Int8Linear):
    """Computes in fp32, also where the processor has no fast products of integers."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class CountingSteps:
    """The decoder, noting how many threads each step may take."""

    def __init__(self, captioner: Captioner) -> None:
        self.decoder, self.threads = captioner.decoder, set[int]()

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]:
        self.threads.add(torch.get_num_threads())
        return self.decoder.step(tokens, state)


@pytest.mark.parametrize("int8", [True, False])
def test_a_decoder_in_int8_takes_one_thread_for_few_photos(
    tiny: Captioner, int8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if int8:
        tiny.decoder._pack(AsInt8)
    before = torch.get_num_threads()
    found: dict[int, set[int]] = {}
    try:
        torch.set_num_threads(2)
        for photos in (1, FEW, FEW + 1):
            steps = CountingSteps(tiny)
            monkeypatch.setattr(tiny, "_steps", steps)
            tiny.caption_features(torch.randn(photos, 9, 6), samples=1, beam=2)
            found[photos] = steps.threads
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    few = {1} if int8 and openmp() else {2}
    assert found == {1: few, FEW: few, FEW + 1: {2}}
