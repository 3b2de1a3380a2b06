"""Conversations with DataForSEO's API, each test a few replies."""
