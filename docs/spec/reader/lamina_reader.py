"""Read a Lamina repository without Lamina: the proof that repository-format.md suffices ("§" cites its sections).

    python lamina_reader.py REPOSITORY_DIR KEY_FILE                      list the snapshots
    python lamina_reader.py REPOSITORY_DIR KEY_FILE SNAPSHOT             list what one holds: path, type, size, error
    python lamina_reader.py REPOSITORY_DIR KEY_FILE SNAPSHOT PATH OUT    write one file to the new file OUT

KEY_FILE holds an owner's passphrase or the recovery key; SNAPSHOT is the beginning of an id. restore_tree.py, beside
this file, restores whole trees. Needs `cryptography`, `blake3`, and zstd (in Python itself from 3.14 on).
"""

import base64
import io
import json
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from fnmatch import filter as names
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

PACK, KEY_SLOT, FORMAT, SNAPSHOT, ABORT, REMOVAL, OWNER, WRITER, STEWARD = 1, 2, 3, 8, 9, 11, 1, 2, 3
MAY_SIGN = {FORMAT: {OWNER}, SNAPSHOT: {OWNER, WRITER}, ABORT: {OWNER, STEWARD}, REMOVAL: {OWNER, STEWARD}}
DATA_BLOB, FIXED_NODE, DIRECTORY_NODE, CUT_NODE = 1, 2, 3, 4
DATA, ZERO, HOLE, UNREAD, UNREAD_KEPT = range(5)
FIELDS = "name type mode uid gid mtime link form size chunk_size position ctime inode names device".split()  # noqa: SIM905
FIELDS += ["state", "slices", "target", "special", "birth", "flags", "xattrs", "error", "totals"]
LATER = [0, 0, 1, 0, 0, [], b"", None, None, 0, [], "", None]  # what older programs left out: the fields from ctime on
DIRECTORY, FILE, SYMLINK, PART, FIXED, SLICED, CUT = 1, 2, 3, 255, 1, 2, 3
TYPES = ("", "directory", "file", "symlink", "fifo", "socket", "character device", "block device", "unknown")
HEADER, NONCE = b"LAMINA%c\1\0\0\0\0\0\0\0\0", bytes(12)  # §4.1; §2.3: each key seals one message
BAD = (ValueError, LookupError, InvalidSignature, InvalidTag, struct.error, zstd.ZstdError)


