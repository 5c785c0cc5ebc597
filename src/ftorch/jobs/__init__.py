"""Jobs: a plan submitted, moved forward row by row until it has ended, is released and settled."""
