"""From pictures to calibrated predictions, with onnxruntime alone."""
