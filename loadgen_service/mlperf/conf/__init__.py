"""mlperf.conf, user.conf and audit.config.

In: their text. Out: effective settings.
May import: mlperf's own modules, core and errors.
"""
