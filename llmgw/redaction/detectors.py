"""Finds structured personal data and secrets in texts, by their form and their check digits.

A kind is a few rules. Numbers are held to what issuers give out (ISO/IEC 7812 ranges and Luhn,
ISO 13616 lengths and checksum), so that most numbers are left alone; digits and spaces may be any
that Unicode has. Numbers of a phone need a country's `+`, or the form that North America writes.

A local part of an address longer than 64 characters, a domain longer than 126 and a header of a
JWT longer than 180 are not known for what they are.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

from stdnum import iban, luhn

from llmgw.redaction.rule import Rule, begin
from llmgw.redaction.secret_rules import SECRETS

_SPACE = " \u00a0\u2007\u2009\u202f\u3000"
_DASH = "\\-\u2010-\u2013\uff0d"
_GAP = f"[{_SPACE}{_DASH}]"
_DIGIT = re.compile(r"\d")
_BEGIN_PLUS = begin(r"+\uff0b", r"A-Za-z_\d+")
_BEGIN_NUMBER = begin("(2-9", rf"A-Za-z_\d.{_DASH}")
_BEGIN_DIGITS = begin(r"\d", r"A-Za-z\d")
_BEGIN_IBAN = begin("A-Za-z", "A-Za-z0-9")
_BEGIN_IPV4 = begin("0-9", "A-Za-z0-9_.")
_BEGIN_IPV6 = begin("0-9A-Fa-f", "A-Za-z0-9_:.")

# Addresses.

_LETTERS = r"A-Za-z0-9_\u00aa-\u0dff\u1e00-\u1fff"
_UNSPACED = r"\u0e00-\u1dff\u2e80-\ud7ff\uf900-\ufaff"
"""Letters of scripts that put no spaces between words: what stands before an address is no part of it."""
_DOMAIN = re.compile(r"(?:[\w-]{1,63}\.)+(?:xn--[\w-]{2,59}|[A-Za-z]{2,24}|[^\W\d_a-zA-Z]{2,24})")


def _email_end(found: re.Match[str]) -> int | None:
    domain = _DOMAIN.match(found[1])
    return None if domain is None else found.start(1) + domain.end()


_LOCAL = rf"[{_LETTERS}.%+-]"
_BEGIN_LOCAL = begin(rf"{_LETTERS}.%+\\-", rf"{_LETTERS}.%+-")
_ESCAPED = r"\\u(?:00[A-Fa-f]|0[1-9A-Da-d][0-9A-Fa-f]|1[EFef][0-9A-Fa-f])[0-9A-Fa-f]"
"""One of `_LETTERS` as JSON may spell it."""
_ANY_ESCAPED = r"\\u(?!00[0-7])[0-9A-Fa-f]{4}"
_EMAIL = Rule(
    "email",
    re.compile(
        rf"(?:{_BEGIN_LOCAL}(?!(?<=\\)(?:[bfnrt]|u[0-9A-Fa-f]{{4}}))"
        rf"(?:{_LOCAL}{{0,20}}+(?:{_ESCAPED}{_LOCAL}{{0,12}}+){{1,4}}+|{_LOCAL}{{1,64}}+)"
        rf"|(?<![{_UNSPACED}])[{_UNSPACED}]{{1,64}}+|(?:{_ANY_ESCAPED}[._-]?){{1,12}}+)"
        r"@([\w-][\w.-]{2,125})"
    ),
    re.compile(
        rf"(?:(?:{_BEGIN_LOCAL}|(?=\\))[{_LETTERS}.%+\\-]{{1,98}}|(?<![{_UNSPACED}])[{_UNSPACED}]{{1,64}})"
        r"(?:@[\w.-]{0,126})?\Z"
    ),
    _email_end,
    anchor=re.compile("@"),
    reach=92,
)

# Telephone numbers: E.164 has at most 15 digits.

_PHONES = (
    Rule(
        "phone",
        re.compile(rf"{_BEGIN_PLUS}[+\uff0b][ ]?[1-9](?:[{_SPACE}{_DASH}./()]{{0,2}}\d){{6,14}}(?!\d)"),
        re.compile(rf"{_BEGIN_PLUS}[+\uff0b][\d{_SPACE}{_DASH}./()]{{0,50}}\Z"),
        anchor=re.compile("[+\uff0b]"),
    ),
    Rule(
        "phone",
        re.compile(
            rf"{_BEGIN_NUMBER}(?:\([2-9]\d\d\)[{_SPACE}]?[2-9]\d\d{_GAP}\d{{4}}"
            rf"|[2-9]\d\d[{_DASH}][2-9]\d\d[{_DASH}]\d{{4}})(?![A-Za-z_\d{_DASH}])"
        ),
        re.compile(rf"{_BEGIN_NUMBER}[(2-9][\d{_SPACE}{_DASH})]{{0,13}}\Z"),
        anchor=_DIGIT,
        reach=1,
    ),
)

# Cards.

_LENGTHS = (
    (re.compile(r"4"), (16, 19)),
    (re.compile(r"5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"3(?:0[0-5]|6|[89])"), (14,)),
    (
        re.compile(r"6011|64[4-9]|65|62|35(?:2[89]|[3-8])|50(?:18|20|38)|5893|6304|67(?:59|6[1-3])"),
        (16, 17, 18, 19),
    ),
)
_NO_DIGITS = re.compile(r"\D+")
_GOES_ON = re.compile(r"[A-Za-z\d]")


def _card_end(found: re.Match[str]) -> int | None:
    text, start = found.string, found.start()
    lengths = next(
        (lengths for issuer, lengths in _LENGTHS if issuer.match(_plain(text[start : start + 4]))), ()
    )
    end = found.end()
    while lengths and end - start >= lengths[0]:
        if text[end - 1].isdecimal() and not _GOES_ON.match(text, end):
            digits = _plain(_NO_DIGITS.sub("", text[start:end]))
            if len(digits) in lengths and luhn.is_valid(digits):
                return end
        end -= 1
    return None


def _plain(digits: str) -> str:
    """Whatever digits they are, as ASCII."""
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)


_CARD = Rule(
    "credit_card",
    re.compile(
        rf"{_BEGIN_DIGITS}\d{{4}}{_GAP}?(?:\d{{4}}{_GAP}?\d{{4}}{_GAP}?\d{{2,4}}(?:{_GAP}?\d{{1,3}})?|\d{{6}}{_GAP}?\d{{4,5}})"
    ),
    re.compile(rf"{_BEGIN_DIGITS}\d[\d{_SPACE}{_DASH}]{{0,24}}\Z"),
    _card_end,
    anchor=_DIGIT,
)

# International bank account numbers.

_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
"""Characters without spaces, as the registry of ISO 13616 has them."""


def _iban_end(found: re.Match[str]) -> int | None:
    text, end = found.string, found.start()
    left = _IBAN_LENGTHS.get(text[end : end + 2].upper())
    if left is None:
        return None
    while left and end < found.end():
        left -= text[end].isalnum()
        end += 1
    if left or (text[end : end + 1].isascii() and text[end : end + 1].isalnum()):
        return None
    return end if _is_iban(re.sub(_GAP, "", text[found.start() : end])) else None


def _is_iban(number: str) -> bool:
    turned = number[4:] + number[:4]
    if not number.isascii() or int("".join(str(int(one, 36)) for one in turned)) % 97 != 1:
        return False
    return iban.is_valid(number, check_country=False)


_IBAN = Rule(
    "iban",
    re.compile(
        rf"(?=[A-Za-z]{{2}}[0-9]){_BEGIN_IBAN}[A-Za-z]{{2}}[0-9]{{2}}(?:{_GAP}?[A-Za-z0-9]{{4}}){{2,7}}(?:{_GAP}?[A-Za-z0-9]{{1,3}})?"
    ),
    re.compile(
        rf"{_BEGIN_IBAN}[A-Za-z](?:[A-Za-z](?:[0-9](?:[0-9](?:{_GAP}?[A-Za-z0-9]){{0,34}}{_GAP}?)?)?)?\Z"
    ),
    _iban_end,
    anchor=re.compile("[0-9]"),
    reach=2,
)

# Addresses of computers.

_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_NOBODYS = frozenset({"0.0.0.0", "127.0.0.1", "255.255.255.255"})  # noqa: S104 - not bound to


def _ipv4_end(found: re.Match[str]) -> int | None:
    return None if found[0] in _NOBODYS else found.end()


def _ipv6_end(found: re.Match[str]) -> int | None:
    text = found[0]
    if text.endswith(":") and not text.endswith("::"):
        text = text[:-1]
    if text.count(":") < 2 or not any(one.isdigit() for one in text):
        return None
    try:
        IPv6Address(text)
    except AddressValueError:
        return None
    return found.start() + len(text)


_IPS = (
    Rule(
        "ip",
        re.compile(rf"{_BEGIN_IPV4}{_BYTE}\.{_BYTE}\.{_BYTE}\.{_BYTE}(?!\.?[A-Za-z0-9_])"),
        re.compile(rf"{_BEGIN_IPV4}[0-9][0-9.]{{0,15}}\Z"),
        _ipv4_end,
        anchor=re.compile(r"\."),
        reach=3,
    ),
    Rule(
        "ip",
        re.compile(rf"{_BEGIN_IPV6}[0-9A-Fa-f]{{1,4}}:[0-9A-Fa-f:]{{1,34}}(?![A-Za-z0-9_:])"),
        re.compile(rf"{_BEGIN_IPV6}[0-9A-Fa-f]{{1,4}}(?::[0-9A-Fa-f:]{{0,35}})?\Z"),
        _ipv6_end,
        anchor=re.compile(":"),
        reach=4,
    ),
)

RULES: dict[str, tuple[Rule, ...]] = {
    "email": (_EMAIL,),
    "phone": _PHONES,
    "credit_card": (_CARD,),
    "iban": (_IBAN,),
    "ip": _IPS,
    "secrets": SECRETS,
}
"""The rules of each kind of `kinds`."""
