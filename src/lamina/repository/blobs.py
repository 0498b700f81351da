"""Seal one chunk into a blob and open it again (spec: blobs)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lamina.crypto.hashing import derive, keyed_hash
from lamina.crypto.keys import OWNER_SLOT
from lamina.errors import Damaged
from lamina.filters.pipeline import seal_part, unseal_part
from lamina.model.entries import Buffer
from lamina.model.ids import ChunkId, RepositoryId
from lamina.repository.format import BLOB_HEADER_SIZE, BlobHeader, BlobKind, decode_blob_header

NODE_LEVEL = 3  # zstd level of metadata: small, and always worth it
_BODY, _LINKS = b"\0", b"\1"


@dataclass(frozen=True, slots=True)
class Node:
    """One metadata chunk: links that a steward may read, and a body that only names' readers may."""

    links: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class SealedBlob:
    """One chunk ready to lie in a pack."""

    header: BlobHeader
    links: bytes
    body: bytes
    plain_size: int


class ChunkNamer:
    """Names content: the keyed hash that is a chunk's id. Data and each kind of metadata have their own key."""

    def __init__(self, id_key: bytes) -> None:
        self._data_key = derive(id_key, "lamina/1 data")
        self._node_keys: dict[BlobKind, bytes] = {
            kind: derive(id_key, "lamina/1 node", bytes([kind])) for kind in BlobKind if kind is not BlobKind.DATA
        }

    def data_id(self, content: Buffer) -> ChunkId:
        """The id of a data chunk."""
        return ChunkId(keyed_hash(self._data_key, content))

    def node_id(self, kind: BlobKind, node: Node, slot: bytes = OWNER_SLOT) -> ChunkId:
        """The id of a metadata chunk whose body is sealed to the owner and to *slot*.

        Who may read a body is part of its name: otherwise one writer's directory would be deduplicated against another's, and
        its own writer could not read it.
        """
        reader = slot if node.body else b""
        joined = b"".join((len(node.links).to_bytes(4, "little"), node.links, node.body, reader))
        return ChunkId(keyed_hash(self._node_keys[kind], joined))


class BlobSealer:
    """Seals and opens blobs of one repository, given the session key they are sealed with."""

    def __init__(self, repository: RepositoryId, structure_key: bytes) -> None:
        self._repository = repository
        self._structure_key = structure_key

    def seal_data(self, chunk: ChunkId, content: Buffer, *, session_key: bytes, level: int | None) -> SealedBlob:
        """One data chunk; its key number is 0 until a pack says otherwise."""
        salt = os.urandom(16)
        body = seal_part(
            content,
            level=level,
            key=self._part_key(session_key, BlobKind.DATA, chunk, salt, _BODY),
            aad=self._aad(BlobKind.DATA, chunk, _BODY),
        )
        return SealedBlob(BlobHeader(BlobKind.DATA, 0, chunk, salt, 0, len(body)), b"", body, len(content))

    def seal_node(self, kind: BlobKind, chunk: ChunkId, node: Node, *, session_key: bytes) -> SealedBlob:
        """One metadata chunk: links under the structure key, body under the session's metadata key."""
        salt = os.urandom(16)
        links = seal_part(
            node.links,
            level=NODE_LEVEL,
            key=self._part_key(self._structure_key, kind, chunk, salt, _LINKS),
            aad=self._aad(kind, chunk, _LINKS),
        )
        body = b""
        if node.body:
            key = self._part_key(session_key, kind, chunk, salt, _BODY)
            body = seal_part(node.body, level=NODE_LEVEL, key=key, aad=self._aad(kind, chunk, _BODY))
        header = BlobHeader(kind, 0, chunk, salt, len(links), len(body))
        return SealedBlob(header, links, body, len(node.links) + len(node.body))

    def unseal_body(self, header: BlobHeader, blob: Buffer, *, session_key: bytes) -> bytes:
        """The body (a data chunk's content). Raises: Damaged."""
        if not header.body_size:
            return b""
        return unseal_part(
            memoryview(blob)[BLOB_HEADER_SIZE + header.links_size : header.stored_size],
            key=self._part_key(session_key, header.kind, header.id, header.salt, _BODY),
            aad=self._aad(header.kind, header.id, _BODY),
            what=f"chunk {header.id.hex()}",
        )

    def unseal_links(self, header: BlobHeader, blob: Buffer) -> bytes:
        """The links of a metadata chunk; the structure key is enough. Raises: Damaged."""
        return unseal_part(
            memoryview(blob)[BLOB_HEADER_SIZE : BLOB_HEADER_SIZE + header.links_size],
            key=self._part_key(self._structure_key, header.kind, header.id, header.salt, _LINKS),
            aad=self._aad(header.kind, header.id, _LINKS),
            what=f"the links of chunk {header.id.hex()}",
        )

    def _part_key(self, key: bytes, kind: BlobKind, chunk: ChunkId, salt: bytes, part: bytes) -> bytes:
        return derive(key, "lamina/1 blob", bytes([kind]), chunk, salt, part)

    def _aad(self, kind: BlobKind, chunk: ChunkId, part: bytes) -> bytes:
        return b"".join((self._repository, bytes([kind]), chunk, part))


def split_blob(blob: Buffer, chunk: ChunkId, kind: BlobKind, *, name: str) -> BlobHeader:
    """The header of a blob that must hold *chunk*. Raises: Damaged."""
    header = decode_blob_header(blob[:BLOB_HEADER_SIZE], name=name)
    if header.id != chunk or header.kind is not kind or header.stored_size != len(blob):
        raise Damaged(f"{name} holds another blob than {chunk.hex()} where the index says it lies")
    return header
