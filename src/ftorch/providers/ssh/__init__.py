"""Any GPU box over ssh: a driver that other providers may use, and a provider of its own for a machine of yours.

`link` carries commands and bytes, `agent` and `runner` are what runs on the box, `box` is what one may ask of it.
"""
