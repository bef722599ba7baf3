"""Inference: windows of pixels become labels and confidence."""
