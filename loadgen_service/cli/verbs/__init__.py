"""Verbs of the command line, one module each.

In: parsed arguments. Out: an exit code.
May import: every package of loadgen_service below cli.
"""
