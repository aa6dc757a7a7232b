"""App code: registered, given a context, run."""
