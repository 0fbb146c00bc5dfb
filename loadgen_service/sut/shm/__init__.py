"""System shared memory for inputs and outputs.

In: tensors and output sizes. Out: registered regions and requests that name them.
May import: sut's own modules, core and errors.
"""
