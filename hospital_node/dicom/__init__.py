"""DICOM files as pictures and masks: pixels come out, and of the tags only what intake needs."""
