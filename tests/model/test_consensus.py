"""The consensus that a beam's hypotheses are ranked by."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from model.calibration import Calibration, Logistic
from model.captioner import Captioner
from model.consensus import CONSENSUS_FILE, Consensus, Ranking, pooled
from model.decoding.search import BeamSearch
from model.network.checkpoint import ENCODER_FILE, CheckpointError, fingerprint
from model.training.fit_consensus import Corpus, Hypotheses, choose, main, regress
from model.training.scores import CiderD
from tests.conftest import PHOTOS, WEIGHTS

CHANNELS = 6
GRAMS = [("cat",), ("dog",), ("a", "dog")]


def consensus(channels: int = CHANNELS, ranking: Ranking = Ranking(0.1, 0.5)) -> Consensus:  # noqa: B008
    """Expects what the mean of the first channel says of dogs, and cats in every photo."""
    down = torch.zeros(2 * channels + 1, 1)
    down[0], down[-1] = 1.0, 0.5
    up = torch.tensor([[0.0, 0.25], [1.0, 0.0], [2.0, 0.0]])
    return Consensus(GRAMS, torch.tensor([1.0, 2.0, 3.0]), 4.0, down, up, ranking)


def test_a_caption_agrees_by_the_cosine_with_what_is_expected() -> None:
    features = torch.zeros(1, 4, CHANNELS)
    features[0, 0, 0] = 2.0  # the mean is 0.5
    [code] = consensus().codes(features)
    assert code.tolist() == [1.0, 1.0]
    captions = [("a", "dog"), ("cat",), ("unknown",), ("cat", "cat", "dog")]
    words, pairs = zip(*consensus().cosines(code, captions), strict=True)
    # "a" and "unknown" are no n-gram of it: they weigh as the rarest does and are not expected
    assert words == pytest.approx((2.0 / math.hypot(4, 2), 0.25, 0.0, (2 * 0.25 + 2.0) / math.hypot(2, 2)))
    assert pairs == pytest.approx((2.0, 0.0, 0.0, 0.0))
    assert consensus().agreement(code, captions)[0] == pytest.approx(0.5 * words[0] + 0.5 * 2.0)


def test_likelihood_and_agreement_decide_together_and_the_first_of_equals_wins() -> None:
    captions, log_probs = [("cat",), ("a", "dog"), ("a", "dog")], [-1.0, -4.0, -4.0]
    code = torch.tensor([1.0, 1.0])
    place, agreement = consensus().best(code, captions, log_probs)
    assert place == 1
    assert agreement == pytest.approx(consensus().agreement(code, captions)[1])
    assert consensus(ranking=Ranking(2.0, 0.5)).best(code, captions, log_probs)[0] == 0


def test_a_consensus_comes_back_from_its_file_for_its_own_encoder_alone(tmp_path: Path) -> None:
    path = tmp_path / CONSENSUS_FILE
    consensus().save(path, "encoder")
    again = Consensus.load(path, "encoder")
    features = torch.rand(3, 4, CHANNELS)
    assert again.grams == tuple(GRAMS)
    assert again.ranking == consensus().ranking
    torch.testing.assert_close(again.codes(features), consensus().codes(features))
    code = again.codes(features)[0]
    assert again.cosines(code, [("a", "dog")])[0] == pytest.approx(consensus().cosines(code, [("a", "dog")])[0])
    with pytest.raises(CheckpointError, match="not fitted to this encoder"):
        Consensus.load(path, "another")
    path.write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="safetensors"):
        Consensus.load(path, "encoder")
    with pytest.raises(ValueError, match="n-grams"):
        Consensus(GRAMS[:2], torch.ones(2), 1.0, torch.zeros(3, 1), torch.zeros(3, 2), Ranking(0.0, 0.5))


class Favourite(Consensus):
    """Agrees with one caption alone."""

    def __init__(self, words: tuple[str, ...]) -> None:
        known = consensus()
        super().__init__(known.grams, torch.ones(3), 1.0, known.down, known.up, Ranking(0.0, 0.0))
        self.words = words

    def agreement(self, code: torch.Tensor, captions: object) -> list[float]:
        return [float(tuple(words) == self.words) for words in captions]  # type: ignore[attr-defined]


def test_the_winner_of_a_beam_is_the_main_caption_with_its_own_words_and_maps(tiny: Captioner) -> None:
    features = torch.randn(1, 9, CHANNELS, generator=torch.Generator().manual_seed(1))
    [[several]] = tiny.decode(features, BeamSearch(4, hypotheses=4))
    assert len({caption.words for caption in several}) > 1
    [plain] = tiny.caption_features(features, samples=1, beam=4)
    assert plain.best is not None
    assert plain.best.words == several[0].words
    fits = Calibration(0.5, {"greedy": Logistic(1.0, 0.0, 0.0), "ranked": Logistic(1.0, 0.0, 0.0, agreement=2.0)})
    for hypothesis in several:
        ranked = Captioner(
            tiny.encoder,
            tiny.decoder,
            tiny.vocabulary,
            torch.float32,
            calibration=fits,
            consensus=Favourite(hypothesis.words),
        )
        [found] = ranked.caption_features(features, samples=1, beam=4)
        assert found.best is not None
        assert found.best.words == hypothesis.words
        assert found.best.log_probs.tolist() == pytest.approx(hypothesis.log_probs.tolist())
        assert (found.best.attention is None) == (hypothesis.attention is None)
        if found.best.attention is not None and hypothesis.attention is not None:
            assert found.best.attention == pytest.approx(hypothesis.attention)
        logit = float(hypothesis.log_probs.mean()) + 2.0  # the agreement is 1
        assert found.best.confidence == pytest.approx(1 / (1 + math.exp(-logit)))
        assert found.greedy.words == plain.greedy.words
        assert found.samples[0].words == plain.samples[0].words
        [[likeliest]] = ranked.decode(features, BeamSearch(4), ranked=False)[0]
        assert likeliest.words == several[0].words


def test_a_corpus_has_the_mean_of_unit_vectors_whose_dot_products_are_cider() -> None:
    photos = [
        [["a", "dog", "runs"], ["a", "dog"]],
        [["a", "cat", "sits"], ["the", "cat", "sits"]],
        [["a", "dog", "sits"], ["a", "dog", "sits"]],
    ]
    corpus = Corpus.of(photos, least=(1, 1))
    assert corpus.targets.shape == (3, len(corpus.grams))
    caption = ["a", "dog", "sits"]
    whole = Consensus(
        corpus.grams,
        corpus.idf,
        corpus.rarest,
        torch.zeros(3, 1),
        torch.stack([torch.zeros(len(corpus.grams)), corpus.targets[2]], dim=1),
        Ranking(0.0, 0.5),
    )
    [(words, pairs)] = whole.cosines(torch.tensor([0.0, 1.0]), [caption])
    metric = CiderD(photos)
    weights, norms, _ = metric.vector(caption)
    for found, n in ((words, 0), (pairs, 1)):
        expected = 0.0
        for reference in photos[2]:
            theirs, lengths, _ = metric.vector(reference)
            expected += sum(x * theirs[n].get(gram, 0.0) for gram, x in weights[n].items()) / norms[n] / lengths[n] / 2
        assert found == pytest.approx(expected)
    assert [len(gram) for gram in Corpus.of(photos, least=(3, 4)).grams] == [1, 1, 1, 2]  # a, dog, sits; a dog


def test_the_regression_of_full_rank_is_ridge_regression() -> None:
    torch.manual_seed(0)
    inputs, targets = torch.randn(40, 5) * torch.arange(1.0, 6.0) + 3.0, torch.randn(40, 4)
    down, up = regress(inputs, targets, decay=2.0, rank=4)
    codes = torch.cat([inputs @ down[:-1] + down[-1], torch.ones(40, 1)], dim=1)
    standard = (inputs - inputs.mean(dim=0)) / inputs.std(dim=0)
    centred = targets - targets.mean(dim=0)
    weight = torch.linalg.solve(standard.T @ standard + 2.0 * torch.eye(5), standard.T @ centred)
    torch.testing.assert_close(codes @ up.T, standard @ weight + targets.mean(dim=0), atol=1e-4, rtol=1e-4)
    errors = []
    for rank in (1, 2, 3):
        down, up = regress(inputs, targets, decay=2.0, rank=rank)
        codes = torch.cat([inputs @ down[:-1] + down[-1], torch.ones(40, 1)], dim=1)
        errors.append(float((codes @ up.T - standard @ weight - targets.mean(dim=0)).square().sum()))
    assert errors == sorted(errors, reverse=True)


def test_the_ranking_is_chosen_by_what_wins() -> None:
    agreeing = Hypotheses(torch.tensor([[0.0, 0.1], [0.2, 0.0]]), torch.tensor([-1.0, -1.0]), torch.tensor([2.0, 0.0]))
    ranking, reward = choose([agreeing])
    assert reward == 2.0
    assert ranking.pairs > 0.5
    likely = Hypotheses(torch.tensor([[0.0, 0.1], [0.0, 0.0]]), torch.tensor([-3.0, -1.0]), torch.tensor([0.0, 1.0]))
    ranking, reward = choose([likely])
    assert reward == 1.0
    assert ranking.likelihood > 0.0


def test_what_is_read_of_features_is_their_mean_and_maximum() -> None:
    features = torch.tensor([[[1.0, -2.0], [3.0, 0.0]]])
    assert pooled(features).tolist() == [[2.0, -1.0, 3.0, 0.0]]


@pytest.fixture(scope="module")
def shipped() -> Captioner:
    return Captioner.load(WEIGHTS, "cpu", precision="fp32")


@pytest.mark.slow
def test_the_shipped_consensus_knows_what_is_on_a_photo(shipped: Captioner) -> None:
    assert shipped.consensus is not None
    with Image.open(PHOTOS / "cat.jpg") as photo:
        features = shipped.encode(shipped.squares([photo.convert("RGB")]))
    [code] = shipped.consensus.codes(features)
    right, wrong = shipped.consensus.agreement(code, [["a", "cat", "is", "sitting"], ["a", "man", "is", "surfing"]])
    assert right > wrong + 0.05


@pytest.mark.slow
def test_the_command_fits_a_consensus_to_photos_and_captions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "few"
    (data / "images").mkdir(parents=True)
    rows = ["image,caption,split"]
    for split in ("train", "val"):
        for number, caption in enumerate(["a cat sits", "a dog runs", "a cat sits on a chair"]):
            name = f"{split}{number}.jpg"
            shutil.copy(sorted(PHOTOS.glob("*.jpg"))[number], data / "images" / name)
            rows += [f"{name},{caption},{split}", f"{name},{caption} there,{split}"]
    (data / "captions.csv").write_text("\n".join(rows))
    out = tmp_path / CONSENSUS_FILE
    arguments = [
        "--weights",
        str(WEIGHTS),
        "--data",
        str(data),
        "--validation",
        str(data),
        "--cache",
        str(tmp_path / "c"),
    ]
    arguments += ["--out", str(out), "--device", "cpu", "--beam", "2", "--rank", "2", "--words", "1", "--pairs", "1"]
    assert main(arguments) == 0
    assert "of the winner" in capsys.readouterr().out
    assert ("a", "cat") in Consensus.load(out, fingerprint(WEIGHTS / ENCODER_FILE)).grams
