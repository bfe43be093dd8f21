"""Settings, and the assembly of a run from them: the only folder that knows all the others."""
