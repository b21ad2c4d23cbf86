"""Which pictures differences of published averages reveal: 6 G(6) - 5 G(5) is the sixth alone. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

Pictures = frozenset[str]


def smallest_part(published: Collection[Pictures], wanted: Pictures, k: int) -> int | None:
    """How few pictures another average would single out, if fewer than `k`; None: it may be published.

    Pictures in the same averages are one part. Sums and differences of averages weigh all pictures of a part
    alike. So none describes fewer pictures than the smallest part, for any number of averages.

    Args:
        published: the sets that averages were published of.
        wanted: the set behind the next average.
        k: fewest pictures that statistics may describe.
    """
    parts: dict[tuple[bool, ...], set[str]] = defaultdict(set)
    for picture in wanted.union(*published):
        parts[tuple(picture in one for one in published)].add(picture)
    sizes = []
    for averages, part in parts.items():
        inside, outside = len(part & wanted), len(part - wanted)
        if not any(averages):
            sizes.append(inside)
        elif inside and outside:
            sizes += [inside, outside]
    return min((size for size in sizes if size < k), default=None)
