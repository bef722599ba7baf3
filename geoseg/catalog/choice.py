"""Choice: land classes as a user lists them, ids or names separated by commas, names in any case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from geoseg.catalog.legend import Legend
from geoseg.catalog.yaml import nearest
from geoseg.errors import CatalogError


def classes(text: str, legends: Mapping[str, Legend]) -> list[tuple[str, int]]:
    """The classes that a text lists.

    A name may itself hold commas ('Developed, open space'). An id or name that stands in one legend is meant there, a
    name that stands in several in each; an id that no legend has is given for all of them. 'map:9' is id or name 9 of
    the legend called 'map' here, whether or not it has it.

    Parameters
    ----------
    text : str
        Such as 'water, 11, map:0'.
    legends : mapping
        Legends by what they are called before a colon.

    Returns
    -------
    list of (str, int)
        Which legend and id, in the order of the text, each once.

    Raises
    ------
    CatalogError
        For a name that no legend has, or an id that is one class here and another there.

    Examples
    --------
    >>> from geoseg.catalog.legend import LandClass
    >>> mine = Legend("mine", (LandClass(1, "Water", "#0000ff"), LandClass(2, "Roads, paved", "#000000")))
    >>> classes("roads, paved, water, 7", {"map": mine})
    [('map', 2), ('map', 1), ('map', 7)]
    """
    found: dict[tuple[str, int], None] = {}
    for item in _items(text, legends):
        side, colon, rest = item.partition(":")
        if colon and side.strip() in legends:
            each = {side.strip(): legends[side.strip()]}
            found.update(dict.fromkeys(_meant(rest.strip(), each, f"the {side.strip()}")))
        else:
            found.update(dict.fromkeys(_meant(item, legends, " or ".join(f"the {each}" for each in legends))))
    return list(found)


def ids_of(text: str, legend: Legend | None) -> list[int]:
    """Ids of the classes that a text lists in one legend.

    Parameters
    ----------
    text : str
        See `classes`.
    legend : Legend or None
        None: only ids are known.

    Raises
    ------
    CatalogError
        For a name that the legend lacks, or a name where there is no legend.
    """
    if legend is not None:
        return [id for _, id in classes(text, {"map": legend})]
    words = [each.strip() for each in text.split(",") if each.strip()]
    if names := [word for word in words if not word.isdecimal()]:
        raise CatalogError(f"the map names no classes, so {names[0]!r} is unknown; name its legend with --legend")
    return [int(word) for word in words]


def label_of(value: object, legend: Legend | None) -> int | None:
    """The id that a cell of an attribute table means; None where it is empty.

    Parameters
    ----------
    value : object
        Text or a number: an id or a name of a class.
    legend : Legend or None
        None: only ids are known.

    Raises
    ------
    CatalogError
        If it is neither.
    """
    if value is None or (isinstance(value, float) and value != value):
        return None
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    if not text:
        return None
    if legend is None:
        return ids_of(text, None)[0]
    named = {_plain(each.name): each.id for each in reversed(legend.classes)}
    if _plain(text) in named:
        return named[_plain(text)]
    if text.isdecimal() and int(text) in legend.ids:
        return int(text)
    raise CatalogError(f"no class {text!r} in legend {legend.name!r}; {nearest(text, legend.names)}")


def _items(text: str, legends: Mapping[str, Legend]) -> Iterator[str]:
    """The parts of a list; one that holds commas is the longest name that is known."""
    parts = text.split(",")
    names = {_plain(name) for legend in legends.values() for name in legend.names}
    names |= {f"{side}:{name}" for side in legends for name in names}
    while parts:
        for count in range(len(parts), 0, -1):
            item = ",".join(parts[:count])
            if count == 1 or _plain(item) in names:
                break
        del parts[:count]
        if item.strip():
            yield item.strip()


def _meant(item: str, legends: Mapping[str, Legend], where: str) -> list[tuple[str, int]]:
    by_name = [
        (side, each.id)
        for side, legend in legends.items()
        for each in (*(c for c in legend.classes if c.name == item), *legend.classes)
        if _plain(each.name) == _plain(item)
    ]
    if by_name:
        return list({side: (side, id) for side, id in reversed(by_name)}.values())[::-1]
    if not item.isdecimal() or int(item) > 65535:
        known = tuple(dict.fromkeys(name for legend in legends.values() for name in legend.names))
        raise CatalogError(f"no class {item!r} in the legend of {where}; {nearest(item, known)}")
    id = int(item)
    having = {side: legend.names[legend.ids.index(id)] for side, legend in legends.items() if id in legend.ids}
    if len({_plain(name) for name in having.values()}) > 1:
        listed = " and ".join(f"{name!r} in the {side}" for side, name in having.items())
        raise CatalogError(f"class {id} is {listed}; write {' or '.join(f'{side}:{id}' for side in having)}")
    return [(side, id) for side in having or legends]


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace(",", ", ").split())
