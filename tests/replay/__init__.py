"""Replay and forward, part by part."""
