"""The consensus that a beam's hypotheses are ranked by."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.calibration import Calibration, Logistic
from model.captioner import Captioner
from model.captions import Caption
from model.consensus import (
    CONSENSUS_FILE,
    LEAST,
    Belief,
    Consensus,
    Judgement,
    KernelFeatures,
    RankingWeights,
    kernel,
)
from model.decoding.search import BeamSearch
from model.network.checkpoint import (
    ENCODER_FILE,
    CheckpointError,
    fingerprint,
    load_decoder,
    read_tensors,
    write_tensors,
)
from model.training.data import DataError
from model.training.fit_consensus import (
    LIKELIHOODS,
    Corpus,
    Hypotheses,
    choose,
    fit_belief,
    fit_domain,
    k_means,
    main,
    nystrom,
    principal_components,
    regress,
)
from model.training.scores import CiderD
from tests.conftest import PHOTOS, WEIGHTS
from tests.support.fitted import photo_set, refuses_what_is_not_its_own

CHANNELS = 6
RANKING, BELIEF = RankingWeights(0.1, 0.5), Belief(2.0, 3.0, 4.0)
GRAMS = [("cat",), ("dog",), ("a", "dog")]


DOMAIN = torch.tensor([3.0, -1.0])
IDF = torch.tensor([1.0, 2.0, 3.0])
READS = KernelFeatures(torch.eye(CHANNELS + 1, 1), torch.tensor([[1.5]]))  # channel 1, and how near it is to 1.5


def consensus(ranking: RankingWeights = RANKING, domain: torch.Tensor | None = DOMAIN) -> Consensus:
    """Expects what the mean of the first channel says of dogs, and cats in every photo."""
    down = torch.tensor([[1.25], [1.0], [-1.0]])
    up = torch.tensor([[0.0, 0.25], [1.0, 0.0], [2.0, 0.0]])
    return Consensus(GRAMS, IDF, 4.0, READS, down, up, ranking, BELIEF, domain=domain)


def said(text: str, *log_probs: float) -> Caption:
    words = tuple(text.split())
    return Caption(words, np.array(log_probs or [-1.0] * len(words), np.float32), None)


def test_a_caption_agrees_by_the_cosine_with_what_is_expected() -> None:
    features = torch.zeros(1, 4, CHANNELS)
    features[0, 0, 0] = 4.0  # the mean is 1, and 0.5 from the landmark: 1.25 / (1 + 0.5²) + 1 - 1
    [code] = consensus().codes(features)
    assert code.tolist() == [1.0, 1.0]
    judged = consensus().judge(code, [("a", "dog"), ("cat",), ("unknown",), ("cat", "cat", "dog"), ()])
    # "a" and "unknown" are no n-gram of it: they weigh as the rarest does and are not expected
    words = (2.0 / math.hypot(4, 2), 0.25, 0.0, (2 * 0.25 + 2.0) / math.hypot(2, 2), 0.0)
    assert [each.words for each in judged] == pytest.approx(words)
    assert [each.pairs for each in judged] == pytest.approx([2.0, 0.0, 0.0, 0.0, 0.0])
    assert judged[0].agreement == pytest.approx(0.5 * words[0] + 0.5 * 2.0)
    assert judged[3].log_expected == pytest.approx((math.log(0.25), math.log(0.25), math.log(0.5)))
    assert judged[2].log_expected == pytest.approx((math.log(LEAST),))


def test_a_word_is_believed_that_is_likely_and_expected() -> None:
    code = torch.tensor([1.0, 1.0])
    [found] = consensus().judged(code, [said("a dog", -2.0, -0.5)])
    logit = 2.0 * -0.5 + 3.0 * math.log(0.5) + 4.0
    assert found.beliefs[1] == pytest.approx(1 / (1 + math.exp(-logit)))
    [unlikely] = consensus().judged(code, [said("a dog", -2.0, -3.0)])
    assert unlikely.beliefs[1] < found.beliefs[1]
    assert found.beliefs[0] < 0.01  # nothing is known of "a"


def test_captions_know_the_domain_of_their_photo_where_there_are_several() -> None:
    code = torch.tensor([1.0, 1.0])
    for found in consensus().judged(code, [said("a dog"), said("cat")]):
        assert found.domain == pytest.approx(1 / (1 + math.exp(-2.0)))
        assert found.evidence == (-1.0, len(found.words), found.agreement, found.domain)
    alone = consensus(domain=None)
    assert alone.judged(code, [said("a dog")])[0].domain == 0.0


def test_a_domain_is_fitted_to_which_data_set_a_photo_is_of() -> None:
    torch.manual_seed(0)
    codes = torch.randn(4_000, 2) * torch.tensor([0.1, 5.0])
    true = torch.tensor([20.0, -0.2, -1.0])
    other = torch.rand(4_000) < torch.sigmoid(codes @ true[:-1] + true[-1])
    torch.testing.assert_close(fit_domain(codes, other, decay=0.1), true, atol=0.1, rtol=0.1)
    assert float(fit_domain(codes, other, decay=1e6)[0].abs()) < 0.1


def test_likelihood_and_agreement_make_the_score() -> None:
    code = torch.tensor([1.0, 1.0])
    cat, dog = consensus().judged(code, [said("cat", -1.0), said("a dog", -2.0, -2.0)])
    assert consensus().score(dog) == pytest.approx(0.1 * -4.0 / 2**0.7 + dog.agreement)
    assert consensus().score(dog) > consensus().score(cat)
    likely = consensus(ranking=RankingWeights(2.0, 0.5))
    assert likely.score(cat) > likely.score(dog)


def test_a_consensus_comes_back_from_its_file_for_its_own_encoder_alone(tmp_path: Path) -> None:
    path = tmp_path / CONSENSUS_FILE
    saved = consensus()
    saved.calibrations["decoder"] = Calibration(0.5, {"greedy": Logistic(1.0, 2.0, 3.0, 4.0)})
    saved.save(path, "encoder")
    again = Consensus.load(path, "encoder")
    assert again.calibrations == saved.calibrations
    features = torch.rand(3, 4, CHANNELS)
    assert again.grams == tuple(GRAMS)
    assert again.ranking == consensus().ranking
    torch.testing.assert_close(again.codes(features), consensus().codes(features))
    code = again.codes(features)[0]
    assert again.judge(code, [("a", "dog")]) == consensus().judge(code, [("a", "dog")])
    assert again.judged(code, [said("a dog")])[0].domain == consensus().judged(code, [said("a dog")])[0].domain
    assert again.belief == BELIEF
    tensors, metadata = read_tensors(path)
    write_tensors(path, {name: tensors[name] for name in ("down", "up", "idf")}, metadata)
    with pytest.raises(CheckpointError, match=r"earlier version: run model\.training\.fit_consensus"):
        Consensus.load(path, "encoder")
    refuses_what_is_not_its_own(Consensus.load, path)
    with pytest.raises(ValueError, match="n-grams"):
        Consensus(GRAMS[:2], IDF[:2], 1.0, READS, torch.zeros(3, 1), torch.zeros(3, 2), RANKING, BELIEF)
    with pytest.raises(ValueError, match="domain"):
        consensus(domain=torch.ones(3))
    for reads, down in (
        (READS, torch.zeros(4, 1)),
        (KernelFeatures(READS.components, torch.zeros(1, 2)), torch.zeros(4, 1)),
    ):
        with pytest.raises(ValueError, match="landmarks"):
            Consensus(GRAMS, IDF, 1.0, reads, down, torch.zeros(3, 2), RANKING, BELIEF)


class Favourite(Consensus):
    """Agrees with one caption alone."""

    def __init__(self, words: tuple[str, ...]) -> None:
        known = consensus()
        super().__init__(GRAMS, torch.ones(3), 1.0, READS, known.down, known.up, RankingWeights(0.0, 0.0), BELIEF)
        self.favourite = words

    def judge(self, code: torch.Tensor, captions: Sequence[Sequence[str]]) -> list[Judgement]:
        return [
            replace(each, agreement=float(tuple(words) == self.favourite))
            for words, each in zip(captions, super().judge(code, captions), strict=True)
        ]


def test_the_winner_of_a_beam_is_the_main_caption_with_its_own_words_and_maps(tiny: Captioner) -> None:
    features = torch.randn(1, 9, CHANNELS, generator=torch.Generator().manual_seed(1))
    [[several]] = tiny.decode(features, BeamSearch(4, hypotheses=4))
    assert len({caption.words for caption in several}) > 1
    [plain] = tiny.caption_features(features, samples=1, beam=4)
    assert plain.best is not None
    assert plain.best.words == several[0].words
    fits = Calibration(0.5, {"greedy": Logistic(1.0, 0.0, 0.0), "beam": Logistic(1.0, 0.0, 0.0, agreement=2.0)})
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
        assert len(found.best.beliefs) == len(found.best.words)
        assert len(found.greedy.beliefs) == len(found.greedy.words)
        [[[likeliest]]] = ranked.decode(features, BeamSearch(4), ranked=False)
        assert likeliest.words == several[0].words
        [explained] = ranked.explain(features, [found.best.text])
        assert explained.agreement == 1.0


@pytest.mark.slow
def test_a_folder_has_the_calibration_of_its_consensus_and_without_one_that_of_its_decoder(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(WEIGHTS, folder)
    file = folder / "attention.safetensors"
    own = Captioner.load(folder, "cpu", precision="fp32")
    assert own.consensus is not None
    assert own.calibration == own.consensus.calibrations[fingerprint(file)]
    assert own.calibration.fits["beam"].agreement > 0
    assert own.calibration.fits["beam"].domain > 0
    beside = own.beside(folder, "baseline")
    assert beside.calibration == own.consensus.calibrations[fingerprint(folder / "baseline.safetensors")]
    assert beside.consensus is own.consensus
    (folder / CONSENSUS_FILE).unlink()
    alone = Captioner.load(folder, "cpu", precision="fp32")
    assert alone.calibration == load_decoder(file).calibration
    assert alone.calibration is not None
    assert alone.calibration.fits["beam"].agreement == 0
    [found] = alone.caption([Image.new("RGB", (30, 20), "red")], beam=2)
    assert not found.main.beliefs
    assert not found.main.beginning


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
        READS,
        torch.zeros(3, 1),
        torch.stack([torch.zeros(len(corpus.grams)), corpus.targets[2]], dim=1),
        RANKING,
        BELIEF,
    )
    [judged] = whole.judge(torch.tensor([0.0, 1.0]), [caption])
    metric = CiderD(photos)
    weights, norms, _ = metric.vector(caption)
    for found, n in ((judged.words, 0), (judged.pairs, 1)):
        expected = 0.0
        for reference in photos[2]:
            theirs, lengths, _ = metric.vector(reference)
            expected += sum(x * theirs[n].get(gram, 0.0) for gram, x in weights[n].items()) / norms[n] / lengths[n] / 2
        assert found == pytest.approx(expected)
    assert [len(gram) for gram in Corpus.of(photos, least=(3, 4)).grams] == [1, 1, 1, 2]  # a, dog, sits; a dog


def test_the_regression_of_full_rank_is_ridge_regression() -> None:
    torch.manual_seed(0)
    inputs, targets = torch.randn(40, 5) * torch.arange(1.0, 6.0) + 3.0, torch.randn(40, 4)
    penalty = torch.diag(torch.arange(1.0, 6.0)) + 0.5
    centred, middle = inputs - inputs.mean(dim=0), targets.mean(dim=0)
    weight = torch.linalg.solve(centred.T @ centred + penalty, centred.T @ (targets - middle))
    errors = []
    for rank in (4, 3, 2, 1):
        down, up = regress(inputs, targets, penalty, rank=rank)
        codes = torch.cat([inputs @ down[:-1] + down[-1], torch.ones(40, 1)], dim=1)
        errors.append(float((codes @ up.T - centred @ weight - middle).square().sum()))
    assert errors[0] < 1e-6
    assert errors == sorted(errors)
    # the best approximation of rank 1 of the predictions, by Eckart and Young
    assert errors[-1] == pytest.approx(float(torch.linalg.svdvals(centred @ weight)[1:].square().sum()), rel=1e-3)


def test_components_are_of_standardised_channels_and_one_long_on_average() -> None:
    torch.manual_seed(0)
    means = torch.randn(200, 6) @ torch.randn(6, 6) * torch.arange(1.0, 7.0) + 2.0
    projection = principal_components(means, 6)
    z = means @ projection[:-1] + projection[-1]
    assert float(z.square().sum(dim=1).mean()) == pytest.approx(1.0, rel=0.01)
    standard = (means - means.mean(dim=0)) / means.std(dim=0)
    torch.testing.assert_close(z @ z.T, standard @ standard.T / 6, atol=0.02, rtol=0.01)
    few = principal_components(means, 2)
    assert few.shape == (7, 2)
    variances = (means @ few[:-1]).var(dim=0) / float((means @ few[:-1]).var(dim=0).sum())
    largest = torch.linalg.eigvalsh(standard.T @ standard)[-2:]
    torch.testing.assert_close(variances, largest / largest.sum(), atol=1e-3, rtol=1e-3)


def test_k_means_finds_the_centres_of_groups() -> None:
    torch.manual_seed(0)
    true = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = true.repeat(50, 1) + 0.1 * torch.randn(150, 2)
    found = min(
        (k_means(points, 3, seed=seed) for seed in range(10)),
        key=lambda c: float(kernel(points, c).amax(1).log().neg().sum()),
    )
    nearest = kernel(true, found).amax(dim=1)
    assert float(nearest.min()) > 0.99
    assert len(k_means(points[:2], 3)) == 2  # no more than there are points


def test_with_all_photos_as_landmarks_it_is_kernel_ridge_regression() -> None:
    torch.manual_seed(0)
    means, targets = torch.randn(30, 4), torch.randn(30, 3)
    reads, penalty = nystrom(means, components=4, landmarks=30)
    down, up = regress(reads(means), targets, 0.5 * penalty, rank=3)
    fresh = torch.randn(5, 4)
    codes = torch.cat([reads(fresh) @ down[:-1] + down[-1], torch.ones(5, 1)], dim=1)

    def z(of: torch.Tensor) -> torch.Tensor:
        return of @ reads.components[:-1] + reads.components[-1]

    def gram(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + torch.cdist(z(left), z(right)) ** 2) + z(left) @ z(right).T

    # centred in the feature space
    middle = torch.eye(30) - 1 / 30
    inner, outer = middle @ gram(means, means) @ middle, (gram(fresh, means) - gram(means, means).mean(dim=0)) @ middle
    expected = outer @ torch.linalg.solve(inner + 0.5 * torch.eye(30), targets - targets.mean(dim=0))
    torch.testing.assert_close(codes @ up.T, expected + targets.mean(dim=0), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("times", [2, 3])
def test_photos_that_are_there_several_times_can_be_fitted(times: int) -> None:
    torch.manual_seed(0)
    means, targets = torch.randn(10, 4).repeat(times, 1), torch.randn(10, 3).repeat(times, 1)
    reads, penalty = nystrom(means, components=4, landmarks=10 * times)
    down, up = regress(reads(means), targets, 1e-3 * penalty, rank=3)
    assert float(down.abs().max()) < 100
    codes = torch.cat([reads(means) @ down[:-1] + down[-1], torch.ones(10 * times, 1)], dim=1)
    torch.testing.assert_close(codes @ up.T, targets, atol=0.05, rtol=0.0)


@pytest.mark.parametrize("photos", [1, 2])
def test_a_regression_needs_photos_that_differ(photos: int) -> None:
    with pytest.raises(DataError, match="no two photos"):
        nystrom(torch.ones(photos, 4), components=4, landmarks=2)


def test_the_ranking_is_chosen_by_what_wins() -> None:
    agreeing = Hypotheses(torch.tensor([[0.0, 0.1], [0.2, 0.0]]), torch.tensor([-1.0, -1.0]), torch.tensor([2.0, 0.0]))
    ranking, reward = choose([agreeing])
    assert reward == 2.0
    assert ranking.pairs > 0.5
    assert ranking.likelihood == max(LIKELIHOODS)  # it changes nothing here
    likely = Hypotheses(torch.tensor([[0.1, 0.1], [0.0, 0.0]]), torch.tensor([-3.0, -1.0]), torch.tensor([1.0, 0.0]))
    ranking, reward = choose([likely])
    assert reward == 1.0
    assert 0.03 <= ranking.likelihood <= 0.05


def test_belief_is_fitted_to_whether_words_are_said() -> None:
    rng = np.random.default_rng(0)
    log_probs, expected = rng.normal(-1, 1, 5_000).tolist(), rng.normal(-3, 1, 5_000).tolist()
    true = Belief(0.5, 1.0, 3.5)
    right = (rng.random(5_000) < np.array(list(map(true, log_probs, expected)))).tolist()
    found = fit_belief(log_probs, expected, right)
    assert found.slope == pytest.approx(0.5, abs=0.1)
    assert found.expected == pytest.approx(1.0, abs=0.1)
    assert found.intercept == pytest.approx(3.5, abs=0.3)


def test_what_is_read_of_photos_is_components_and_how_near_landmarks_are() -> None:
    reads = KernelFeatures(torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0]]), torch.tensor([[3.0, 5.0], [1.0, 5.0]]))
    torch.testing.assert_close(reads(torch.tensor([[3.0, 2.0]])), torch.tensor([[1.0, 0.2, 3.0, 5.0]]))


@pytest.fixture(scope="module")
def shipped() -> Captioner:
    return Captioner.load(WEIGHTS, "cpu", precision="fp32")


@pytest.mark.slow
def test_the_shipped_consensus_knows_what_is_on_a_photo(shipped: Captioner) -> None:
    assert shipped.consensus is not None
    with Image.open(PHOTOS / "cat.jpg") as photo:
        features = shipped.encode(shipped.squares([photo.convert("RGB")]))
    [code] = shipped.consensus.codes(features)
    right, wrong = shipped.consensus.judge(code, [["a", "cat", "is", "sitting"], ["a", "man", "is", "surfing"]])
    assert right.agreement > wrong.agreement + 0.05
    assert right.log_expected[1] > wrong.log_expected[1]


@pytest.mark.slow
@pytest.mark.parametrize("alone", [True, False])
def test_the_command_fits_a_consensus_to_photos_and_captions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], alone: bool
) -> None:
    said = {"astronaut": "a cat sits", "cat": "a dog runs", "coffee": "a cat sits on a chair"}
    several = [(photo, caption + more) for photo, caption in said.items() for more in ("", " there")]
    data = photo_set(tmp_path / "few", [(*each, split) for each in several for split in ("train", "val")])
    other = photo_set(tmp_path / "other", [("rocket", "a rocket rises", split) for split in ("train", "val")])
    out = tmp_path / CONSENSUS_FILE
    arguments = [
        "--weights",
        str(WEIGHTS),
        "--data",
        str(data),
        *([] if alone else [str(other)]),
        "--validation",
        str(data),
        "--cache",
        str(tmp_path / "c"),
    ]
    arguments += [] if alone else ["--ranking", "0.25", "0.75"]
    arguments += ["--out", str(out), "--device", "cpu", "--beam", "2", "--rank", "2", "--words", "1", "--pairs", "1"]
    assert main(arguments) == 0
    assert "of the winner" in capsys.readouterr().out
    found = Consensus.load(out, fingerprint(WEIGHTS / ENCODER_FILE))
    assert ("a", "cat") in found.grams
    assert (found.ranking == RankingWeights(0.25, 0.75)) is not alone
    captioner = Captioner.load(WEIGHTS, "cpu", precision="fp32")
    photos = [Image.open(PHOTOS / f"{name}.jpg").convert("RGB") for name in ("cat", "rocket")]
    codes = found.codes(captioner.encode(captioner.squares(photos)))
    own, others = (
        found.judged(code, [Caption(("a", "cat"), np.zeros(2, np.float32), None)])[0].domain for code in codes
    )
    assert own == others == 0.0 if alone else own < others
