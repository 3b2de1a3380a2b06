"""The two stores behind one interface, and which of them an archive's address means."""

from pathlib import Path
from urllib.parse import urlsplit

from receiver.errors import SettingsError
from receiver.store.base import Check, Listed, Store
from receiver.store.directory import DirectoryStore
from receiver.store.unconditional import UnconditionalStore

__all__ = ["Check", "DirectoryStore", "Listed", "Store", "open_store"]


def open_store(
    address: str,
    *,
    timeout_seconds: float = 30.0,
    kms_key_id: str | None = None,
    storage_class: str | None = None,
    bucket_owner: str | None = None,
    leases: bool = True,
) -> Store:
    """Return the store of an address: `s3://bucket/prefix`, or a directory's path.

    Without ``leases`` no bucket is asked for conditional writes.
    """
    if "://" not in address and not address.lower().startswith("s3:"):
        return DirectoryStore(Path(address))
    parts = urlsplit(address)
    bucket = parts.netloc
    if parts.scheme != "s3" or not bucket or "@" in bucket or parts.query or parts.fragment:
        raise SettingsError("RECEIVER_ARCHIVE is neither s3://bucket/prefix nor a directory")
    # Imported here, for it takes a quarter of a second and 30 MB that a server process can spare.
    from receiver.store.s3 import S3Store

    store = S3Store(
        bucket=bucket,
        prefix=parts.path.strip("/"),
        timeout_seconds=timeout_seconds,
        kms_key_id=kms_key_id,
        storage_class=storage_class,
        bucket_owner=bucket_owner,
    )
    return store if leases else UnconditionalStore(store)
