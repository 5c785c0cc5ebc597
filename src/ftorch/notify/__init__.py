"""Notices on their way to people: signed webhooks and Slack, retried until they are taken or given up."""
