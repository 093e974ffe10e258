"""The graph that stands for one that netunicorn's client did not make: it can load this, and finds an empty graph."""

# A pickled netunicorn.base.ExecutionGraph that has its root only, made once; the server has no pickling of its own.
EMPTY_GRAPH = (
    "gASV7wEAAAAAAACMH25ldHVuaWNvcm4uYmFzZS5leGVjdXRpb25fZ3JhcGiMDkV4ZWN1dGlvbkdyYXBokymBfSiMBG5hbWWMHW5vdC1tYWRlLWJ5LW5ldHVu"
    "aWNvcm4tY2xpZW50jA5lYXJseV9zdG9wcGluZ4iMDnJlcG9ydF9yZXN1bHRziIwWZW52aXJvbm1lbnRfZGVmaW5pdGlvbownbmV0dW5pY29ybi5iYXNlLmVu"
    "dmlyb25tZW50X2RlZmluaXRpb25zlIwOU2hlbGxFeGVjdXRpb26TKYF9KIwIY29tbWFuZHNdjA9ydW50aW1lX2NvbnRleHRoAIwOUnVudGltZUNvbnRleHST"
    "KYF9KIwNcG9ydHNfbWFwcGluZ32MFWVudmlyb25tZW50X3ZhcmlhYmxlc32MB25ldHdvcmtOjBRhZGRpdGlvbmFsX2FyZ3VtZW50c111YnVijAVncmFwaJSM"
    "GG5ldHdvcmt4LmNsYXNzZXMuZGlncmFwaIwHRGlHcmFwaJMpgX0oaAF9jAVfbm9kZX2MBHJvb3SUfXOMBF9hZGp9lGgCfXOMBV9zdWNjaAOMBV9wcmVkfWgC"
    "fXOMEl9fbmV0d29ya3hfY2FjaGVfX311YowZb3ZlcnJpZGVfZ3JhcGhfdmFsaWRhdGlvbol1Yi4="
)
