"""Issue loop driven by the official LoadGen instead of our pacer.

In: callbacks of mlperf_loadgen. Out: the same records as the ordinary loop.
May import: worker's own modules, core, sut, qsl and errors.
"""
