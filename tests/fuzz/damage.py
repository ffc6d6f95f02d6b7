"""Damage to the bytes of a good file."""

from __future__ import annotations

from hypothesis import strategies as st

# What readers tend to stumble over, beside single bytes.
PIECES = [
    *(b"", b"\t", b",", b"\n", b"\r\n", b"\n\n", b'"', b"'", b" ", b":", b"\x00", b"\xff"),
    *(b"nan", b"inf", b"-1", b"1e999", b"9" * 40, b"0x10", b"1_000", b"NA", b"None", b"[PAD]"),
    *(b"user_id:token", b":float", b":token_seq", b"item_id", b"#", b"{", b"[", b"]"),
    *(b"!!python/name:os.system", b"\xef\xbb\xbf", b"a" * 5000),
    *("\u00e9".encode(), "\u2028".encode(), "\U0001d7d9".encode()),
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Bytes of a good file in which a few places were overwritten, cut out, doubled or filled."""
    content = good
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from([0, 1, 2, 5, 20, 200])))
        kind = draw(st.sampled_from(["replace", "cut", "double", "truncate", "swap"]))
        if kind == "replace":
            piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6)))
            content = content[:start] + piece + content[end:]
        elif kind == "cut":
            content = content[:start] + content[end:]
        elif kind == "double":
            content = content[:end] + content[start:]
        elif kind == "truncate":
            content = content[:start]
        else:
            lines = content.split(b"\n")
            first, second = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
            lines[first], lines[second] = lines[second], lines[first]
            content = b"\n".join(lines)
    return content
