"""Which tokens are taken, from whom they are, and what those hear that are not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from llmgw.auth.claims import Claim
from llmgw.auth.issuer_keys import SharedSecret
from llmgw.auth.jwt import Issuer, JwtTokens
from llmgw.auth.key_set import Key, KeySet, parse_key_set
from llmgw.auth.reader import MAX_BYTES
from llmgw.config.issuers import JwtSettings
from llmgw.core.errors import GatewayError, InvalidCredentials, PermissionDenied, Unavailable
from llmgw.core.principal import Principal
from tests.fakes.issuer import claims, private_key, public_jwk, signed

NOW = 1_800_000_000.0
ISSUER = "https://issuer.test/"


class Published:
    """Keys that an issuer answered with."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.epoch = 0
        self.fresh_until = float("inf")
        self.is_failing = False
        self.forces = True
        self.searches = 0
        self.found = parse_key_set({"keys": list(keys)}) if keys else KeySet(())

    def in_force(self) -> bool:
        return self.forces

    def find(self, kid: object, algorithm: str) -> Key | None:
        self.searches += 1
        return self.found.find(kid, algorithm)

    def sought(self) -> None:
        """Nothing to wait for."""


def settings(**more: Any) -> JwtSettings:
    return JwtSettings(**{"issuer": ISSUER, "audience": "llmgw", "claims": {"tenant": "org"}, **more})


class Door:
    """Tokens of one issuer, whose clock stands at `now`."""

    def __init__(self, keys: Any = None, wanted: tuple[str, ...] = (), **more: Any) -> None:
        self.keys = keys or Published(public_jwk("one"))
        self.now = NOW
        made = Issuer(settings(**more), self.keys, ["acme", "rival"], [Claim(name) for name in wanted])
        self.tokens = JwtTokens([made], lambda: self.now)

    def asks(self, token: str | bytes) -> Principal | Awaitable[Principal] | None:
        token = token.encode() if isinstance(token, str) else token
        return self.tokens.principal({b"authorization": b"Bearer " + token})

    def admits(self, token: str | bytes) -> Principal:
        found = self.asks(token)
        assert isinstance(found, Principal)
        return found

    def refuses(self, token: str | bytes) -> GatewayError:
        with pytest.raises(GatewayError) as refusal:
            self.asks(token)
        return refusal.value

    def calls_invalid(self, token: str | bytes) -> str:
        """Refuses it without telling why; the reason in the log."""
        error = self.refuses(token)
        assert type(error) is InvalidCredentials
        assert error.message == "the token is not valid"
        assert (
            "www-authenticate",
            'Bearer error="invalid_token", error_description="the token is not valid"',
        ) in error.headers
        assert error.detail is not None
        assert str(token) not in error.detail
        return error.detail


def good(**more: Any) -> str:
    return signed(claims(ISSUER, NOW, **more))


def crafted(header: dict[str, Any] | bytes, said: dict[str, Any] | bytes, signature: bytes = b"sig") -> str:
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, said)] + [
        signature
    ]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def test_a_token_says_who_and_of_which_tenant() -> None:
    assert Door().admits(good()) == Principal("acme", "alice", "jwt:alice")


def test_user_and_models_come_from_the_claims_that_are_mapped() -> None:
    mapped = {"tenant": "x.org", "user": "email", "allow_models": "x.models"}
    door = Door(claims=mapped)
    said = {"email": "a@acme.test", "x": {"org": "rival", "models": "gpt-* echo"}}

    assert door.admits(good(**said)) == Principal("rival", "a@acme.test", "jwt:alice", ("gpt-*", "echo"))
    assert door.admits(good(**said | {"x": {"org": "rival"}})).allow_models == ()


def test_a_fixed_tenant_needs_no_claim() -> None:
    assert Door(claims={}, tenant="rival").admits(good(org="acme")).tenant == "rival"


def test_only_claims_that_routes_ask_for_are_kept() -> None:
    token = good(groups=["a", "b"], secret="s")

    assert Door().admits(token).claims == ()
    assert Door(wanted=("groups", "gone")).admits(token).claims == (("groups", ("a", "b")),)


