"""Long-running work: each service starts, stops, and meets the others only in the database."""
