"""Serializable transactions and change notification, over any engine."""