def test_what_is_no_token_is_somebody_elses() -> None:
    door = Door()

    for other in ("sk-test", "llmgw_abc_def", "eyJhbGciOiJSUzI1NiJ9", "e.y.J", "", "xeyJ.a.b"):
        assert door.asks(other) is None
    assert door.tokens.principal({b"host": b"x"}) is None


@pytest.mark.parametrize("field", [b"x-api-key", b"api-key", b"x-goog-api-key"])
def test_a_token_may_stand_wherever_a_key_may(field: bytes) -> None:
    """And is proved once there too."""
    door = Door()

    first = door.tokens.principal({field: good().encode()})
    assert isinstance(first, Principal)
    assert door.tokens.principal({field: good().encode()}) is first
    assert door.keys.searches == 1


def test_two_credentials_that_differ_are_refused() -> None:
    token = good().encode()
    with pytest.raises(InvalidCredentials, match="two headers"):
        Door().tokens.principal({b"authorization": b"Bearer " + token, b"x-api-key": b"sk-other"})


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 5, ["RS256"]])
@pytest.mark.parametrize("signature", [b"", b"sig"])
def test_d04_a_token_that_nobody_signed(algorithm: object, signature: bytes) -> None:
    header = {"alg": algorithm, "typ": "JWT", "kid": "one"}

    Door().calls_invalid(crafted(header, claims(ISSUER, NOW), signature))


@pytest.mark.parametrize("form", ["pem", "der", "jwk", "n", "empty"])
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_d05_the_public_key_is_no_secret(form: str, algorithm: str) -> None:
    """RS256 to HS256: what everybody knows of the key, used as an HMAC's secret."""
    public = private_key("one").public_key()
    secret = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(public_jwk("one")).encode(),
        "n": public_jwk("one")["n"].encode(),
        "empty": b"",
    }[form]
    unsigned = crafted({"alg": algorithm, "kid": "one"}, claims(ISSUER, NOW)).rpartition(".")[0]
    mac = hmac.new(secret, unsigned.encode(), getattr(hashlib, f"sha{algorithm[2:]}")).digest()
    forged = f"{unsigned}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    Door().calls_invalid(forged)
    Door(algorithms=["RS256", "RS384", "ES256"]).calls_invalid(forged)


def test_d05_an_algorithm_that_is_not_the_issuers_is_refused_whoever_signed() -> None:
    said = claims(ISSUER, NOW)

    assert Door().calls_invalid(signed(said, kind="RS512")).endswith("its algorithm is none of the issuer's")
    assert Door(algorithms=["RS512", "RS256"]).admits(signed(said, kind="RS512"))


def test_d05_a_key_with_an_algorithm_of_its_own_proves_no_other() -> None:
    door = Door(Published(public_jwk("one", alg="RS256")), algorithms=["RS256", "PS256"])

    door.admits(good())
    door.calls_invalid(signed(claims(ISSUER, NOW), kind="PS256"))


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"crit": "b64"},
        {"b64": False, "crit": ["b64"]},
    ],
)
def test_d06_what_must_be_understood_and_is_not_is_refused(header: dict[str, Any]) -> None:
    said = json.dumps(claims(ISSUER, NOW)).encode()
    unsigned = crafted({"alg": "RS256", "kid": "one", **header}, said).rpartition(".")[0]
    algorithm = jwt.get_algorithm_by_name("RS256")
    mac = algorithm.sign(unsigned.encode(), private_key("one"))

    Door().calls_invalid(f"{unsigned}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}")


@pytest.mark.parametrize(
    "header", [{"jwk": public_jwk("evil")}, {"jku": "https://evil.test"}, {"x5c": ["x"]}]
)
def test_d06_a_key_that_comes_with_the_token_is_not_looked_at(header: dict[str, Any]) -> None:
    said = claims(ISSUER, NOW)

    Door().calls_invalid(signed(said, "evil", kid="one", **header))
    assert Door().admits(signed(said, **header))


@pytest.mark.parametrize("kid", ["../../dev/null", "' OR 1=1 --", "x" * 2000, 7, ["one"], {"a": 1}, ""])
def test_d07_a_kid_that_is_no_key(kid: Any) -> None:
    header = {"alg": "RS256", "kid": kid}

    Door().calls_invalid(crafted(header, claims(ISSUER, NOW)))


