"""torch's Adam without torch's compiler, which takes 2 s of processor time to load. Nothing here compiles."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

LOADING = ("add_param_group", "step", "zero_grad", "state_dict", "load_state_dict")
"""Methods that torch wraps so that its compiler leaves them alone; the wrapper loads the compiler."""


def adam(torch: Any, parameters: Iterable[Any], **settings: Any) -> Any:
    """A `torch.optim.Adam` with these settings.

    Args:
        torch: the module `torch`, which this package never imports.
        parameters: the tensors to optimise.
    """
    methods = {name: inspect.unwrap(getattr(torch.optim.Adam, name)) for name in LOADING}
    # The wrapper of `step` also sees to it that no graph is kept.
    methods["step"] = torch.no_grad()(methods["step"])
    return type("Adam", (torch.optim.Adam,), methods)(parameters, **settings)
