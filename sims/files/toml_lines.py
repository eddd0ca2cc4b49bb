"""On which line of a TOML file a value is: what ``tomllib`` does not tell."""

import re
from typing import Final

from wice.section import Place

_SKIPPED: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANKS: Final = re.compile(r"[ \t]*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR: Final = re.compile(r"[^,\]}#\r\n]*")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPED: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


class TomlLines:
    """Where each key of ``text``, which ``tomllib`` has accepted, stands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted_to = 0
        self._lines: dict[Place, int] = {}
        self._lengths: dict[Place, int] = {}
        try:
            self._read()
        except (RecursionError, IndexError):
            # Tables nested beyond reason, or no TOML: what was found so far has its lines.
            return

    def line_of(self, place: Place) -> int:
        """The line of ``place``, or of the innermost table around it that is in the file."""
        for length in range(len(place), 0, -1):
            if place[:length] in self._lines:
                return self._lines[place[:length]]
        return 1

    def _read(self) -> None:
        table: Place = ()
        while True:
            self._skip(_SKIPPED)
            if self._at >= len(self._text):
                return
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._key_and_value(table)

    def _header(self) -> Place:
        is_element = self._text.startswith("[[", self._at)
        self._at += 2 if is_element else 1
        line = self._line_here()
        keys = self._keys()
        self._at += 2 if is_element else 1
        place: Place = ()
        for key in keys[:-1]:
            place = self._newest(self._note((*place, key), line))
        place = self._note((*place, keys[-1]), line)
        if not is_element:
            return place
        index = self._lengths.get(place, 0)
        self._lengths[place] = index + 1
        return self._note((*place, index), line)

    def _newest(self, place: Place) -> Place:
        """What a header means by the name of an array of tables: its last element."""
        length = self._lengths.get(place)
        return place if length is None else (*place, length - 1)

    def _key_and_value(self, table: Place) -> None:
        line = self._line_here()
        place = table
        for key in self._keys():
            place = self._note((*place, key), line)
        self._at += 1  # the equals sign
        self._skip(_BLANKS)
        self._value(place)

    def _keys(self) -> list[str]:
        """A dotted key, up to the character after it."""
        keys = []
        while True:
            self._skip(_BLANKS)
            if self._text[self._at] in "\"'":
                keys.append(self._string_value())
            else:
                keys.append(self._take(_BARE_KEY))
            self._skip(_BLANKS)
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _value(self, place: Place) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._take(_STRING)
        elif first == "[":
            self._array(place)
        elif first == "{":
            self._inline_table(place)
        else:
            self._take(_SCALAR)

    def _array(self, place: Place) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_SKIPPED)
            if self._text[self._at] == "]":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._value(self._note((*place, index), self._line_here()))
            index += 1

    def _inline_table(self, place: Place) -> None:
        self._at += 1
        while True:
            self._skip(_SKIPPED)
            if self._text[self._at] == "}":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._key_and_value(place)

    def _note(self, place: Place, line: int) -> Place:
        self._lines.setdefault(place, line)
        return place

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        assert match is not None, "it matches nothing, too"
        self._at = match.end()

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None or match.end() == self._at:
            raise IndexError(self._at)
        self._at = match.end()
        return match[0]

    def _string_value(self) -> str:
        """A quoted key: basic strings have escapes, literal ones do not."""
        text = self._take(_STRING)
        inner = text[1:-1]
        if text[0] == "'":
            return inner
        return _ESCAPE.sub(_unescape, inner)


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    if code:
        return chr(int(code, 16))
    return _ESCAPED.get(match[3], match[3])
