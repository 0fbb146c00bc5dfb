"""What a process asks of its C library and its kernel: malloc limits, busy-polling.

In: nothing but constants. Out: settings applied to this process.
May import: the standard library; ctypes is allowed here.
"""
