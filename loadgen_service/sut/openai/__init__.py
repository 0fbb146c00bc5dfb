"""OpenAI-style endpoints: requests, streamed responses, control.

In: prompts and samples. Out: request bytes; from responses, pieces and usage.
May import: sut's own modules, core and errors.
"""
