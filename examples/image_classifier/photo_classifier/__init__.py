"""A photo classifier: EfficientNet-Lite0 with its ImageNet weights, and twenty labelled photos."""
