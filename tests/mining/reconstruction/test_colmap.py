"""Our reader of COLMAP's files against COLMAP's own library."""

import numpy as np
import pytest

from resight.mining.reconstruction.colmap import ModelError, list_models, read_model
from tests.mining.models import make_model, write_model


@pytest.fixture(scope="module")
def model():
    made = make_model(7)
    lonely = min(made.images)  # an image whose keypoints belong to no point
    for point in [p.point3D_id for p in made.images[lonely].points2D if p.has_point3D()]:
        made.delete_point3D(point)
    return made


def describe(image, model):
    """Points and their relative sizes, image by image, as the library tells them."""
    camera, pose = model.cameras[image.camera_id], image.cam_from_world()
    seen = sorted({p.point3D_id for p in image.points2D if p.has_point3D()})
    depths = [(pose * model.points3D[point].xyz)[2] for point in seen]
    focal = camera.mean_focal_length() / max(camera.width, camera.height)
    return seen, [focal / depth if depth > 0 else np.nan for depth in depths]


@pytest.mark.parametrize("text", [False, True])
def test_a_model_reads_as_its_writer_knows_it(model, tmp_path, text):
    write_model(model, tmp_path / "m", text=text)
    read = read_model(str(tmp_path / "m"))
    images = {image.name: image for image in model.images.values()}
    assert sorted(read.names) == sorted(images)
    for i, name in enumerate(read.names):
        own = slice(read.offsets[i], read.offsets[i + 1])
        seen, sizes = describe(images[name], model)
        np.testing.assert_array_equal(read.points[own], seen)
        np.testing.assert_allclose(read.sizes[own], sizes, rtol=1e-9)
        np.testing.assert_allclose(read.centres[i], images[name].projection_center(), atol=1e-9)
    assert np.diff(read.offsets).min() == 0 < np.diff(read.offsets).max()


@pytest.mark.parametrize("kind", ["SIMPLE_PINHOLE", "PINHOLE", "OPENCV", "FULL_OPENCV", "RADIAL_FISHEYE"])
def test_every_camera_gives_its_focal_length(tmp_path, kind):
    import pycolmap

    model = make_model(1, n_images=2)
    (camera,) = model.cameras.values()
    made = pycolmap.Camera.create_from_model_name(camera.camera_id, kind, 640.0, 800, 600)
    camera.model, camera.params, camera.width, camera.height = made.model, made.params, 800, 600
    for text in (False, True):
        write_model(model, tmp_path / f"{text}", text=text)
        read = read_model(str(tmp_path / f"{text}"))
        np.testing.assert_allclose(read.sizes[: read.offsets[1]], describe_first(read, model), rtol=1e-9)


def describe_first(read, model):
    image = next(image for image in model.images.values() if image.name == read.names[0])
    return describe(image, model)[1]


def test_models_are_found_below_a_folder(model, tmp_path):
    for name, text in (("a/0", False), ("a/1", True), ("b", False)):
        write_model(model, tmp_path / name, text=text)
    (tmp_path / "a" / "0" / "points3D.bin").unlink()
    found = list_models(str(tmp_path))
    assert [folder.removeprefix(str(tmp_path)) for folder in found] == ["/a/1", "/b"]
    assert list_models(str(tmp_path / "b")) == [str(tmp_path / "b")]
    assert list_models(str(tmp_path / "nothing")) == []


@pytest.mark.parametrize("part", ["cameras", "images", "points3D"])
def test_a_damaged_file_is_named(model, tmp_path, part):
    for text in (False, True):
        folder = tmp_path / f"{text}"
        write_model(model, folder, text=text)
        file = folder / f"{part}.{'txt' if text else 'bin'}"
        content = file.read_bytes()
        file.write_bytes(b"1 nothing\n2" if text else content[: len(content) - 5])
        with pytest.raises(ModelError, match=f"{part}.{'txt' if text else 'bin'} is no part"):
            read_model(str(folder))
