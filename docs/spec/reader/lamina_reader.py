"""Read a Lamina repository without Lamina: the proof that repository-format.md suffices ("§" cites its sections).

    python lamina_reader.py REPOSITORY_DIR KEY_FILE                      list the snapshots
    python lamina_reader.py REPOSITORY_DIR KEY_FILE SNAPSHOT             list the images in one
    python lamina_reader.py REPOSITORY_DIR KEY_FILE SNAPSHOT PATH OUT    write one image to the new file OUT

KEY_FILE holds an owner's passphrase or the recovery key; SNAPSHOT is the beginning of an id. The index is never read: the
footers of the packs say where every chunk lies. Needs `cryptography`, `blake3`, and zstd (in Python itself from 3.14 on).
"""

import base64
import io
import json
import struct
import sys
import zlib
from collections.abc import Iterator
from importlib import import_module
from itertools import repeat
from pathlib import Path
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

PACK, KEY_SLOT, FORMAT, SNAPSHOT, ABORT, REMOVAL = 1, 2, 3, 8, 9, 11
OWNER, WRITER, STEWARD = 1, 2, 3
MAY_SIGN = {FORMAT: {OWNER}, SNAPSHOT: {OWNER, WRITER}, ABORT: {OWNER, STEWARD}, REMOVAL: {OWNER, STEWARD}}
DATA_BLOB, FIXED_NODE, DIRECTORY = 1, 2, 3
DATA, ZERO, HOLE, UNREAD, UNREAD_KEPT = range(5)
HEADER = b"LAMINA%c\1\0\0\0\0\0\0\0\0"  # §4.1: kind, version 1, no features
NONCE = bytes(12)  # §2.3: each key seals one message
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
    if tag < 0x80 or tag >= 0xE0:  # a small integer
        return tag - 256 * (tag >= 0xE0)
    if tag in {0xC0, 0xC2, 0xC3}:
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag]
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
    letters = "".join(text.decode().strip().upper()[9:].replace("-", "").split()).translate(str.maketrans("ILO", "110"))
    table = str.maketrans("0123456789ABCDEFGHJKMNPQRSTVWXYZ", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    payload = base64.b32decode(letters.translate(table))
    need(payload[32:] == blake3(b"LAMINA-1-" + payload[:32]).digest()[:3], "the recovery key is misspelt")
    return payload[:32]


def read_object(data: bytes, kinds: tuple[int, ...]) -> tuple[int, bytes]:  # §4.1: kind and payload
    kind = data[6]
    need(blake3(data[:-32]).digest() == data[-32:], "an object is damaged")
    need(kind in kinds and data[:16] == HEADER % kind, "an object is of an unknown kind")
    return kind, data[16:-32]


def read_fixed_node(links: bytes) -> tuple[int, list[tuple[int, bytes]]]:  # §7.1: level and positions
    level, count = struct.unpack_from("<BH", links)
    kinds, ids = links[3 : 3 + count], iter(range(3 + count, len(links), 32))
    slots = [(kind, links[(at := next(ids, 0)) : at + 32] if kind in {DATA, UNREAD_KEPT} else b"") for kind in kinds]
    size = 3 + count + 32 * sum(bool(chunk) for _, chunk in slots)
    need(0 < count <= 1024 and size == len(links) and max(kinds) <= UNREAD_KEPT, "a node has the wrong length")
    return level, slots


class Repository:
    def __init__(self, folder: Path, credential: bytes) -> None:
        parts = {path.relative_to(folder).parts: path for path in folder.rglob("*") if path.is_file()}
        # §1: a directory spreads names that are hashes over two levels.
        self.paths = {"/".join((*p[:-3], p[-1]) if len(p[-1]) == 64 else p): path for p, path in parts.items()}
        data = self.paths["lamina.json"].read_bytes()
        head, birth = data.partition(b',\n  "hash": "')[0], json.loads(data)
        need(birth["magic"] == "lamina" and blake3(head).hexdigest() == birth["hash"], "lamina.json is damaged")
        need((birth["version"], birth["features"]) == (1, 0), "the repository needs a newer reader")
        self.id, self.owner = bytes.fromhex(birth["repository"]), bytes.fromhex(birth["owner"])
        self.root = recovery_root(credential) if credential[:9].upper() == b"LAMINA-1-" else self.unlock(credential)
        signing = Ed25519PrivateKey.from_private_bytes(derive(self.root, "lamina/1 signing key"))
        need(signing.public_key().public_bytes_raw() == self.owner, "the key is of another repository")
        self.structure_key = derive(self.root, "lamina/1 structure key")
        mac = blake3(b"\1" + bytes(4) + self.id + self.owner, key=derive(self.structure_key, "lamina/1 lamina.json"))
        need(mac.hexdigest() == birth["mac"], "lamina.json is forged")
        need(
            self.read_record(self.names("format/")[-1], FORMAT)[1][2:4] == [1, 0], "the repository needs a newer reader"
        )
        id_key = derive(self.root, "lamina/1 id key")
        self.id_keys = {kind: derive(id_key, "lamina/1 node", bytes([kind])) for kind in (FIXED_NODE, DIRECTORY)}
        self.id_keys[DATA_BLOB] = derive(id_key, "lamina/1 data")
        self.places: dict[bytes, list[tuple[Path, int, int, Any]]] = {}
        for name in self.names("data/") + self.names("meta/"):
            try:
                self.read_footer(self.paths[name])
            except BAD as error:
                print(f"{name} is left out: {error!r}", file=sys.stderr)

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.paths if name.startswith(prefix))

    def unlock(self, passphrase: bytes) -> bytes:  # §3.3: the root
        for name in set(self.names("keys/")) - set(self.names("keys/epoch-")):
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
        _, role, public, _ = struct.unpack("<8sB32s32s", certificate[:73])
        certified = b"lamina/1 certificate" + self.id + certificate[:73]
        Ed25519PublicKey.from_public_bytes(self.owner).verify(certificate[73:], certified)
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        need((role == OWNER) == (public == self.owner), "a certificate names the wrong role")
        return int(role)

    def read_record(self, name: str, *kinds: int) -> tuple[int, Any, bytes]:
        """§5: kind, structure and sealed body of a record that is of one of *kinds*, and signed by who may."""
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

    def snapshots(self) -> Iterator[tuple[str, str, bool, bytes]]:
        """§8: id, name, whether removed, and root directory of every snapshot."""
        for name in self.names("snapshots/"):
            session = name.removeprefix("snapshots/")
            try:
                kind, record, body = self.read_record(name, SNAPSHOT, ABORT)
                if kind == SNAPSHOT:
                    key = derive(self.session_key(record[12], 2), "lamina/1 body", body[:32])
                    said = unpack(AESGCM(key).decrypt(NONCE, body[32:], self.id + bytes.fromhex(session) + b"body"))
                    stones = [self.read_record(one, REMOVAL)[1][0] for one in self.names(f"removed/{session}/")]
                    yield session, said[0], stones[-1:] == [True], record[3]
            except BAD as error:
                print(f"{name} is left out: {error!r}", file=sys.stderr)

    def read_footer(self, path: Path) -> None:  # §6.3: where its chunks lie
        with path.open("rb") as file:
            header = file.read(88)
            file.seek(-16, 2)
            keys_size, footer_size, blobs, crc = struct.unpack("<IIII", trailer := file.read(16))
            need(header[:16] == HEADER % PACK and zlib.crc32(trailer[:12]) == crc, "an unknown or damaged pack")
            file.seek(-16 - footer_size - keys_size, 2)
            keys, footer = unpack(file.read(keys_size)), file.read(footer_size)
        key = derive(self.structure_key, "lamina/1 pack footer", footer[:32])
        rows = AESGCM(key).decrypt(NONCE, footer[32:], header[16:48] + header[56:88])
        need(len(rows) == 48 * blobs, f"{path} lists another number of blobs than it counts")
        for chunk, _, number, _, offset, stored, _ in struct.iter_unpack("<32sBBHIII", rows):
            self.places.setdefault(chunk, []).append((path, offset, stored, keys[number]))

    def get(self, kind: int, chunk: bytes) -> tuple[bytes, bytes]:
        """Links and body of a chunk, from the first place that holds it intact."""
        for path, offset, stored, entry in self.places.get(chunk, []):
            try:
                with path.open("rb") as file:
                    file.seek(offset)
                    return self.open_blob(kind, chunk, file.read(stored), entry)
            except BAD as error:
                print(f"{path}, blob at {offset}: {error!r}", file=sys.stderr)
        raise ValueError(f"chunk {chunk.hex()} is nowhere, or nowhere intact")

    def open_blob(self, kind: int, chunk: bytes, blob: bytes, entry: Any) -> tuple[bytes, bytes]:
        """§6.2: links and body, checked against the id."""
        magic, found, _, _, identity, salt, links_size, body_size, crc = struct.unpack_from("<4sBBH32s16sIII", blob)
        listed = (b"BLOB", zlib.crc32(blob[:64]), kind, chunk, len(blob))
        need((magic, crc, found, identity, 68 + links_size + body_size) == listed, "another blob, or a damaged one")
        fields, links, body = bytes([kind]) + chunk, b"", b""
        if links_size:
            key = derive(self.structure_key, "lamina/1 blob", fields, salt, b"\1")
            links = unseal_part(key, blob[68 : 68 + links_size], self.id + fields + b"\1")
        if body_size:
            key = derive(self.session_key(entry, 1 if kind == DATA_BLOB else 2), "lamina/1 blob", fields, salt, b"\0")
            body = unseal_part(key, blob[68 + links_size :], self.id + fields + b"\0")
        reader = next((one[0] for one in entry[2] if one[0] != bytes(8)), bytes(8)) if body else b""
        named = body if kind == DATA_BLOB else len(links).to_bytes(4, "little") + links + body + reader
        need(blake3(named, key=self.id_keys[kind]).digest() == chunk, "its content is not what its id says")
        return links, body

    def entries(self, directory: bytes, prefix: str = "") -> Iterator[tuple[str, Any, bytes]]:
        """§7.2: path, entry and linked chunk of every file below a directory."""
        links, body = self.get(DIRECTORY, directory)
        for entry in unpack(body):
            name, link = entry[0].decode("utf-8", "surrogateescape"), entry[6]
            need(name not in {"", ".", ".."} and not {"/", "\0"} & set(name), f"{name!r} cannot be a name")
            chunk = links[link * 37 + 5 : link * 37 + 37] if link >= 0 else b""
            if entry[1] == 1:
                yield from self.entries(chunk, f"{prefix}{name}/")
            else:
                need(entry[7] == 1, f"{prefix}{name} is a stream of an unknown form")
                yield prefix + name, entry, chunk

    def positions(self, level: int, kind: int, chunk: bytes, count: int) -> Iterator[tuple[int, bytes]]:
        """§7.1: what each of *count* chunks of a stream is."""
        if level == 0 or kind in {ZERO, HOLE}:
            yield from repeat((kind, chunk), count)
            return
        need(kind == DATA, "a node stands for something unread")
        under = 1024 ** (level - 1)
        found, slots = read_fixed_node(self.get(FIXED_NODE, chunk)[0])
        need((found, len(slots)) == (level, -(-count // under)), "a node does not fit the size of its stream")
        for number, (below, child) in enumerate(slots):
            yield from self.positions(level - 1, below, child, min(under, count - number * under))

    def restore(self, entry: Any, root: bytes, out: Path) -> None:
        size, chunk_size, position = entry[8:11]
        need(chunk_size in {1 << n for n in range(16, 25)}, "a stream has an impossible chunk size")
        count = -(-size // chunk_size)
        depth = next(depth for depth in range(8) if 1024**depth >= count)
        with out.open("xb") as file:
            file.truncate(size)
            for number, (kind, chunk) in enumerate(self.positions(depth, position, root, count)):
                if kind in {UNREAD, UNREAD_KEPT}:
                    print(f"offset {number * chunk_size} could not be read when it was saved", file=sys.stderr)
                if kind in {DATA, UNREAD_KEPT}:
                    content = self.get(DATA_BLOB, chunk)[1]
                    need(len(content) == min(chunk_size, size - number * chunk_size), "a chunk has the wrong length")
                    file.seek(number * chunk_size)
                    file.write(content)


def main(folder: str, key_file: str, snapshot: str = "", path: str = "", out: str = "") -> None:
    repository = Repository(Path(folder), Path(key_file).read_bytes().removesuffix(b"\n"))
    for session, name, removed, root in repository.snapshots():
        if not snapshot:
            print(session, name, "removed" if removed else "", sep="\t")
        elif session.startswith(snapshot):
            for found, entry, chunk in repository.entries(root):
                if not path:
                    print(found, entry[8], sep="\t")
                elif found == path:
                    repository.restore(entry, chunk, Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) in {3, 4, 6} else sys.exit(__doc__)
