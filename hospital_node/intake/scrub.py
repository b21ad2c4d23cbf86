"""Find the overlays of a folder's pictures, and paint them over before anything is stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from hospital_node.intake.read_pair import ReadPair
from hospital_node.ledger.states import ImageRecord
from hospital_node.node.pair import Pair
from hospital_node.overlays.outcome import Overlays, Ruling, Treatment, decide, on_masks
from hospital_node.overlays.paint import paint_over
from hospital_node.overlays.region import Region
from hospital_node.overlays.survey import Survey
from hospital_node.overlays.text_detector import load_detector
from hospital_node.overlays.text_reader import load_reader


class Scrubber:
    """What one ingest knows about the devices behind its pictures.

    Raises (when made):
        DependencyError: the extra `scrub` is missing.
    """

    def __init__(self, earlier: Iterable[ImageRecord]) -> None:
        """`earlier`: images of the node; where a device wrote on them, it may write again."""
        self._survey = Survey(load_detector(), load_reader())
        for record in earlier:
            overlays = Overlays.from_text(record.overlays)
            if overlays.treatment is Treatment.PAINTED:
                self._survey.remember(record.id, record.height, record.width, overlays.painted)

    def look(self, name: str, pair: Pair, declared: Sequence[Region]) -> None:
        """Look at a picture before any is taken: the pictures of one device explain each other."""
        self._survey.look(name, pair.image, declared)

    def scrub(self, name: str, read: ReadPair, ruling: Ruling | None) -> tuple[ReadPair, Overlays, list[str]]:
        """Paint over the overlays of a picture.

        Args:
            name: as it was looked at; a picture that was not is looked at now.
            read: the decoded pair.
            ruling: what a person decided about it; None: nobody has.

        Returns:
            The pair to store, what was found, and the classes whose masks have painted pixels in them. A mask
            stays as the experts drew it. If the treatment is `WAITING`, the pair must not be stored.
        """
        pair = read.pair
        height, width = pair.image.shape[:2]
        regions = self._survey.overlays(name, pair.image, read.declared)
        overlays = decide(regions, pair.masks, height, width, ruling, says_burned_in=read.says_burned_in)
        if overlays.treatment is Treatment.WAITING:
            return read, overlays, []
        painted = Pair(paint_over(pair.image, overlays.painted), pair.masks)
        touched = on_masks(overlays, pair.masks, height, width)
        return dataclasses.replace(read, pair=painted), overlays, touched
