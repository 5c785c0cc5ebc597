"""Schedules: times become jobs, each at most once, and what they train must earn its place."""
