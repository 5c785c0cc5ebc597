"""Providers in a box: services on 127.0.0.1 that answer, fail and bill like the real ones. They import only `core`."""
