"""The generator contract: tensors, noise, and the ONNX file."""
