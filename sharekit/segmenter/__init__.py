"""The segmenter contract: its ONNX file, metrics, submission and evaluation."""
