"""Models for tests, made and written by pycolmap."""

import warnings
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pycolmap


def make_model(seed, *, n_images=6, n_points=60, track_length=3):
    """A scene of random points, each seen by ``track_length`` of the images."""
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_frames_per_rig = 1, n_images
    options.num_points3D, options.track_length = n_points, track_length
    pycolmap.set_random_seed(seed)
    return pycolmap.synthesize_dataset(options)


def write_model(model, folder: Path, *, text=False):
    folder.mkdir(parents=True, exist_ok=True)
    (model.write_text if text else model.write_binary)(folder)


def write_models(folder: Path, *, n_models, n_images):
    """Write models, every other one as text, with images MODEL/NUMBER.png; return the names in order."""
    names = []
    for number in range(n_models):
        model = make_model(number, n_images=n_images)
        for i, image_id in enumerate(sorted(model.images)):
            model.images[image_id].name = f"{number}/{i}.png"
            names.append(f"{number}/{i}.png")
        write_model(model, folder / f"{number:02d}", text=number % 2 == 1)
    return names


LEFT, RIGHT, PART = "left.png", "right.png", "part.png"
CENTRES = {LEFT: (311.193, 254.877), RIGHT: (342.279, 254.877), PART: (11.193, 154.877)}  # as calibrated


def reconstruct_stereo(folder: Path):
    """Write a model of a motorcycle, photographed from two places, and of an enlarged part of a photo.

    Keypoints, matches and points are found by pycolmap; the cameras are those that took the photos.
    """
    left, right, _ = skimage.data.stereo_motorcycle()
    photos, database = folder / "photos", folder / "database.db"
    photos.mkdir(parents=True)
    for name, pixels in ((LEFT, left), (RIGHT, right), (PART, left[100:400, 300:600])):
        Image.fromarray(pixels).save(photos / name)
    find_matches(database, photos)
    with pycolmap.Database.open(database) as opened:
        cameras, images = opened.read_all_cameras(), opened.read_all_images()
    model, names = pycolmap.Reconstruction(), {image.camera_id: image.name for image in images}
    for camera in cameras:
        camera.params = [994.978, *CENTRES[names[camera.camera_id]]]
        model.add_camera_with_trivial_rig(camera)
    for image in images:
        moved = np.array([-0.193 if image.name == RIGHT else 0.0, 0, 0])
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pycolmap.Rotation3d(), moved))
    options = pycolmap.IncrementalPipelineOptions(num_threads=1)
    options.triangulation.ignore_two_view_tracks = False
    return pycolmap.triangulate_points(model, database, photos, folder / "model", options=options)


def find_matches(database: Path, photos: Path):
    """Describe and match the photos."""
    options = pycolmap.FeatureExtractionOptions(num_threads=1, use_gpu=False)
    options.sift.max_num_features, options.sift.first_octave = 1200, 0
    reader = pycolmap.ImageReaderOptions(camera_model="SIMPLE_PINHOLE", camera_params="995,330,255")
    kinds = {"device": pycolmap.Device.cpu, "camera_mode": pycolmap.CameraMode.PER_IMAGE}
    pycolmap.extract_features(database, photos, extraction_options=options, reader_options=reader, **kinds)
    matching = pycolmap.FeatureMatchingOptions(num_threads=1, use_gpu=False)
    pycolmap.match_exhaustive(database, matching_options=matching, device=pycolmap.Device.cpu)
