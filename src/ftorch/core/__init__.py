"""What every layer may use: errors, money, ids, clock, paths, log. Imports nothing of ours."""
