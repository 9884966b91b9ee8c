"""Everything compiled, and the plumbing around it; users never import it."""
