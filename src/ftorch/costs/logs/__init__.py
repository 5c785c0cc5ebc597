"""Logs of real calls of a hosted model, as four tools write them: read line by line, whatever their size."""
