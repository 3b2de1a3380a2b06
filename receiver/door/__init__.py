"""The door: takes callbacks and answers 2xx once each is on stable storage.

Nothing else happens while a provider waits.  Only the head of a request is judged, and the
signature where the provider makes one; the body is opaque bytes.
"""
