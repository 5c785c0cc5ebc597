"""The process that moves jobs forward while nobody watches."""
