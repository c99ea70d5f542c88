"""The one interface of all extractors, and how to get the one that the settings ask for."""

from typing import Protocol

import numpy as np

from resight.config import SettingError
from resight.features.local.points import LocalFeatures
from resight.features.local.settings import LocalSettings
from resight.features.whitening import Whitening

__all__ = ["LocalExtractor", "build_extractor"]


class LocalExtractor(Protocol):
    """Finds and describes the keypoints of one photo; the same pixels always give the same features."""

    @property
    def ahead(self) -> bool:
        """Whether it computes elsewhere, so that decoding always runs ahead of it."""

    def describe(self, pixels: np.ndarray, *, limit: int | None = None) -> LocalFeatures:
        """Give the ``limit`` strongest features of ``pixels`` (h, w, 3) uint8 RGB; None: all of them.

        Places and scales are in pixels of ``pixels``. Fewer are given where there are fewer, never filled up.
        """


def build_extractor(
    settings: LocalSettings, *, whitening: Whitening | None = None, device: str | None = None
) -> LocalExtractor:
    """Make the extractor of ``settings``; its network is loaded once per process.

    ``whitening`` projects activations (``how`` only); ``device`` is such as ``cuda:0``, by default the first
    GPU if there is one, else the CPU.

    Raises
    ------
    SettingError
        A package or weight file is missing or of another kind; the message begins with the key.
    """
    if whitening is not None and (settings.extractor != "how" or settings.is_checkpoint):
        raise SettingError("whitening: only for activations (extractor how) of a network without its own")
    if settings.extractor == "rootsift":
        from resight.features.local.rootsift import RootSift

        return RootSift(settings.contrast, settings.edge)
    if settings.extractor == "xfeat":
        from resight.features.local.xfeat import load_xfeat

        return load_xfeat(settings, device)
    if settings.extractor == "how":
        from resight.features.local.how import load_activations

        return load_activations(settings, whitening, device)
    from resight.features.local.lightglue import load_detector

    return load_detector(settings, device)
