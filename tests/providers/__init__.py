"""The adapters against recorded-style samples."""
