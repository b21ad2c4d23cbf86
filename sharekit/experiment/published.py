"""The published values that we compare ours with: Thambawita et al., PLOS ONE 2022.

It holds only values that are certain; the page shows a dash for the others.
"""

from __future__ import annotations

CITATION = "Thambawita et al., SinGAN-Seg, PLOS ONE 17(5): e0267976, 2022"
IMAGES = 667
"""Number of real training images in the paper's Table 1."""
IOU = {
    ("table1", "real", None): 0.8266,
    ("table2", "real", 5): 0.4618,
    ("table2", "synthetic", 5): 0.5993,
}
"""Foreground IoU by table, arm and R."""
BEST_SYNTHETIC_IOU = 0.7983
"""Best IoU in Table 1 among the arms that train only on synthetic images."""
BEST_RATIO = BEST_SYNTHETIC_IOU / IOU["table1", "real", None]
