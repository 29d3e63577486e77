"""The `tokenizers` library reading `tokenizer.json`: the plain path, for every tokenizer there is."""

from tokenizers import Tokenizer

from .manifest import InitError


class Library:
    """A loaded `tokenizer.json`."""

    def __init__(self, path, max_tokens):
        """Parse the file at `path`; texts are cut to `max_tokens`. Raises `InitError`."""
        try:
            self._tokenizer = Tokenizer.from_file(path)
            self._tokenizer.enable_truncation(max_tokens)
        except Exception:
            raise InitError(f"The tokenizer {path} is missing or cannot be read: build the variant again.") from None

    def encode(self, text):
        """Return (ids, whether the text was cut to fit)."""
        encoding = self._tokenizer.encode(text)
        return encoding.ids, bool(encoding.overflowing)
