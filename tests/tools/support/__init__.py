"""What tests stand on: an S3 endpoint, a relay that breaks, a server process, an oracle.

Nothing here imports the package under test.
"""
