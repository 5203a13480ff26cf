"""Where in a photo the words of its caption are: maps, files, and training on collages and boxes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.captioner import Captioner
from model.localizer import LOCALIZER_FILE, Localizer, normalised
from model.network.checkpoint import ENCODER_FILE, fingerprint
from model.training.data import DataError, Example, Pasted, load_images
from model.training.fit_localizer import (
    ABOVE,
    HALVES,
    QUARTERS,
    Places,
    Training,
    covered,
    draw_collages,
    inside,
    load_boxes,
    main,
    people_of,
    places_of,
    vocabulary_of,
)
from tests.conftest import PHOTOS, WEIGHTS
from tests.support.fitted import photo_set, refuses_what_is_not_its_own

CHANNELS = 6
INDEX = {"cat": 0, "dog": 1, "man": 2, "red": 3}


def localizer(context: float = 0.0) -> Localizer:
    """Cats are where the first channel is high, dogs where the second is."""
    return Localizer(
        ["cat", "dog"], torch.tensor([[3.0, 0.0], [0.0, 3.0]]), torch.eye(2, CHANNELS), torch.zeros(2), context
    )


def seen() -> torch.Tensor:
    """One photo of four regions: a cat in the first, a dog in the last."""
    features = torch.zeros(1, 4, CHANNELS)
    features[0, 0, 0] = features[0, 3, 1] = 1.0
    return features


def test_a_word_is_where_its_query_meets_the_keys() -> None:
    [keys] = localizer().keys(seen())
    [maps] = localizer().maps(keys, [["a", "cat", "and", "a", "dog"]])
    assert maps.shape == (5, 4)
    assert maps.sum(axis=1) == pytest.approx(np.ones(5))
    assert maps[[1, 4]].argmax(axis=1).tolist() == [0, 3]
    expected = (torch.tensor([[3.0, 0.0]]) @ normalised(seen())[0, :, :2].T).softmax(dim=-1)[0]
    assert maps[1] == pytest.approx(expected.numpy())


def test_words_without_a_place_are_the_same_everywhere() -> None:
    [keys] = localizer().keys(seen())
    [one, none, unknown] = localizer().maps(keys, [["of", "a"], [], ["zebra"]])
    assert one == pytest.approx(np.full((2, 4), 0.25))
    assert none.shape == (0, 4)
    assert unknown == pytest.approx(np.full((1, 4), 0.25))  # nothing is known of where it is


def test_the_other_words_of_a_caption_draw_a_map_to_them() -> None:
    [keys] = localizer().keys(seen())
    [[alone]], [[together, _]] = localizer().maps(keys, [["cat"]]), localizer(0.5).maps(keys, [["cat", "dog"]])
    assert together[3] / together[1] > alone[3] / alone[1]  # the dog's region, and one of neither


def test_a_word_that_is_not_known_is_where_the_others_are() -> None:
    [keys] = localizer().keys(seen())
    both, cat = localizer(0.5).maps(keys, [["two", "cat"], ["cat"]])
    assert both[1] == pytest.approx(cat[0])  # and says nothing of where they are
    assert both[0] == pytest.approx(cat[0])
    [with_dog] = localizer(0.5).maps(keys, [["two", "cat", "dog"]])
    assert with_dog[0, 0] == pytest.approx(with_dog[0, 3])
    assert with_dog[0, 0] > 2 * with_dog[0, 1]


def test_a_localizer_comes_back_from_its_file_for_its_own_encoder_alone(tmp_path: Path) -> None:
    path = tmp_path / LOCALIZER_FILE
    localizer(0.5).save(path, "encoder")
    again = Localizer.load(path, "encoder")
    assert (again.words, again.context) == (("cat", "dog"), 0.5)
    [keys] = again.keys(seen())
    assert again.maps(keys, [["cat", "dog"]])[0] == pytest.approx(localizer(0.5).maps(keys, [["cat", "dog"]])[0])
    refuses_what_is_not_its_own(Localizer.load, path)
    with pytest.raises(ValueError, match="3 words do not fit"):
        Localizer(["a", "b", "c"], torch.zeros(2, 2), torch.zeros(2, CHANNELS), torch.zeros(2))


def test_captions_have_its_maps_however_they_are_found(tiny: Captioner) -> None:
    features = torch.randn(2, 9, CHANNELS, generator=torch.Generator().manual_seed(1))
    finder = Localizer(
        ["cat", "dog", "ball", "red", "runs"], torch.randn(5, 2), torch.randn(2, CHANNELS), torch.zeros(2)
    )
    plain = tiny.caption_features(features, samples=2, beam=3)
    tiny.localizer = finder
    located = tiny.caption_features(features, samples=2, beam=3)
    for before, after, keys in zip(plain, located, finder.keys(features), strict=True):
        assert before.best is not None
        assert after.best is not None
        for old, new in zip(
            [before.greedy, before.best, *before.samples], [after.greedy, after.best, *after.samples], strict=True
        ):
            assert new.words == old.words
            assert new.log_probs == pytest.approx(old.log_probs)
            if tiny.decoder.config.kind == "baseline":
                assert new.attention is None
            else:
                assert new.attention is not None
                assert new.attention.shape == (len(new.words), 3, 3)
                assert new.attention.reshape(-1, 9) == pytest.approx(finder.maps(keys, [new.words])[0])
    explained = tiny.explain(features, [each.greedy.text for each in located])
    for found, several in zip(explained, located, strict=True):
        assert (found.attention is None) == (several.greedy.attention is None)
        if found.attention is not None:
            assert found.attention == pytest.approx(several.greedy.attention)


@pytest.mark.slow
def test_the_shipped_localizer_finds_a_photo_beside_another(captioner: Captioner) -> None:
    cat, other = (Image.open(PHOTOS / f"{name}.jpg").convert("RGB") for name in ("cat", "coffee"))
    joined = Image.new("RGB", (512, 512))
    for x, photo in ((0, other), (256, cat)):
        joined.paste(photo.resize((256, 512)), (x, 0))
    features = captioner.encode(captioner.squares([joined])).expand(2, -1, -1)
    for caption, on_the_left in zip(
        captioner.explain(features, ["a cat", "a cup of coffee"]), (False, True), strict=True
    ):
        assert caption.attention is not None
        left = float(caption.attention[-1, :, :4].sum())
        assert (left > 0.7) if on_the_left else (left < 0.3)
    assert captioner.beside(WEIGHTS, "baseline").localizer is captioner.localizer


def example(name: str, *captions: str) -> Example:
    return Example(name, Path(f"{name}.jpg"), captions)


CAT, DOG = (
    example("cat", "a red cat", "the cat sleeps"),
    example("dog", "a dog and a red ball", "a brown dog", "dog dog dog dog"),
)


def test_collages_are_drawn_by_their_seed_alone() -> None:
    photos = [example(str(i), "a dog") for i in range(9)]
    collages = draw_collages(photos, 300, seed=1)
    assert collages == draw_collages(photos, 300, seed=1) != draw_collages(photos, 300, seed=2)
    kinds = {tuple(part.area for part in each) for each in collages}
    assert kinds >= {HALVES, ABOVE, QUARTERS}
    assert len(kinds) > 50  # photos on others, each somewhere else
    for collage in collages:
        assert len({part.example.name for part in collage}) == len(collage)
        for part in collage:
            left, top, width, height = part.area
            assert min(left, top) >= 0
            assert max(left + width, top + height) <= 1 + 1e-9
    with pytest.raises(DataError, match="3 photos are too few"):
        draw_collages(photos[:3], 1, seed=0)


def test_an_area_covers_the_regions_that_lie_in_it_by_half_or_more() -> None:
    assert covered((0.0, 0.0, 0.5, 1.0), (2, 4)).view(2, 4).tolist() == [[True, True, False, False]] * 2
    assert covered((0.5, 0.5, 0.5, 0.5), (2, 2)).tolist() == [False, False, False, True]
    assert covered((0.0, 0.0, 0.375, 1.0), (1, 4)).tolist() == [True, True, False, False]
    assert covered((0.0, 0.0, 0.36, 1.0), (1, 4)).tolist() == [True, False, False, False]
    assert covered((0.125, 0.0, 0.25, 1.0), (1, 4)).tolist() == [True, True, False, False]


def test_words_are_in_the_photo_whose_captions_alone_say_them() -> None:
    found = places_of(7, (Pasted(CAT, HALVES[0]), Pasted(DOG, HALVES[1])), INDEX, (2, 4))
    assert found.row == 7
    assert found.masks.tolist() == [[True, True, False, False] * 2, [False, False, True, True] * 2]
    assert found.words == [(0, 0, 2), (1, 1, 3)]  # "red" is in both; three times is as often as a word counts
    whole, corner = (0.0, 0.0, 1.0, 1.0), (0.5, 0.0, 0.5, 0.5)
    beneath = places_of(0, (Pasted(CAT, whole), Pasted(DOG, corner)), INDEX, (2, 2))
    assert beneath.masks.tolist() == [[True, False, True, True], [False, True, False, False]]
    tiny = places_of(0, (Pasted(CAT, whole), Pasted(DOG, (0.35, 0.35, 0.3, 0.3))), INDEX, (2, 2))
    assert tiny.words == [(0, 0, 2)]  # the dog covers half of no region


def test_words_for_people_are_in_boxes() -> None:
    people = example("man", "a man and a cat", "a man", "a tall person")
    found = people_of(3, people, [(0.25, 0.5, 0.5, 1.0)], INDEX, (2, 4))
    assert found.masks.tolist() == [[True, True, False, False] * 2]
    assert found.words == [(2, 0, 2)]  # "person" is no word that is learned here
    tiny = people_of(3, people, [(0.1, 0.1, 0.01, 0.01)], INDEX, (2, 4))
    assert tiny.masks.tolist() == [[True, *[False] * 7]]  # too small for the middle of any region
    assert inside(0.1, 0.9, [(0.25, 0.5, 0.5, 1.0)])
    assert not inside(0.6, 0.9, [(0.25, 0.5, 0.5, 1.0)])


def test_boxes_are_read_where_there_are_any(tmp_path: Path) -> None:
    assert load_boxes(tmp_path) == {}
    (tmp_path / "person_boxes.json").write_text(json.dumps({"a.jpg": [[0.5, 0.5, 0.1, 0.2]]}))
    assert load_boxes(tmp_path) == {"a.jpg": [(0.5, 0.5, 0.1, 0.2)]}
    (tmp_path / "person_boxes.json").write_text(json.dumps({"a.jpg": [[1, 2]]}))
    with pytest.raises(DataError, match=r"person_boxes\.json"):
        load_boxes(tmp_path)


def test_collages_are_loaded_with_later_photos_above_earlier_ones(tmp_path: Path) -> None:
    for name, colour in (("l.png", "red"), ("r.png", "blue")):
        Image.new("RGB", (30, 20), colour).save(tmp_path / name)
    red, blue = (Example(name, tmp_path / name, ("a wall",)) for name in ("l.png", "r.png"))
    collages = [
        (Pasted(red, HALVES[0]), Pasted(blue, HALVES[1])),
        (Pasted(red, (0.0, 0.0, 1.0, 1.0)), Pasted(blue, (0.5, 0.5, 0.5, 0.5))),
    ]
    beside, above, alone = load_images([*collages, red], 16)
    assert beside[:, 8, 2].tolist() == [255, 0, 0]
    assert beside[:, 8, 13].tolist() == [0, 0, 255]
    assert above[:, 2, 13].tolist() == [255, 0, 0]
    assert above[:, 13, 13].tolist() == [0, 0, 255]
    assert alone[:, 8, 13].tolist() == [255, 0, 0]


def test_the_loss_is_what_of_a_word_lies_outside_of_its_place_and_training_lessens_it() -> None:
    torch.manual_seed(2)
    network = Training(["cat", "dog"], CHANNELS, 4, dropout=0.0)
    features = torch.randn(2, 4, CHANNELS)
    left, right = torch.tensor([[True, True, False, False], [False, False, True, True]])
    places = [Places(0, torch.stack([left, right]), [(0, 0, 1), (1, 1, 2)]), Places(1, right[None], [(0, 0, 3)])]
    missed, counts = network.missed(features, places)
    assert counts.tolist() == [1, 2, 3]
    made = network.localizer(context=0.0)
    for loss, (photo, word, mask) in zip(missed, ((0, "cat", left), (0, "dog", right), (1, "cat", right)), strict=True):
        [[shares]] = made.maps(made.keys(features)[photo], [[word]])
        assert loss.item() == pytest.approx(-np.log(shares[mask.numpy()].sum()), abs=1e-5)
    assert torch.equal(network.localizer(temperature=4.0).queries, made.queries / 4)
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(100):
        missed, _ = network.missed(features, places)
        optimizer.zero_grad()
        missed.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert missed.max().item() < 0.1


def test_the_words_are_content_words_that_enough_captions_say() -> None:
    assert vocabulary_of([CAT, DOG], 2) == ["cat", "dog", "red"]
    assert vocabulary_of([example("dogs", "two dogs", "two of them")], 2) == ["two"]  # a number can be seen
    assert vocabulary_of([replace(CAT, captions=("a cat cat",)), DOG], 2) == ["dog"]


@pytest.mark.slow
def test_the_command_trains_a_localizer_on_photos_and_captions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"cat": "a cat sits", "coffee": "a cup", "photographer": "a man", "rocket": "a tower"}
    data = photo_set(tmp_path / "few", [(photo, caption, "train") for photo, caption in said.items()])
    (data / "person_boxes.json").write_text(json.dumps({"train-photographer.jpg": [[0.5, 0.5, 0.5, 1.0]]}))
    out = tmp_path / LOCALIZER_FILE
    arguments = ["--weights", str(WEIGHTS), "--data", str(data), "--cache", str(tmp_path / "c"), "--out", str(out)]
    arguments += ["--device", "cpu", "--collages", "6", "--words", "1", "--epochs", "1", "--width", "8"]
    assert main(arguments) == 0
    assert "7 pictures, 1 with boxes" in capsys.readouterr().out
    assert Localizer.load(out, fingerprint(WEIGHTS / ENCODER_FILE)).words == ("cat", "cup", "man", "sits", "tower")
    assert main([*arguments, "--data", str(tmp_path)]) == 2
    assert "no dataset" in capsys.readouterr().err
