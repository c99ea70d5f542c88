"""Planted copies for benchmarks: collections whose true pairs are known, made by edits of their own.

None of this is used by `resight.dedup.audit`, which plants copies in a user's collection: a benchmark that
shared its edits would measure how well the system knows them.
"""

import itertools
import zlib
from pathlib import Path

import cv2
import numpy as np

IMAGE_ENDINGS = {".jpg", ".jpeg", ".png"}
QUALITY = 90


def crop_part(photo, other, rng, *, share):
    """Cut out ``share`` of the area."""
    h, w = photo.shape[:2]
    ch, cw = round(h * share**0.5), round(w * share**0.5)
    y, x = rng.integers(h - ch + 1), rng.integers(w - cw + 1)
    return photo[y : y + ch, x : x + cw]


def tilt(photo, other, rng, *, degrees):
    """Turn within the frame."""
    h, w = photo.shape[:2]
    M = cv2.getRotationMatrix2D((w / 2, h / 2), degrees, 1)
    return cv2.warpAffine(photo, M, (w, h), flags=cv2.INTER_LINEAR)


def to_square(photo, other, rng):
    """Change the shape to a square."""
    return cv2.resize(photo, (400, 400), interpolation=cv2.INTER_AREA)


def banner(photo, other, rng):
    """Put a bar with words over the middle."""
    out, (h, w) = photo.copy(), photo.shape[:2]
    out[round(0.36 * h) : round(0.64 * h)] = (20, 90, 220)
    cv2.putText(out, "BREAKING NEWS", (w // 12, h // 2 + 12), cv2.FONT_HERSHEY_DUPLEX, w / 420, (255,) * 3, 2)
    return out


def screenshot(photo, other, rng):
    """Show the photo among lines of text, as a browser would."""
    h, w = photo.shape[:2]
    page = np.full((round(1.7 * h), round(1.5 * w), 3), 255, np.uint8)
    page[: h // 8] = (235, 232, 228)
    for y in range(h // 5, page.shape[0] - 8, max(6, h // 22)):
        page[y : y + 3, w // 12 : w // 12 + int(w * rng.uniform(0.6, 1.3))] = 90
    y, x = h // 3, w // 5
    page[y : y + h, x : x + w] = photo
    return page


def blend(photo, other, rng):
    """Mix with another photo."""
    fitted = cv2.resize(other, photo.shape[1::-1], interpolation=cv2.INTER_AREA)
    return cv2.addWeighted(photo, 0.6, fitted, 0.4, 0)


def strong_filter(photo, other, rng):
    """Blur, raise the contrast, drop the colour."""
    grey = cv2.cvtColor(cv2.GaussianBlur(photo, (0, 0), 2.0), cv2.COLOR_BGR2GRAY)
    return cv2.cvtColor(cv2.convertScaleAbs(grey, alpha=1.4, beta=-40), cv2.COLOR_GRAY2BGR)


def paste_small(photo, other, rng, *, share=0.4):
    """Paste on another photo, a share of its sides."""
    ground = cv2.resize(other, (512, round(512 * other.shape[0] / other.shape[1])))
    h, w = ground.shape[:2]
    scale = share * min(w / photo.shape[1], h / photo.shape[0])
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    y, x = rng.integers(h - small.shape[0] + 1), rng.integers(w - small.shape[1] + 1)
    ground[y : y + small.shape[0], x : x + small.shape[1]] = small
    return ground


def slant(photo, other, rng):
    """Look at it from the side."""
    h, w = photo.shape[:2]
    start = np.float32([(0, 0), (w, 0), (w, h), (0, h)])
    end = np.float32([(0.02 * w, 0.1 * h), (0.97 * w, 0), (0.99 * w, h), (0.05 * w, 0.88 * h)])
    return cv2.warpPerspective(photo, cv2.getPerspectiveTransform(start, end), (w, h))


def frame(photo, other, rng):
    """Put a wide white border around, as instant photos have."""
    h, w = photo.shape[:2]
    return cv2.copyMakeBorder(photo, h // 8, h // 3, w // 8, w // 8, cv2.BORDER_CONSTANT, value=(250,) * 3)


def watermark(photo, other, rng):
    """Write a faint word all over."""
    mark = photo.copy()
    for y, x in itertools.product(range(20, photo.shape[0], 60), range(0, photo.shape[1], 150)):
        cv2.putText(mark, "SAMPLE", (x, y), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255,) * 3, 3)
    return cv2.addWeighted(mark, 0.45, photo, 0.55, 0)


def tint(photo, other, rng):
    """Warm the colours and bend the tones."""
    toned = 255 * (photo / 255.0) ** 0.7 * np.array([0.75, 0.95, 1.1])
    return np.clip(toned, 0, 255).astype(np.uint8)


def noise(photo, other, rng):
    """Add the noise of a dark room."""
    return np.clip(photo + rng.normal(0, 18, photo.shape), 0, 255).astype(np.uint8)


def collage(photo, other, rng):
    """Put it beside another photo on one canvas."""
    sides = [cv2.resize(p, (300, round(300 * p.shape[0] / p.shape[1]))) for p in (photo, other)]
    canvas = np.full((max(s.shape[0] for s in sides), 610, 3), 255, np.uint8)
    for x, side in zip((0, 310), sides, strict=True):
        canvas[: side.shape[0], x : x + 300] = side
    return canvas


def edit(make, **options):
    """Fix the options of an edit."""
    return lambda photo, other, rng: make(photo, other, rng, **options)


MIXES = {"blend", "paste", "collage", "paste 0.3"}  # that show another photo, too
COLLECTIONS = {
    "easy": {
        "crop": edit(crop_part, share=0.7),
        "mirror": lambda photo, other, rng: photo[:, ::-1],
        "flip": lambda photo, other, rng: photo[::-1],
        "rotation": edit(tilt, degrees=25),
        "square": to_square,
    },
    "hard": {
        "crop": edit(crop_part, share=0.3),
        "banner": banner,
        "screenshot": screenshot,
        "blend": blend,
        "filter": strong_filter,
        "paste": paste_small,
    },
    "unseen": {
        "crop 0.5": edit(crop_part, share=0.5),
        "rotation -12": edit(tilt, degrees=-12),
        "slant": slant,
        "frame": frame,
        "watermark": watermark,
        "tint": tint,
        "noise": noise,
        "collage": collage,
        "paste 0.3": edit(paste_small, share=0.3),
    },
}


def list_photos(folder):
    """Image files of a folder, in order."""
    return sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in IMAGE_ENDINGS)


def draw_photos(folder, n, seed):
    """Draw ``n`` photos with different bytes."""
    paths = list_photos(folder)
    different = list({zlib.crc32(path.read_bytes()): path for path in paths}.values())
    if len(different) < n:
        raise SystemExit(f"{folder}: {len(different)} photos, {n} are needed")
    order = np.random.default_rng(seed).permutation(len(different))[:n]
    return [cv2.imread(str(different[i])) for i in order]


class Planted:
    """What is true of a collection: families, and which pairs are neither right nor wrong."""

    def __init__(self):
        self.edits, self.shows = {}, {}  # name -> its edit, and the families that it shows
        self.families = {}  # family -> names made from its photo

    def add(self, folder, name, pixels, edit_name, families):
        """Write a file that was made from the first of ``families``."""
        cv2.imwrite(str(folder / name), pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        self.edits[name], self.shows[name] = edit_name, set(families)
        self.families.setdefault(families[0], []).append(name)

    @property
    def truth(self):
        """Unordered pairs of one family."""
        return {pair for names in self.families.values() for pair in itertools.combinations(sorted(names), 2)}

    def is_open(self, pair):
        """Whether a pair shows one photo: of one family, or as a blend and what was mixed in."""
        return bool(self.shows[pair[0]] & self.shows[pair[1]])


def plant(folder, photos, *, kind, n_originals, seed):
    """Write the files of a collection: originals with their copies, and photos without copies."""
    folder.mkdir(parents=True, exist_ok=True)
    planted, numbers = Planted(), np.random.default_rng(seed).integers(n_originals, size=len(photos))
    for i, photo in enumerate(photos):
        planted.add(folder, f"{i:05d}-original.jpg", photo, "original" if i < n_originals else "alone", [i])
        if i >= n_originals:
            continue
        for number, (name, make) in enumerate(COLLECTIONS[kind].items()):
            j = (i + 1 + int(numbers[i]) + number) % len(photos)
            j = (j + 1) % len(photos) if j == i else j
            rng = np.random.default_rng([seed, i, number])
            copy = np.ascontiguousarray(make(photo, photos[j], rng))
            shown = [i, j] if name in MIXES else [i]
            planted.add(folder, f"{i:05d}-{number}.jpg", copy, name, shown)
    return planted
