"""The prepared samples as one mapped file.

In: tensors of a data set. Out: an arena file keyed by content hash, and views into it.
May import: qsl's own modules, core and errors.
"""
