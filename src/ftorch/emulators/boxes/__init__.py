"""Machines in a box: a real sshd each, on a loopback address of its own, with what a rented GPU box has inside.

Needs `openssh-server`; nothing runs as a service of the system. As root and as anybody else, without namespaces.
"""
