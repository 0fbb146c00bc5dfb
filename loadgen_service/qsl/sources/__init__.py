"""Readers and makers of sample data, one kind a module.

In: files or seeds. Out: tensors and prompts for the sample library.
May import: qsl's own modules, core and errors.
"""
