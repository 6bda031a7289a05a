"""GPTQ: shrink weights by layers with calibration data, and run what was shrunk, with PyTorch alone."""