def need(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(what)


def derive(key: bytes, purpose: str, *fields: bytes) -> bytes:  # §2.2: a key for one purpose
    return blake3(bytes([len(purpose)]) + purpose.encode() + b"".join(fields), key=key).digest()


def unseal_part(key: bytes, sealed: bytes, aad: bytes) -> bytes:  # §2.4
    plain = AESGCM(key).decrypt(NONCE, sealed, aad)
    codec, size, stored = struct.unpack_from("<BII", plain)
    need(codec in {0, 1} and size <= 64 << 20, "codec or length of a part is impossible")
    content = plain[9 : 9 + stored]  # padding follows
    content = zstd.ZstdDecompressor().decompress(content, max_length=size) if codec else content
    need(len(content) == size, "a part has another length than recorded")
    return bytes(content)


def unpack(data: bytes | io.BytesIO) -> Any:  # §2.5: the next MessagePack value
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    tag = file.read(1)[0]
    if tag < 0x80 or tag >= 0xE0 or tag in {0xC0, 0xC2, 0xC3}:  # a small integer, nil or a boolean
        return {0xC0: None, 0xC2: False, 0xC3: True}.get(tag, tag - 256 * (tag >= 0xE0))
    number = tag & (0x0F if tag < 0xA0 else 0x1F)  # the size of a short array or string
    if tag >= 0xC0:  # the value of an integer, or the size of a binary, string or array
        width = (1, 2, 4, 0, 0, 0, 0, 0, 1, 2, 4, 8, 1, 2, 4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4)[tag - 0xC4]
        number = int.from_bytes(file.read(width), "big", signed=0xD0 <= tag <= 0xD3)
    if 0xCC <= tag <= 0xD3:
        return number
    if 0x90 <= tag < 0xA0 or tag in {0xDC, 0xDD}:
        return [unpack(file) for _ in range(number)]
    need(tag >= 0xA0 and not 0xC7 <= tag <= 0xCB and len(value := file.read(number)) == number, "a record is damaged")
    return value if 0xC4 <= tag <= 0xC6 else value.decode()


def recovery_root(text: bytes) -> bytes:  # §3.2
    letters = str.maketrans("0123456789ABCDEFGHJKMNPQRSTVWXYZILO", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567BBA", "- \n")
    payload = base64.b32decode(text.decode().strip().upper()[9:].translate(letters))
    need(payload[32:] == blake3(b"LAMINA-1-" + payload[:32]).digest()[:3], "the recovery key is misspelt")
    return payload[:32]


def read_object(data: bytes, kinds: tuple[int, ...]) -> tuple[int, bytes]:  # §4.1: kind and payload
    need(blake3(data[:-32]).digest() == data[-32:], "an object is damaged")
    need(data[6] in kinds and data[:16] == HEADER % data[6], "an object is of an unknown kind")
    return data[6], data[16:-32]


class Repository:
    def __init__(self, folder: Path, credential: bytes) -> None:  # §1: a directory spreads hashes over two levels
        parts = {path.relative_to(folder).parts: path for path in folder.rglob("*") if path.is_file()}
        self.paths = {"/".join((*p[:-3], p[-1]) if len(p[-1]) == 64 else p): parts[p] for p in sorted(parts)}
        data = self.paths["lamina.json"].read_bytes()
        head, birth = data.partition(b',\n  "hash": "')[0], json.loads(data)
        need(birth["magic"] == "lamina" and blake3(head).hexdigest() == birth["hash"], "lamina.json is damaged")
        need((birth["version"], birth["features"]) == (1, 0), "the repository needs a newer reader")
        self.id, self.owner = bytes.fromhex(birth["repository"]), bytes.fromhex(birth["owner"])
        self.root = recovery_root(credential) if credential[:9].upper() == b"LAMINA-1-" else self.unlock(credential)
        signing = ed25519.Ed25519PrivateKey.from_private_bytes(derive(self.root, "lamina/1 signing key"))
        need(signing.public_key().public_bytes_raw() == self.owner, "the key is of another repository")
        self.structure_key = derive(self.root, "lamina/1 structure key")
        mac = blake3(b"\1" + bytes(4) + self.id + self.owner, key=derive(self.structure_key, "lamina/1 lamina.json"))
        need(mac.hexdigest() == birth["mac"], "lamina.json is forged")
        need(self.read_record(names(self.paths, "format/*")[-1], FORMAT)[1][2:4] == [1, 0], "it needs a newer reader")
        self.id_key = derive(self.root, "lamina/1 id key")
        self.places: dict[bytes, list[tuple[Path, int, int, Any]]] = {}
        for name in names(self.paths, "data/*") + names(self.paths, "meta/*"):
            try:
                self.read_footer(self.paths[name])
            except BAD as error:
                print(f"{name} is left out: {error!r}", file=sys.stderr)

    def unlock(self, passphrase: bytes) -> bytes:  # §3.3: the root
        for name in names(self.paths, "keys/" + "?" * 16):
            try:
                payload = read_object(self.paths[name].read_bytes(), (KEY_SLOT,))[1]
                record, domain = payload[:-64], b"lamina/1 slot" + self.id
                _, _, _, kdf, salt, memory, passes, lanes, certificate, _, wrapped = unpack(record)
                role = self.signing_role(certificate, payload[-64:], domain + record)
                need(kdf == 1 and memory <= 4 << 20 and passes <= 64 and lanes <= 64, "it asks for too much")
                kdf = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
                aad = domain + record[: -len(wrapped) - 2] + b"\xc4\0"  # the bundle is the last field; here it is empty
                bundle = unpack(AESGCM(kdf.derive(passphrase)).decrypt(NONCE, wrapped, aad))
            except BAD:
                continue
            need(role == OWNER, "this passphrase is not an owner's; content is sealed to owners only")
            return bytes(bundle[1])
        raise ValueError("no key slot opens with this passphrase")

    def signing_role(self, certificate: bytes, signature: bytes, message: bytes) -> int:  # §3.6
        role, public, signed = certificate[8], certificate[9:41], b"lamina/1 certificate" + self.id + certificate[:73]
        ed25519.Ed25519PublicKey.from_public_bytes(self.owner).verify(certificate[73:], signed)
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        need((role == OWNER) == (public == self.owner), "a certificate names the wrong role")
        return role

    def read_record(self, name: str, *kinds: int) -> tuple[int, Any, bytes]:  # §5: kind, structure and sealed body
        data = self.paths[name].read_bytes()
        kind, payload = read_object(data, kinds)
        body_at = 36 + int.from_bytes(payload[32:36], "little")
        end = body_at + 4 + int.from_bytes(payload[body_at : body_at + 4], "little")
        need(len(payload) == end + 137 + 64, f"{name} has the wrong length")
        message = b"".join((b"lamina/1 record", self.id, len(name).to_bytes(2, "little"), name.encode(), data[:-96]))
        need(self.signing_role(payload[end:-64], payload[-64:], message) in MAY_SIGN[kind], f"{name}: wrong role")
        key = derive(self.structure_key, "lamina/1 record", bytes([kind]), payload[:32])
        structure = AESGCM(key).decrypt(NONCE, payload[36:body_at], self.id + name.encode())
        return kind, unpack(structure), payload[body_at + 4 : end]

    def session_key(self, entry: Any, purpose: int) -> bytes:  # §3.4 and §3.5
        session, found, recipients = entry
        epoch, algorithm, envelope = next(one for one in recipients if one[0] == bytes(8))[1:4]
        need((found, algorithm) == (purpose, 1), "a session key is for another purpose, or sealed in an unknown way")
        number = epoch.to_bytes(4, "little")
        seed, info = derive(self.root, "lamina/1 epoch key", number), b"lamina/1" + self.id + session
        one = mlkem.MLKEM768PrivateKey.from_seed_bytes(derive(seed, "mlkem d") + derive(seed, "mlkem z"))
        private = MLKEM768X25519PrivateKey(one, x25519.X25519PrivateKey.from_private_bytes(derive(seed, "x25519")))
        suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
        return suite.decrypt(envelope, private, info + bytes([purpose]) + number)

    def snapshots(self) -> Iterator[tuple[str, str, bool, bytes]]:  # §8: id, name, whether removed, and root directory
        for name in names(self.paths, "snapshots/*"):
            session = name.removeprefix("snapshots/")
            try:
                kind, record, body = self.read_record(name, SNAPSHOT, ABORT)
                if kind == SNAPSHOT:
                    key = derive(self.session_key(record[12], 2), "lamina/1 body", body[:32])
                    said = unpack(AESGCM(key).decrypt(NONCE, body[32:], self.id + bytes.fromhex(session) + b"body"))
                    stones = [self.read_record(one, REMOVAL)[1][0] for one in names(self.paths, f"removed/{session}/*")]
                    yield session, said[0], stones[-1:] == [True], record[3]
            except BAD as error:
                print(f"{name} is left out: {error!r}", file=sys.stderr)

    def read_footer(self, path: Path) -> None:  # §6.3: where its chunks lie; so the index is not needed
        with path.open("rb") as file:
            header, trailer_at = file.read(88), file.seek(-16, os.SEEK_END)
            keys_size, footer_size, blobs, crc = struct.unpack("<IIII", trailer := file.read(16))
            need(header[:16] == HEADER % PACK and zlib.crc32(trailer[:12]) == crc, "an unknown or damaged pack")
            file.seek(trailer_at - footer_size - keys_size)
            keys, footer = unpack(file.read(keys_size)), file.read(footer_size)
        key = derive(self.structure_key, "lamina/1 pack footer", footer[:32])
        rows = AESGCM(key).decrypt(NONCE, footer[32:], header[16:48] + header[56:88])
        need(len(rows) == 48 * blobs, f"{path} lists another number of blobs than it counts")
        for chunk, _, number, _, offset, stored, _ in struct.iter_unpack("<32sBBHIII", rows):
            self.places.setdefault(chunk, []).append((path, offset, stored, keys[number]))

    def get(self, kind: int, chunk: bytes) -> tuple[bytes, bytes]:  # §6.2: links and body, from the first intact place
        for path, offset, stored, entry in self.places.get(chunk, []):
            try:
                with path.open("rb") as file:
                    file.seek(offset)
                    return self.open_blob(kind, chunk, file.read(stored), entry)
            except BAD as error:
                print(f"{path}, blob at {offset}: {error!r}", file=sys.stderr)
        raise ValueError(f"chunk {chunk.hex()} is nowhere, or nowhere intact")

    def open_blob(self, kind: int, chunk: bytes, blob: bytes, entry: Any) -> tuple[bytes, bytes]:
        magic, found, _, _, identity, salt, links_size, body_size, crc = struct.unpack_from("<4sBBH32s16sIII", blob)
        listed = (b"BLOB", zlib.crc32(blob[:64]), kind, chunk, len(blob))
        need((magic, crc, found, identity, 68 + links_size + body_size) == listed, "another blob, or a damaged one")
        parts, fields = [blob[68 + links_size :], blob[68 : 68 + links_size]], bytes([kind]) + chunk
        for number, key in enumerate((self.session_key(entry, 1 if kind == DATA_BLOB else 2), self.structure_key)):
            own = derive(key, "lamina/1 blob", fields, salt, bytes([number]))
            parts[number] = parts[number] and unseal_part(own, parts[number], self.id + fields + bytes([number]))
        body, links = parts
        reader = next((one[0] for one in entry[2] if one[0] != bytes(8)), bytes(8)) if body else b""
        named = body if kind == DATA_BLOB else len(links).to_bytes(4, "little") + links + body + reader
        purpose = ("lamina/1 data",) if kind == DATA_BLOB else ("lamina/1 node", bytes([kind]))  # §7
        need(blake3(named, key=derive(self.id_key, *purpose)).digest() == chunk, "its content is not what its id says")
        return links, body

    def members(self, directory: bytes) -> Iterator[Any]:  # §7.4: the entries of a directory, of all its parts
        raw, body = self.get(DIRECTORY_NODE, directory)
        links = {(at, one[0]): one[2] for at, one in enumerate(struct.iter_unpack("<BI32s", raw))}
        for record in unpack(body):
            fields = zip(FIELDS, record + LATER[len(record) - 11 :], strict=False)
            entry = SimpleNamespace(**dict(fields), linked=links)  # a link to another kind of chunk is not found there
            need(entry.type in {*range(1, 9), PART} and entry.state in range(5), "an unknown type or state")
            yield from self.members(links[entry.link, DIRECTORY_NODE]) if entry.type == PART else [entry]

    def entries(self, root: bytes) -> Iterator[tuple[bytes, Any]]:  # path and entry, a directory before what is in it
        todo = [(b"", root)]
        for folder, directory in todo:  # which grows on the way
            members = list(self.members(directory))
            found = [entry.name for entry in members]
            need(found == sorted(set(found)), "names are not sorted, or not different")
            need(not any(name in {b"", b".", b".."} or {0, 47} & set(name) for name in found), "an impossible name")
            for entry in members:
                yield folder + entry.name, entry
                if entry.type == DIRECTORY and (entry.link >= 0 or entry.state != 3):  # 3: it could not be read
                    todo.append((folder + entry.name + b"/", entry.linked[entry.link, DIRECTORY_NODE]))

    def fixed(self, kind: int, chunk: bytes, level: int, size: int, unit: int) -> Iterator[Any]:  # §7.1
        if level == 0 or kind in {ZERO, HOLE}:
            if kind in {UNREAD, UNREAD_KEPT}:
                print(f"{size} bytes could not be read when they were saved", file=sys.stderr)
            yield chunk, size, slice(None)
            return
        links, under = self.get(FIXED_NODE, chunk)[0], unit * 1024 ** (level - 1)
        kinds = links[3 : 3 + int.from_bytes(links[1:3], "little")]
        ids = [links[at : at + 32] for at in range(3 + len(kinds), len(links), 32)]
        need((kind, links[0], len(kinds)) == (DATA, level, -(-size // under)), "a node does not fit its place")
        for number, below in enumerate(kinds):
            child = ids.pop(0) if below in {DATA, UNREAD_KEPT} else b""
            yield from self.fixed(below, child, level - 1, min(under, size - number * under), unit)
        need(not ids, "a node is too long")

    def cut(self, chunk: bytes, size: int, level: int = 0) -> Iterator[Any]:  # §7.2
        links = self.get(CUT_NODE, chunk)[0]
        level, children = level or links[0], list(struct.iter_unpack("<Q32s", links[3:]))
        found = (links[0], int.from_bytes(links[1:3], "little"), sum(length for length, _ in children))
        need(0 < level <= 8 and found == (level, len(children), size), "a node does not fit its place")
        for length, child in children:
            yield from self.cut(child, length, level - 1) if level > 1 else [(child, length, slice(None))]

    def pieces(self, entry: Any) -> Iterator[Any]:  # §7.1 to 7.3: chunk (none: zeros), length, which of its bytes
        if entry.form == FIXED:
            need(entry.chunk_size in {1 << n for n in range(16, 25)}, "a stream has an impossible chunk size")
            depth = next(depth for depth in range(8) if entry.chunk_size * 1024**depth >= entry.size)
            root = entry.linked[entry.link, FIXED_NODE if depth else DATA_BLOB] if entry.link >= 0 else b""
            yield from self.fixed(entry.position, root, depth, entry.size, entry.chunk_size)
        elif entry.form == CUT:
            yield from self.cut(entry.linked[entry.link, CUT_NODE], entry.size)
        else:
            need(entry.form == SLICED, "there is no content, or a stream of an unknown form")
            for link, start, length in zip(*[iter(entry.slices)] * 3, strict=True):
                yield entry.linked[link, DATA_BLOB], length, slice(start, start + length)

    def restore(self, entry: Any, out: bytes) -> None:
        with open(out, "xb") as file:
            for chunk, length, part in self.pieces(entry):
                content = self.get(DATA_BLOB, chunk)[1][part] if chunk else b""
                need(len(content) == length or not chunk, "a chunk has the wrong length")
                file.seek(length - file.write(content), os.SEEK_CUR)
            need(file.tell() == entry.size, "a file is longer or shorter than its entry says")
            file.truncate(entry.size)


def main(folder: str, key_file: str, snapshot: str = "", path: str = "", out: str = "") -> None:
    repository = Repository(Path(folder), Path(key_file).read_bytes().removesuffix(b"\n"))
    for session, name, removed, root in repository.snapshots():
        if not snapshot:
            print(session, name, "removed" if removed else "", sep="\t")
        elif session.startswith(snapshot):
            for found, entry in repository.entries(root):
                if not path:
                    print(repr(os.fsdecode(found))[1:-1], TYPES[entry.type], entry.size, entry.error, sep="\t")
                elif found == os.fsencode(path):
                    repository.restore(entry, os.fsencode(out))


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) in {3, 4, 6} else sys.exit(__doc__)
