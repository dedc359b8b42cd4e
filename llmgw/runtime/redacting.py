"""Which requests and answers are redacted, and of what."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from llmgw.config.document import Document
from llmgw.config.redaction import RedactionOverride, RedactionSettings, redaction_terms
from llmgw.engine.plan import Plan
from llmgw.policies.redact import Redact, Redaction
from llmgw.redaction.kinds import KINDS
from llmgw.redaction.text import redacted, rules_of

_SAMPLE = "DE89370400440532013000"


class Redacting:
    """What a document says of redaction."""

    def __init__(self, document: Document) -> None:
        self._document = document
        if self._used():
            # What the first request would wait for: the detectors, and the table of countries' IBANs.
            redacted(_SAMPLE, rules_of(KINDS), Counter())

    def _used(self) -> bool:
        document = self._document
        said: list[RedactionSettings | RedactionOverride] = [document.redaction]
        said += [model.redaction for model in document.models.values()]
        said += [route.redaction for route in document.routes]
        for tenant in document.tenants.values():
            said.append(tenant.redaction)
            said += [model.redaction for model in tenant.models.values()]
        return any(one.requests or one.responses for one in said)

    def terms(self, tenant: str, model: str, route: str | None) -> RedactionSettings:
        """What holds for a tenant's requests for a model on a route."""
        document = self._document
        said = [one.redaction for one in document.narrowest_first(tenant, model, route)]
        return redaction_terms(document.redaction, said)

    def onto(self, plan: Plan, tenant: str) -> Plan:
        """The plan with what it redacts; where that is nothing, without a trace of it."""
        others = tuple(one for one in plan.policies if not isinstance(one, Redact))
        terms = self.terms(tenant, plan.model, plan.route)
        if not terms.requests and not terms.responses:
            if plan.redaction is None:
                return plan
            return replace(plan, policies=others, redaction=None)
        redaction = Redaction(terms.requests, terms.responses, blocks=terms.on_error == "block")
        policies = (*others, Redact(redaction)) if terms.requests else others
        return replace(plan, policies=policies, redaction=redaction)
