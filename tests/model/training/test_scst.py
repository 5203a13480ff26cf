"""The CIDEr-D reward, sampling with gradients, and self-critical runs on a handful of made-up features."""

import dataclasses
import json
import random
from pathlib import Path
from typing import cast

import pytest
import torch

from model.captioner import Captioner
from model.network.checkpoint import save_decoder, save_encoder
from model.network.config import EncoderConfig
from model.network.decoder import build_decoder
from model.network.encoder import Encoder
from model.network.vocabulary import END, PAD, START, UNKNOWN, Vocabulary
from model.training.data import Example
from model.training.loop import Run
from model.training.losses import leave_one_out, policy_loss
from model.training.options import parse_options
from model.training.scores import CiderD
from model.training.scst import Reward, ScstConfig, sample_captions
from tests.conftest import WORDS, tiny_config


def random_captions(rng: random.Random, count: int) -> list[list[str]]:
    return [rng.choices(WORDS, k=rng.randint(1, 12)) for _ in range(count)]


def test_cider_is_that_of_pycocoevalcap() -> None:
    cider = pytest.importorskip("pycocoevalcap.cider.cider")
    rng = random.Random(1)
    references = [random_captions(rng, rng.randint(1, 5)) for _ in range(30)]
    candidates = [rng.choice([*random_captions(rng, 1), *several, several[0] * 2]) for several in references]
    _, expected = cider.Cider().compute_score(
        {i: [" ".join(words) for words in several] for i, several in enumerate(references)},
        {i: [" ".join(words)] for i, words in enumerate(candidates)},
    )
    metric = CiderD(references)
    found = [metric.score([words], several)[0] for words, several in zip(candidates, references, strict=True)]
    assert found == pytest.approx(list(expected), abs=1e-9)
    assert max(found) > 3


def test_cider_worked_by_hand() -> None:
    """Two images; `a` is in both, so that it weighs nothing, and each other word log 2."""
    metric = CiderD([[["a", "dog"]], [["a", "cat"]]])
    assert metric.score([["a", "dog"], ["a", "cat"], ["dog"]], [["a", "dog"]]) == pytest.approx(
        [
            10 * (1 + 1) / 4,  # 1-grams and 2-grams agree, there are no 3-grams
            0.0,
            10 * 1 / 4 * 2.718281828 ** (-1 / 72),  # a word short: exp(-1 / (2 · 6²))
        ]
    )


def test_an_ending_is_part_of_the_reward(vocabulary: Vocabulary) -> None:
    examples = [
        Example("1", Path("1"), ("a dog runs on grass", "a dog")),
        Example("2", Path("2"), ("two cat runs on the red", "two cat")),
        Example("3", Path("3"), ("the ball",)),
    ]
    reward = Reward(examples, vocabulary)
    whole = [*vocabulary.encode("a dog runs on grass"), END]
    cut = [*vocabulary.encode("a dog runs on"), END, PAD]
    never_ended = [*vocabulary.encode("a dog runs on grass"), PAD]
    [scores] = reward(torch.tensor([[whole, cut, never_ended]]), [0]).tolist()
    assert scores[0] > scores[1]
    assert scores[0] > scores[2]


def test_the_baseline_is_the_mean_of_the_others() -> None:
    torch.testing.assert_close(leave_one_out(torch.tensor([[1.0, 2.0, 6.0]])), torch.tensor([[-3.0, -1.5, 4.5]]))


