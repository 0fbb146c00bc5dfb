"""Who may call: certificates, tokens, allow rules.

In: serve settings and calls. Out: permission, or a status with the reason.
May import: service's own modules, core and errors.
"""
