"""The command line: one module per noun, loaded when called. Data on stdout, words on stderr."""
