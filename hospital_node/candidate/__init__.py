"""Build one ONNX file from a trained generator, run it, and compare it with the trained network."""
