"""Webhooks: events told to servers of others, signed as Standard Webhooks, and to public addresses only."""
