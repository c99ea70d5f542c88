"""Which images a model is fitted on: conditions on their columns and those of their manifest."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import pyarrow as pa

from resight.tables import IMAGES

__all__ = ["IMAGE_COLUMNS", "parse_conditions"]

IMAGE_COLUMNS = tuple(  # of texts and of whole numbers, which are compared as written
    field.name for field in IMAGES.schema if pa.types.is_string(field.type) or pa.types.is_integer(field.type)
)


def parse_conditions(conditions: Iterable[str]) -> Mapping[str, list[str]]:
    """Read ``COLUMN=VALUE``: the allowed values by column; ``ValueError`` where one is not of this form.

    Values of one column are alternatives, columns restrict each other. A column that is none of
    `IMAGE_COLUMNS` is one of the manifest.
    """
    allowed: dict[str, list[str]] = defaultdict(list)
    for condition in conditions:
        column, equals, value = condition.partition("=")
        if not equals or not column.strip():
            raise ValueError(f"only: {condition!r} is not of the form column=value, such as split=train")
        allowed[column.strip()].append(value.strip())
    return dict(allowed)
