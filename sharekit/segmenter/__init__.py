"""The segmenter contract: its ONNX file, its metrics, its submission and its evaluation."""
