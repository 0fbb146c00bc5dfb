"""Tuning and observation of the worker's host: GC, scheduler slice, CPU steal.

In: the process and /proc. Out: settings applied and counters read.
May import: the standard library, core and errors.
"""
