"""What is known of pairs besides points of a model: scales of transforms, partners of one label."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from resight.mining.sampling import mix_ids

PARTNERS = pa.schema([("anchor", pa.int64()), ("item", pa.int64()), ("model", pa.int64())])


def scale_of(transform: bytes | None, kind: str | None) -> float:
    """Give how much larger things look in one of two images, at least 1; NaN where that is not known.

    ``transform`` is (3, 3) float64, pixels to pixels; ``kind`` its model. Of a homography this is the change
    of lengths where it has its origin; a fundamental matrix tells none.

    >>> scale_of(np.diag([0.5, 0.5, 1.0]).tobytes(), "similarity")
    2.0
    """
    if transform is None or kind in (None, "fundamental"):
        return float("nan")
    M = np.frombuffer(transform, np.float64).reshape(3, 3)
    bent = M[:2, :2] * M[2, 2] - np.outer(M[:2, 2], M[2, :2])  # slope of the map at the origin, times M22^2
    area = abs(np.linalg.det(bent)) / M[2, 2] ** 4 if M[2, 2] else 0.0
    if not np.isfinite(area) or area <= 0:
        return float("nan")
    return float(max(area**0.5, area**-0.5))


@dataclass(frozen=True)
class LabelWork:
    """Pair every image of a label with ``n`` others of it, drawn by ``seed``."""

    n: int
    seed: int = 0

    def __call__(self, images: pa.Table) -> pa.Table:
        """Pair the images of one label, rows (image_id, model, copy_key): `PARTNERS` rows.

        Images stand in a circle, in an order that is drawn; the partners of each are the ``n`` that follow
        it, so that everyone is a partner as often as an anchor. Copies are no partners.
        """
        images = images.sort_by("image_id")
        ids, keys = images["image_id"].to_numpy(), images["copy_key"].to_numpy()
        order = np.lexsort((ids, mix_ids(self.seed, ids)))
        steps = np.arange(1, min(self.n, len(ids) - 1) + 1)
        a = np.repeat(np.arange(len(ids)), len(steps))
        b = (a + np.tile(steps, len(ids))) % len(ids)
        a, b = order[a], order[b]
        apart = keys[a] != keys[b]
        model = np.full(int(apart.sum()), images["model"][0].as_py())
        return pa.table([ids[a[apart]], ids[b[apart]], model], schema=PARTNERS)
