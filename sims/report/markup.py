"""Elements of HTML and SVG: whatever text goes in is escaped on the way out."""

import re
from typing import Final
from xml.etree.ElementTree import Element, tostring

Child = Element | str | None
Value = str | int | float | bool | None

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no place for (section 2.2), not even escaped; HTML calls it an error."""


def element(tag: str, *children: Child, **attributes: Value) -> Element:
    """children: texts and elements in their order; None is nothing.

    attributes: ``class_`` is class, ``stroke_width`` is stroke-width. None and False are left out,
    True has no value, and numbers have at most two decimals.
    """
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None and value is not False:
            made.set(name.rstrip("_").replace("_", "-"), _said(value))
    append(made, *children)
    return made


def append(parent: Element, *children: Child) -> None:
    """Add ``children`` at the end."""
    for child in children:
        if isinstance(child, Element):
            parent.append(child)
        elif child is not None:
            text = clean(child)
            if len(parent):
                parent[-1].tail = (parent[-1].tail or "") + text
            else:
                parent.text = (parent.text or "") + text


def clean(text: str) -> str:
    """With a replacement for each character that cannot be in a document."""
    return _NOT_XML.sub("\ufffd", text)


def number(value: float) -> str:
    """At most two decimals, and none that say nothing."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"


def percent(share: float) -> str:
    """Of a width, for SVG that grows with its page and leaves its text alone."""
    return f"{number(100 * share)}%"


def html(root: Element) -> str:
    """The whole document as HTML."""
    return f"<!DOCTYPE html>\n{tostring(root, encoding='unicode', method='html')}\n"


def _said(value: str | int | float) -> str:
    if value is True:
        return ""
    return clean(value) if isinstance(value, str) else number(value)
