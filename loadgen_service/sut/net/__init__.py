"""Addresses, credentials, proxies and CONNECT tunnels.

In: URLs and environment. Out: what to dial, and how.
May import: sut's own modules, core and errors.
"""
