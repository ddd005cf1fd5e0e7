"""What a run changes besides the model, as JSON and tensors: taken down from its objects and put back into them.

A class whose objects change during a run names the attributes that do in `kept`: an algorithm's memory, a sampler's
random state, the best that a rule has seen. Nothing else of it is written, and no class is ever found by a name in a
file but the values registered here.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from emnet.batch import Batch
from emnet.statistics import Statistics

T = TypeVar("T", bound=type)
_VALUES: dict[str, type] = {}
_LEAVES = (bool, int, float, str, bytes, Tensor, np.ndarray, NoneType)
_SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "deque": deque}


def keepable(cls: T) -> T:
    """Let objects of an immutable class stand among what is kept."""
    _VALUES[cls.__name__] = cls
    return cls


class Changing:
    """The objects that a run changes, found from its parts in an order that depends on their classes alone."""

    def __init__(self, parts: Iterable[Any]):
        self.objects: list[Any] = []
        self.batches: list[Batch] = []
        self._seen: dict[int, Any] = {}
        for part in parts:
            self._find(part)

    def state(self) -> tuple[list[Any], dict[str, Tensor]]:
        """What they keep: JSON, and the tensors it refers to by name."""
        tensors: dict[str, Tensor] = {}
        return [self._state_of(k, each, tensors) for k, each in enumerate(self.objects)], tensors

    def restore(self, state: list[Any], tensors: Mapping[str, Tensor]) -> None:
        """Raises ValueError, before anything is changed, for a state that is not of such objects."""
        names, expected = [each["class"] for each in state], [type(each).__name__ for each in self.objects]
        if names != expected:
            raise ValueError(f"it holds {', '.join(names) or 'nothing'}, and this fit has {', '.join(expected)}")
        found = [
            {name: self._attribute(each, name, entry["state"][name], tensors) for name in each.kept}
            for each, entry in zip(self.objects, state, strict=True)
        ]
        for each, attributes in zip(self.objects, found, strict=True):
            for name, own in attributes.items():
                setattr(each, name, own)

    def _find(self, part: Any) -> None:
        if isinstance(part, _LEAVES) or id(part) in self._seen:
            return
        self._seen[id(part)] = part
        if isinstance(part, Batch):
            self.batches.append(part)
        if isinstance(part, (Batch, nn.Module)):
            return
        if getattr(part, "kept", ()):
            self.objects.append(part)
        for inner in _inner(part):
            self._find(inner)

    def _state_of(self, number: int, each: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
        own = {name: self._encoded(getattr(each, name), f"{number}.{name}", tensors) for name in each.kept}
        return {"class": type(each).__name__, "state": own}

    def _encoded(self, own: Any, where: str, tensors: dict[str, Tensor]) -> Any:
        own = own.item() if isinstance(own, np.generic) else own
        if type(own) in (bool, int, str, float, NoneType):
            return {"number": str(own)} if isinstance(own, float) and not math.isfinite(own) else own
        inner = lambda items: [self._encoded(each, f"{where}.{k}", tensors) for k, each in enumerate(items)]  # noqa: E731
        if isinstance(own, Tensor):
            tensors[where] = own.detach().cpu()
            return {"tensor": where, "device": str(own.device)}
        if isinstance(own, torch.Generator):
            tensors[where] = own.get_state()
            return {"generator": where, "device": str(own.device)}
        if isinstance(own, Mapping):
            keys = [self._key(key) for key in own]
            pairs = [(key, each) for key, each in zip(keys, own.values(), strict=True) if key is not None]
            return {"keys": [key for key, _ in pairs], "values": inner(each for _, each in pairs)}
        if _values().get(type(own).__name__) is type(own):
            return {"value": type(own).__name__, "fields": inner(_fields_of(own))}
        for name, sequence in _SEQUENCES.items():
            if type(own) is sequence:
                return {name: inner(own), "most": getattr(own, "maxlen", None)}
        raise TypeError(f"{where} is a {type(own).__name__}, which no checkpoint can hold")

    def _attribute(self, each: Any, name: str, own: Any, tensors: Mapping[str, Tensor]) -> Any:
        before = getattr(each, name)
        found = self._decoded(own, before, tensors)
        alike = isinstance(found, (int, float)) if isinstance(before, (int, float)) else type(found) is type(before)
        if before is not None and not alike:
            raise ValueError(f"{name} is a {type(found).__name__} there and a {type(before).__name__} here")
        return found

    def _decoded(self, own: Any, before: Any, tensors: Mapping[str, Tensor]) -> Any:
        if not isinstance(own, dict):
            return own
        inner = lambda items: [self._decoded(each, None, tensors) for each in items]  # noqa: E731
        if "number" in own:
            return float(own["number"])
        if "tensor" in own:
            return tensors[own["tensor"]].clone().to(own["device"])
        if "generator" in own:
            generator = torch.Generator(own["device"])
            generator.set_state(tensors[own["generator"]])
            return generator
        if "keys" in own:
            keys = [self.batches[key["batch"]] if isinstance(key, dict) else key for key in own["keys"]]
            found: MutableMapping[Any, Any] = before if isinstance(before, MutableMapping) else {}
            found.clear()
            found.update(zip(keys, inner(own["values"]), strict=True))
            return found
        if "value" in own:
            return _values()[own["value"]](*inner(own["fields"]))
        name = next(name for name in _SEQUENCES if name in own)
        return deque(inner(own[name]), own["most"]) if name == "deque" else _SEQUENCES[name](inner(own[name]))

    def _key(self, key: Any) -> Any:
        """A batch by its number, None one that the run has done with."""
        if not isinstance(key, Batch):
            return key
        return next(({"batch": k} for k, each in enumerate(self.batches) if each is key), None)


def _inner(part: Any) -> Iterator[Any]:
    """What an object of emnet's, or a collection, is made of."""
    if isinstance(part, (list, tuple)):
        yield from part
    elif not isinstance(part, (type, Enum)) and (_is_own(part) or hasattr(part, "kept")):
        yield from getattr(part, "__dict__", {}).values()


def _is_own(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] == "emnet"


def _fields_of(own: Any) -> list[Any]:
    if isinstance(own, Enum):
        return [own.value]
    return [getattr(own, each.name) for each in fields(own)] if is_dataclass(own) else list(own)


def _values() -> dict[str, type]:
    """Those registered, and the kinds of statistics that have been imported."""
    return {**{kind.__name__: kind for kind in _kinds(Statistics)}, **_VALUES}


def _kinds(base: type[Any]) -> Iterator[type[Any]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)
