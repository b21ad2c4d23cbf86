"""The generator contract: its tensors, its noise, and its ONNX file."""
