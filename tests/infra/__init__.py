"""What `infra/` holds is checked by the tools that will read it, and against the code."""
