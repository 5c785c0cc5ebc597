"""Evaluation: scores of held-out rows, their intervals, paired comparison and the gate. Pure, on scores and rows."""
