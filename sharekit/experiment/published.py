"""The published values that ours stand beside: those of Thambawita et al., PLOS ONE 2022.

Only values that are known for certain; the page shows a dash for the others.
"""

from __future__ import annotations

CITATION = "Thambawita et al., SinGAN-Seg, PLOS ONE 17(5): e0267976, 2022"
IMAGES = 667
"""Real images that the paper's Table 1 trains on."""
IOU = {
    ("table1", "real", None): 0.8266,
    ("table2", "real", 5): 0.4618,
    ("table2", "synthetic", 5): 0.5993,
}
"""Foreground IoU by table, arm and R."""
BEST_SYNTHETIC_IOU = 0.7983
"""The best of Table 1's arms that are trained on synthetic images alone."""
BEST_RATIO = BEST_SYNTHETIC_IOU / IOU["table1", "real", None]