def test_d08_tokens_with_the_same_beginning_or_id_are_their_own() -> None:
    """Whatever two tokens share, each is its own holder's, first and again."""
    door = Door()
    alice = good(jti="1")
    bob = good(jti="1", sub="bob", org="rival")
    assert alice[:90] == bob[:90]

    for _ in range(2):
        assert door.admits(alice) == Principal("acme", "alice", "jwt:alice")
        assert door.admits(bob) == Principal("rival", "bob", "jwt:bob")
    door.calls_invalid(alice[:-4])
    door.calls_invalid(alice.rpartition(".")[0] + "." + bob.rpartition(".")[2])


@pytest.mark.parametrize(
    "said",
    [
        {"iss": "https://issuer.test"},
        {"iss": "https://issuer.test/evil"},
        {"iss": "HTTPS://ISSUER.TEST/"},
        {"iss": None},
        {"iss": [ISSUER]},
        {"iss": {"a": 1}},
        {"aud": "llmgw2"},
        {"aud": "llm"},
        {"aud": None},
        {"aud": ""},
        {"aud": []},
        {"aud": ["other"]},
        {"aud": {"llmgw": 1}},
        {"aud": [["llmgw"]]},
        {"exp": None},
        {"exp": "2099-01-01"},
        {"exp": True},
        {"exp": 1e400},
        {"nbf": NOW + 61},
        {"nbf": "soon"},
        {"iat": NOW + 61},
        {"iat": NOW * 10},
        {"sub": None},
        {"sub": 7},
        {"sub": "a\x00b"},
        {"sub": "\ud800"},
        {"sub": "x" * 257},
    ],
    ids=repr,
)
def test_d09_a_claim_that_is_not_as_it_must_be(said: dict[str, Any]) -> None:
    payload = json.dumps(claims(ISSUER, NOW, **said)).encode()
    token = jwt.PyJWS().encode(payload, private_key("one"), "RS256", {"kid": "one"})

    Door().calls_invalid(token)


@pytest.mark.parametrize(
    "said", [{"aud": ["x", "llmgw"]}, {"nbf": NOW + 59}, {"iat": NOW + 59}, {"exp": NOW - 59}]
)
def test_d09_what_is_within_the_leeway_or_among_others_is_good(said: dict[str, Any]) -> None:
    assert Door().admits(good(**said))


def test_d09_an_expired_token_is_told_so() -> None:
    """And it is told only to who has one that was good: another signature is not valid, expired or not."""
    error = Door().refuses(good(exp=NOW - 61))

    assert (type(error), error.message) == (InvalidCredentials, "the token has expired")
    assert 'error_description="the token has expired"' in dict(error.headers)["www-authenticate"]
    Door().calls_invalid(signed(claims(ISSUER, NOW, exp=NOW - 61), "evil", kid="one"))


def test_d09_an_identity_ends_with_its_token() -> None:
    door = Door()
    token = good(exp=NOW + 10)
    door.admits(token)

    door.now = NOW + 69
    assert door.admits(token)
    door.now = NOW + 70
    assert door.refuses(token).message == "the token has expired"


@pytest.mark.parametrize(
    ("typ", "taken"), [("at+jwt", True), ("application/AT+JWT", True), ("JWT", False), (None, False)]
)
def test_d09_an_id_token_is_no_access_token(typ: str | None, taken: bool) -> None:
    door = Door(typ="at+jwt")
    token = jwt.PyJWS().encode(
        json.dumps(claims(ISSUER, NOW)).encode(), private_key("one"), "RS256", {"kid": "one", "typ": typ}
    )

    if taken:
        door.admits(token)
    else:
        door.calls_invalid(token)


def test_a_member_that_is_there_twice_is_refused() -> None:
    payload = json.dumps(claims(ISSUER, NOW))[:-1] + ', "sub": "root"}'
    token = jwt.PyJWS().encode(payload.encode(), private_key("one"), "RS256", {"kid": "one"})
    Door().calls_invalid(token)

    Door().calls_invalid(crafted(b'{"alg": "RS256", "alg": "none", "kid": "one"}', claims(ISSUER, NOW)))


