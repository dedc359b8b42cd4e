"""Whether a principal may use the model it asks for."""

from __future__ import annotations

from fnmatch import fnmatchcase

from llmgw.core.errors import PermissionDenied
from llmgw.core.exchange import Exchange
from llmgw.core.reply import Reply
from llmgw.ports.policy import Ticket

_REMEMBERED = 4096


def allows(model: str, allow: tuple[str, ...] | None, deny: tuple[str, ...] = ()) -> bool:
    """Whether patterns let `model` through: `allow` None means all, `deny` wins."""
    if any(fnmatchcase(model, pattern) for pattern in deny):
        return False
    return allow is None or any(fnmatchcase(model, pattern) for pattern in allow)


class Access:
    """Holds a credential to its own `allow_models`. The tenant's are held when it matches."""

    def __init__(self) -> None:
        self._answers: dict[tuple[tuple[str, ...], str], bool] = {}

    def admit(self, ex: Exchange) -> Ticket | Reply | None:
        principal = ex.principal
        model = ex.model
        assert principal is not None
        assert model is not None
        patterns = principal.allow_models
        if patterns is None:
            return None
        question = (patterns, model)
        answer = self._answers.get(question)
        if answer is None:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            answer = self._answers[question] = allows(model, patterns)
        if not answer:
            raise PermissionDenied(f"this key may not use model '{model}'", param="model")
        return None
