"""Models: ONNX files, Python classes, the built-in zoo.

In: a model name or path. Out: a loaded model with its tensor specs.
May import: sut_server's errors.
"""