def test_a_huge_token_is_refused_unread() -> None:
    assert Door().calls_invalid(good(much="x" * MAX_BYTES)).endswith("it is too long")
    assert Door().admits(good(much="x" * (MAX_BYTES // 2)))


@pytest.mark.parametrize(
    "token", ["eyJ.eyJ.x", "eyJ..x", "eyJh.b.c.d", "eyJhbGciOiJub25lIn0.e30.", "eyJ9.é.x"]
)
def test_what_only_looks_like_a_token(token: str) -> None:
    Door().calls_invalid(token)


def test_claims_that_are_required() -> None:
    door = Door(required={"email_verified": "true", "azp": "web-*"})

    door.admits(good(email_verified=True, azp="web-1"))
    for said in ({}, {"email_verified": True}, {"email_verified": False, "azp": "web-1"}, {"azp": "x"}):
        door.calls_invalid(good(**said))


@pytest.mark.parametrize("said", [{"org": "gone"}, {"org": None}, {"org": ["acme"]}, {"org": "Acme"}])
def test_c03_a_tenant_that_does_not_exist_is_403(said: dict[str, Any]) -> None:
    assert type(Door().refuses(good(**said))) is PermissionDenied


async def test_a_wait_that_brings_no_keys_is_503() -> None:
    door = Door()
    door.keys.forces = False
    waiting = door.asks(good())
    assert isinstance(waiting, Awaitable)

    with pytest.raises(Unavailable) as away:
        await waiting
    assert (away.value.code, away.value.retry_after_s) == ("issuer_unavailable", 2)


async def test_d10_an_issuer_that_is_slow_to_say_leaves_a_token_neither_good_nor_bad(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And no more than so many wait for it."""
    monkeypatch.setattr("llmgw.auth.jwt.WAIT_S", 0.05)
    monkeypatch.setattr("llmgw.auth.jwt.MAX_WAITING", 1)
    door = Door()
    flight = asyncio.get_running_loop().create_future()
    door.keys.sought = lambda: flight
    token = signed(claims(ISSUER, NOW), "two")
    one, other = door.asks(token), door.asks(token)
    assert isinstance(one, Awaitable)
    assert isinstance(other, Awaitable)

    found = await asyncio.gather(one, other, return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable, Unavailable]
    assert [each.detail for each in found if isinstance(each, Unavailable)] == [
        f"no keys of {ISSUER}",
        "too many wait for keys",
    ]
    assert door.tokens._waiting == 0


def test_a_key_that_nobody_knows_is_401_and_503_while_nobody_can_be_asked() -> None:
    door = Door()
    token = signed(claims(ISSUER, NOW), "two")
    door.calls_invalid(token)

    door.keys.is_failing = True
    assert type(door.refuses(token)) is Unavailable


def test_other_keys_mean_that_every_token_is_proved_again() -> None:
    """A key that was withdrawn lets nobody in, however lately its token was good."""
    door = Door()
    token = good()
    door.admits(token)
    door.admits(token)
    assert door.keys.searches == 1

    door.keys.found = parse_key_set({"keys": [public_jwk("two")]})
    door.keys.epoch += 1
    door.calls_invalid(token)


def test_identities_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmgw.auth.jwt.REMEMBERED", 5)
    door = Door()

    for number in range(20):
        door.admits(good(jti=str(number), sub=f"user-{number}"))
    assert len(door.tokens._known) == 5
    assert door.admits(good(jti="19", sub="user-19"))


def test_the_same_person_is_the_same_principal() -> None:
    """What a plan prepares for a caller it finds again by the caller itself."""
    door = Door()

    assert door.admits(good(jti="1")) is door.admits(good(jti="2"))
    assert door.admits(good(jti="1")) is not door.admits(good(sub="bob"))


def test_a_shared_secret_proves_its_own_algorithm_alone() -> None:
    secret = "s" * 64
    keys = SharedSecret(secret.encode(), ["HS256"])
    door = Door(keys, algorithms=["HS256"], secret=secret)
    said = claims(ISSUER, NOW)

    assert door.admits(jwt.encode(said, secret, "HS256"))
    door.calls_invalid(jwt.encode(said, secret, "HS512"))
    door.calls_invalid(jwt.encode(said, "t" * 64, "HS256"))
    door.calls_invalid(signed(said))
