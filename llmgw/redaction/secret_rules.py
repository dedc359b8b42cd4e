"""Credentials that say what they are: keys by their vendor's prefix, tokens, private keys.

Facts: the prefixes are those that the vendors publish, most of them for secret scanning (GitHub,
"About secret scanning"; GitLab, "Token prefixes"); a JWT's first two parts are base64url of JSON
objects, so they begin with `eyJ` (RFC 7519); the lines around a private key are those of RFC 7468.
"""

from __future__ import annotations

import re

from llmgw.redaction.rule import Rule, begin

_URL_SAFE = r"[A-Za-z0-9_-]"
_BEGIN = begin("ADGSadeghlnprswxy0-9", "A-Za-z0-9")
_BEGIN_WORD = begin("A-Za-z0-9", "A-Za-z0-9")
_BEGIN_BEARER = begin("Bb", "A-Za-z0-9")
_HEADS = (
    rf"sk-(?:proj|svcacct|admin|None|ant-(?:api|admin|oat)\d\d|or-v1|lf)-{_URL_SAFE}{{16}}",
    rf"sk-(?=[A-Za-z-]{{0,40}}[0-9]){_URL_SAFE}{{20}}",
    rf"llmgw_[a-z2-7]{{16}}_{_URL_SAFE}{{20}}",
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    r"gh[pousr]_[A-Za-z0-9]{36}",
    r"github_pat_[A-Za-z0-9_]{22}",
    rf"gl(?:pat|dt|rt|cbt|ptt|soat)-{_URL_SAFE}{{20}}",
    r"xox[abeoprs]-[A-Za-z0-9-]{10}",
    r"xapp-[0-9]-[A-Za-z0-9-]{10}",
    rf"AIza{_URL_SAFE}{{35}}",
    rf"ya29\.{_URL_SAFE}{{20}}",
    rf"GOCSPX-{_URL_SAFE}{{20}}",
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16}",
    r"whsec_[A-Za-z0-9+/]{20}",
    r"hf_[A-Za-z]{30}",
    r"hf_(?=[A-Za-z]{0,40}[0-9])[A-Za-z0-9]{30}",
    r"gsk_[A-Za-z0-9]{40}",
    r"xai-[A-Za-z0-9]{40}",
    r"pplx-[A-Za-z0-9]{40}",
    r"r8_[A-Za-z0-9]{30}",
    rf"SG\.{_URL_SAFE}{{16,32}}\.{_URL_SAFE}{{16}}",
    r"npm_[A-Za-z0-9]{36}",
    rf"pypi-{_URL_SAFE}{{50}}",
    r"do[opr]_v1_[a-f0-9]{64}",
    rf"hv[bsr]\.{_URL_SAFE}{{20}}",
    r"dapi[a-f0-9]{32}",
    r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}",
    r"lin_api_[A-Za-z0-9]{32}",
    rf"ATATT3{_URL_SAFE}{{40}}",
    rf"[0-9]{{8,10}}:AA{_URL_SAFE}{{33}}",
    rf"eyJ{_URL_SAFE}{{10,180}}\.{_URL_SAFE}{{8}}",
)
_TOKENS = Rule(
    "secrets",
    re.compile(rf"{_BEGIN}(?:{'|'.join(_HEADS)})"),
    re.compile(_BEGIN_WORD + r"[A-Za-z0-9][A-Za-z0-9_.:+/-]{0,222}\Z"),
    runs_on=re.compile(r"[A-Za-z0-9_-]*+(?:\.[A-Za-z0-9_-]++)*+"),
    unfinished=re.compile(r"\.\Z"),
)
_BEARER = Rule(
    "secrets",
    re.compile(
        _BEGIN_BEARER + r"[Bb][Ee][Aa][Rr][Ee][Rr][ \t]{1,4}"
        r"(?=[A-Za-z._~+/-]{0,60}[0-9])[A-Za-z0-9._~+/-]{16}"
    ),
    re.compile(
        _BEGIN_BEARER + r"(?:[Bb](?:[Ee](?:[Aa](?:[Rr](?:[Ee])?)?)?)?"
        r"|[Bb][Ee][Aa][Rr][Ee][Rr](?:[ \t]{1,4}[A-Za-z0-9._~+/-]{0,200})?)\Z"
    ),
    runs_on=re.compile(r"[A-Za-z0-9._~+/-]*+=*+"),
)
_PRIVATE_KEY = Rule(
    "secrets",
    re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    re.compile(r"-{1,5}\Z|-----B(?:E(?:G(?:I(?:N(?: [A-Z0-9 ]{0,60}-{0,5})?)?)?)?)?\Z"),
    runs_on=re.compile(r"(?:(?!-----END)[A-Za-z0-9+/=\s\\:,-])*+(?:-----END[A-Z0-9 ]{0,40}+-----)?+"),
    unfinished=re.compile(r"-----END[A-Z0-9 ]{0,40}+-{0,4}\Z"),
)

SECRETS = (_TOKENS, _BEARER, _PRIVATE_KEY)
