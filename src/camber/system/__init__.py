"""The platform's own tables: rows over ordinary transactions."""
