"""Build one ONNX file from a trained generator, run it, and compare it with the trained network."""

from hospital_node.candidate.build import build_onnx
from hospital_node.candidate.parity import Parity, measure_parity

__all__ = ["Parity", "build_onnx", "measure_parity"]
