"""What a person writes (manifest, settings) and what it resolves to (plan)."""
