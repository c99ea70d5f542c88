import pytest
import torch
from torch.utils.data import DataLoader

from resight.mining.dataset import TupleDataset
from tests.mining.exported import PAIRS, commit_photos


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    commit_photos(folder)
    return str(folder / "w")


def test_items_are_the_images_of_a_tuple(root):
    dataset = TupleDataset(root, longer_side=15)
    assert len(dataset) == 3
    for item, (anchor, positive, negatives, _) in zip([dataset[i] for i in range(3)], PAIRS, strict=False):
        assert item["ids"] == {"anchor": anchor, "positive": positive, "negatives": negatives}
        assert item["anchor"].shape == (3, 10, 15)
        images = [item["anchor"], item["positive"], *item["negatives"]]
        assert [image[0, 0, 0].item() // 10 for image in images] == [anchor, positive, *negatives]
        assert all(image.dtype == torch.uint8 for image in images)
    with pytest.raises(IndexError):
        dataset[3]


def test_transforms_sides_and_loaders(root):
    dataset = TupleDataset(root, split="validation", transform=lambda image: image.float() / 255)
    (batch,) = DataLoader(dataset, batch_size=4, collate_fn=list)
    assert [item["ids"]["anchor"] for item in batch] == [16]
    assert batch[0]["positive"].max() == pytest.approx(170 / 255)
    assert batch[0]["weight"] == 0.5


def test_a_tuple_with_an_image_that_is_gone_is_replaced_by_the_next(tmp_path):
    commit_photos(tmp_path, gone=(14,))
    dataset = TupleDataset(str(tmp_path / "w"))
    assert [dataset[i]["ids"]["anchor"] for i in range(3)] == [13, 13, 13]
    everything = tmp_path / "all"
    commit_photos(everything, gone=range(10, 20))
    with pytest.raises(RuntimeError, match="all 3 tuples"):
        TupleDataset(str(everything / "w"))[0]
