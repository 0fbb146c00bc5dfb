"""Engines: what runs a request, alone or in batches.

In: tensors. Out: outputs, tokens, and service times.
May import: sut_server's models and messages.
"""
