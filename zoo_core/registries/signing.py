"""Signatures of registries: ed25519 over the bytes of `index.json`. The only place that touches cryptography.

`index.json.sig` is JSON and holds one signature for each of up to a few indexes, each named by its SHA-256: while a new index
takes the old one's place, both are in it, so that at no moment a reader finds an index without its signature.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from zoo_core.cards.parts import Digest
from zoo_core.errors import MissingDependency, UsageProblem, ZooError
from zoo_core.offers import install_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: The largest file of signatures that is read, in bytes.
MAX_SIGNATURES = 10_000


class Signature(msgspec.Struct, frozen=True):
    """A signature, base64, and the SHA-256 of the index that it signs."""

    index: Digest
    signature: Annotated[str, msgspec.Meta(max_length=100)]


class _File(msgspec.Struct, frozen=True):
    schema: Literal["zoo.signatures/v1"]
    signatures: list[Signature]


def signatures_bytes(signatures: Sequence[Signature]) -> bytes:
    """Write a file of signatures."""
    return msgspec.json.format(msgspec.json.encode(_File("zoo.signatures/v1", list(signatures))), indent=1) + b"\n"


def signatures_of(content: bytes | None, index: bytes) -> list[Signature]:
    """The signatures for this index in the bytes of a file of signatures; none where the file is absent or none at all."""
    if content is None:
        return []
    try:
        file = msgspec.json.decode(content, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    digest = hashlib.sha256(index).hexdigest()
    return [each for each in file.signatures if each.index == digest]


def signature_problem(content: bytes | None, index: bytes, public_key: str) -> str:
    """Why the index is not signed with a key, as a clause; empty when it is."""
    if content is None:
        return "is not signed"
    signatures = signatures_of(content, index)
    if not signatures:
        return "has a signature of something else"
    if not any(_is_good(each, index, public_key) for each in signatures):
        return "is not signed with the key that you trust"
    return ""


def sign(index: bytes, key: Ed25519PrivateKey) -> Signature:
    """Sign an index."""
    return Signature(hashlib.sha256(index).hexdigest(), base64.b64encode(key.sign(index)).decode())


def make_key(path: Path) -> str:
    """Make a private key, readable for its owner alone; the public key. Raises `ZooError`, also when the file exists."""
    key = _ed25519().Ed25519PrivateKey.generate()
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # which nobody else may read
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_pem(key))
                file.flush()
                os.fsync(handle)
            os.link(temporary, path)  # unlike a rename, this never replaces a file
        finally:
            Path(temporary).unlink()
    except FileExistsError:
        raise ZooError(f"{path} exists, and a key is never overwritten; name another file.") from None
    except OSError as error:
        raise ZooError(f"The key {path} cannot be written: {error.strerror or error}.") from error
    return public_key(key)


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file. Raises `ZooError`."""
    ed25519 = _ed25519()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):  # no PEM, with a password, of a strange kind
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise ZooError(f"The key {_shown(path)} cannot be read: {error.strerror or error}.") from error
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key  # type: ignore[no-any-return]
    raise ZooError(
        f"{_shown(path)} is no private ed25519 key without a password; make one with: zoo registry keygen FILE"
    )


def public_key(key: Ed25519PrivateKey) -> str:
    """The public key that belongs to a private one, base64."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def check_public_key(text: str) -> None:
    """Raise `UsageProblem` unless `text` is written like a public key."""
    with contextlib.suppress(ValueError, binascii.Error):
        if len(base64.b64decode(text, validate=True)) == 32:
            return
    raise UsageProblem(  # which does not repeat the text: it may be a private key
        "What you gave is no public key: that is 32 bytes in base64, as 'zoo registry keygen' prints them."
    )


def _is_good(signature: Signature, index: bytes, key: str) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        given = _ed25519().Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
        given.verify(base64.b64decode(signature.signature, validate=True), index)
    except (InvalidSignature, ValueError):
        return False
    return True


def _shown(path: Path) -> str:
    """The path of a key, unless it is the key itself, as text."""
    return "FILE" if re.search(r"PRIVATE KEY|MC4CAQAw", str(path)) else str(path)


def _pem(key: Ed25519PrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _ed25519() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        message = f"Signatures need the package 'cryptography'. Install it with: pip install {install_name('hub')}"
        raise MissingDependency(message) from error
    return ed25519
