"""SinGAN-Seg: one small generator trained on one (image, mask) pair. Runs without Ray."""