@pytest.mark.parametrize("kind", ["attention", "baseline"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_of_samples_are_those_of_reading_them_again(kind: str, temperature: float) -> None:
    """Each drawn caption, read alone word by word, has the log-probabilities and the gradient that were reported."""
    torch.manual_seed(5)
    decoder = build_decoder(tiny_config(kind)).eval()
    torch.nn.init.normal_(decoder.embedding.weight, std=0.6)
    features = torch.randn(3, 9, 6)
    sampled = sample_captions(decoder, decoder.init_state(features), samples=4, max_words=7, temperature=temperature)
    flat = sampled.tokens.flatten(0, 1).tolist()
    assert len({tuple(caption) for caption in flat}) > 4
    assert any(END not in caption for caption in flat) or any(caption[-1] == PAD for caption in flat)
    log_probs: list[torch.Tensor] = []
    for row, caption in enumerate(flat):
        words = [token for token in caption if token != PAD]
        assert END not in words[:-1]
        assert not {START, UNKNOWN} & set(words)
        assert words[0] != END
        state = decoder.init_state(features[row // 4][None])
        own = []
        for t, (before, said) in enumerate(zip([START, *words], words, strict=False)):
            logits, state, _ = decoder.step(torch.tensor([[before]]), state)
            logits = logits[0, 0] / temperature
            never = torch.zeros_like(logits)
            never[[PAD, START, UNKNOWN, *([END] if t == 0 else [])]] = -torch.inf
            own.append((logits + never).log_softmax(-1)[said])
        torch.testing.assert_close(sampled.log_probs[sampled.rows == row], torch.stack(own))
        log_probs += own
    advantages = torch.randn(len(flat))
    loss = policy_loss(sampled.log_probs, advantages[sampled.rows])
    lengths = [sum(token != PAD for token in caption) for caption in flat]
    expected = -(torch.stack(log_probs) * advantages.repeat_interleave(torch.tensor(lengths))).mean()
    torch.testing.assert_close(loss, expected)
    weight = decoder.output_hidden.weight  # type: ignore[union-attr]
    torch.testing.assert_close(
        *(torch.autograd.grad(x, weight)[0] for x in (loss, expected)),  # type: ignore[arg-type]
        atol=1e-6,
        rtol=1e-4,
    )


def test_samples_follow_the_distribution() -> None:
    torch.manual_seed(0)
    decoder = build_decoder(tiny_config()).eval()
    torch.nn.init.normal_(decoder.embedding.weight, std=0.6)
    state = decoder.init_state(torch.randn(1, 9, 6))
    with torch.no_grad():
        sampled = sample_captions(decoder, state, samples=4000, max_words=1)
        logits, _, _ = decoder.step(torch.tensor([[START]]), state)
    expected = logits[0, 0, END + 2 :].softmax(-1)
    found = torch.bincount(sampled.tokens.flatten(), minlength=14)[END + 2 :] / 4000
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)


@pytest.fixture
def settings(tmp_path: Path, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> ScstConfig:
    """Eight images of two subjects, known by their features alone, an untrained decoder, and few steps."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    images = []
    for number in range(8):
        (root / "images" / f"{number}.png").touch()
        raw = "two red cat" if number % 2 else "a dog runs on grass"
        split = "train" if number < 4 else "val"
        images.append({"filename": f"{number}.png", "split": split, "sentences": [{"raw": raw}] * 2})
    (root / "dataset.json").write_text(json.dumps({"images": images}))
    subjects = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0))

    def cached(
        folder: Path, encoder: Encoder, fingerprint: str, examples: list[Example], *, workers: int
    ) -> torch.Tensor:
        return torch.stack([subjects[int(example.path.stem) % 2] for example in examples])

    monkeypatch.setattr("model.training.loop.Features.cached", cached)
    torch.manual_seed(4)
    decoder = build_decoder(dataclasses.replace(tiny_config(), hidden=16, embedding=16))
    save_encoder(tmp_path / "encoder.safetensors", Encoder(EncoderConfig(rows=3, columns=3, channels=6)))
    save_decoder(tmp_path / "attention.safetensors", decoder, vocabulary, "the encoder's")
    return ScstConfig(
        encoder=str(tmp_path / "encoder.safetensors"),
        start_from=str(tmp_path / "attention.safetensors"),
        out=str(tmp_path / "out"),
        data=(str(root),),
        validation=str(root),
        batch=4,
        samples=8,
        steps=100,
        rate=2e-2,
        warmup=1,
        save_every=100,
        validate_every=50,
        precision="fp32",
        device="cpu",
    )


def read_log(out: str, key: str) -> list[float]:
    lines = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if key in line]


@pytest.mark.slow
def test_the_reward_rises_and_the_best_weights_are_exported(settings: ScstConfig) -> None:
    Run(settings).train()
    rewards, cider = read_log(settings.out, "reward"), read_log(settings.out, "validation_cider")
    assert rewards[-1] > 1.8 * rewards[0]
    assert max(cider) > 3 * cider[0]
    best = f"{settings.out}/attention.safetensors"
    again = Run(dataclasses.replace(settings, start_from=best, out=settings.out + "2"))
    again.validate(0)
    assert read_log(settings.out + "2", "validation_cider") == pytest.approx([max(cider)], abs=2)  # it is in fp16


@pytest.mark.parametrize("xe_weight", [0.0, 0.5])
def test_a_killed_run_goes_on_where_it_was(settings: ScstConfig, xe_weight: float) -> None:
    settings = dataclasses.replace(settings, steps=6, save_every=2, xe_weight=xe_weight, dropout=0.3, validate_every=3)
    whole = Run(dataclasses.replace(settings, out=settings.out + "-whole"))
    whole.train()

    class Killed(Exception):
        pass

    run = Run(settings)
    learn = run.learn

    def learn_or_die(rows: list[int], inputs: torch.Tensor) -> dict[str, float]:
        if run.step == 5:
            raise Killed
        return learn(rows, inputs)

    run.learn = learn_or_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        run.train()
    resumed = Run(settings)
    resumed.train()
    assert read_log(settings.out, "validation_cider")[:2] == read_log(settings.out + "-whole", "validation_cider")[:2]
    for name, tensor in whole.networks.decoder.state_dict().items():
        torch.testing.assert_close(resumed.networks.decoder.state_dict()[name], tensor, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_learns_too(settings: ScstConfig, precision: str) -> None:
    run = Run(dataclasses.replace(settings, steps=40, precision=precision, xe_weight=0.1))
    run.train()
    assert all(tensor.isfinite().all() for tensor in run.networks.decoder.state_dict().values())
    cider = read_log(settings.out, "validation_cider")
    assert max(cider) > 2 * cider[0]


def test_fine_tuning_trains_the_encoder_by_the_reward(settings: ScstConfig) -> None:
    settings = dataclasses.replace(settings, finetune=True)
    examples = [Example("1", Path("1"), ("a dog runs on grass",)), Example("2", Path("2"), ("two red cat",))]
    encoder = torch.nn.Sequential(torch.nn.Linear(54, 54), torch.nn.Unflatten(1, (9, 6)))  # 9 regions of 6 channels
    networks = dataclasses.replace(settings.networks(examples), encoder=cast(Encoder, encoder))
    objective = settings.objective(networks, examples)
    loss, *_ = objective(torch.randn(2, 54), [0, 1], 0.0)
    loss.backward()
    assert [module for module, _ in settings.peak_rates(objective)] == [objective.decoder, encoder]
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())


def test_one_sample_has_no_baseline(settings: ScstConfig) -> None:
    with pytest.raises(ValueError, match="too few"):
        Run(dataclasses.replace(settings, samples=1))


def test_every_field_is_an_option() -> None:
    arguments = ["--encoder", "e", "--start-from", "s", "--out", "o", "--data", "a", "b", "--rate", "0.5"]
    settings = parse_options(ScstConfig, arguments, program="scst", description="")
    assert settings == ScstConfig(encoder="e", start_from="s", out="o", data=("a", "b"), rate=0.5)


def test_the_result_is_what_the_captioner_loads(settings: ScstConfig) -> None:
    out = Path(settings.out)
    Run(dataclasses.replace(settings, steps=1)).train()
    (out / "encoder.safetensors").write_bytes(Path(settings.encoder).read_bytes())
    captioner = Captioner.load(out, "cpu", precision="fp32")
    assert captioner.caption_features(torch.randn(2, 9, 6), samples=1)
