"""Which builds of build-graph are graphs of images, and which are graphs of regions."""

from resight.workspace import Run


def of_images(graph: Run) -> bool:
    """Whether a build is a graph of images."""
    return not of_regions(graph)


def of_regions(graph: Run) -> bool:
    """Whether a build is a graph of regions."""
    return graph.settings.get("of") == "regions"
