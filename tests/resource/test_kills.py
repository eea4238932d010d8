"""What ends a token here ends it at the service, and the other way round."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.resource.revocation import Entries, Entry, Presented, Verdict
from keyturn.resource.tokens import read_claims
from keyturn.server.domain.model import Revocation, RevocationKind
from keyturn.server.domain.revocations import kills, stronger, subjects, suspended
from keyturn.server.domain.tokens import AccessToken, Acting
from tests.resource.world import AUDIENCE, ISSUER, NOW, subject

PROPERTY = settings(max_examples=400, deadline=None)
ENDS = datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=300)

# Few ids, so that entries hit; the same for all kinds, so that a confusion of kinds shows.
ids = st.sampled_from(["a", "b", "c"])
epochs = st.integers(0, 4)


def actings(before: st.SearchStrategy[Acting | None]) -> st.SearchStrategy[Acting | None]:
    return st.builds(Acting, ids, ids, ids | st.just(""), epochs, before)


actors: st.SearchStrategy[Acting | None] = st.recursive(st.none(), actings, max_leaves=3)
tokens = st.builds(
    lambda jti, user, key, session, epoch, chosen, tenants, parents, actor, kid: AccessToken(
        jti,
        user,
        key,
        session,
        epoch,
        NOW - 10,
        NOW + 290,
        (),
        chosen,
        {chosen: ()} if chosen else tenants,
        parents=tuple(parents),
        actor=actor,
        signed_by=kid,
    ),
    *(ids, ids, ids, ids, epochs),
    st.none() | ids,
    st.none() | st.dictionaries(ids, st.just(()), max_size=3),
    st.lists(ids, max_size=2),
    actors,
    ids,
)
entries = st.builds(
    lambda kind, name, epoch: Revocation(
        kind,
        "*" if kind is RevocationKind.EVERYTHING else name,
        ENDS,
        epoch if kind in (RevocationKind.USER, RevocationKind.EVERYTHING) else None,
    ),
    st.sampled_from(RevocationKind),
    ids,
    st.none() | st.integers(0, 5),
)


def here(token: AccessToken) -> Presented:
    """The same token, read from its claims."""

    def act(actor: Acting) -> dict[str, object]:
        claim: dict[str, object] = {
            "sub": actor.user_id,
            "client_id": actor.key_id,
            "epoch": actor.epoch,
        }
        if actor.session_id:
            claim["sid"] = actor.session_id
        if actor.before is not None:
            claim["act"] = act(actor.before)
        return claim

    claims: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "jti": token.jti,
        "sub": token.user_id,
        "client_id": token.key_id,
        "sid": token.session_id,
        "epoch": token.epoch,
        "iat": token.issued_at,
        "exp": token.expires_at,
        "parents": list(token.parents),
    }
    if token.tenant_id is not None:
        claims.update(tenant_id=token.tenant_id, roles=[])
    elif token.roles is None:
        claims["_claim_names"] = {"tenants": "me"}
    else:
        claims["tenants"] = {name: [] for name in token.roles}
    if token.actor is not None:
        claims["act"] = act(token.actor)
    return Presented.of(read_claims(claims, token.signed_by))


def fed(found: Sequence[Revocation]) -> Entries:
    kept = Entries()
    for one in found:
        raw = base64.urlsafe_b64decode(subject(one.kind, one.subject) + "==")
        kept.merge(Entry(one.kind, raw, one.epoch, NOW + 300))
    return kept


def there(found: Sequence[Revocation], token: AccessToken) -> list[Revocation]:
    """What the service would find of a token, merged as it merges."""
    held: dict[tuple[RevocationKind, str], Revocation] = {}
    for one in found:
        name = (one.kind, one.subject)
        held[name] = stronger(held[name], one) if name in held else one
    return [held[name] for name in subjects(token) if name in held]


class TestKills:
    @PROPERTY
    @given(tokens, st.lists(entries, max_size=5))
    def test_as_the_service_does(self, token: AccessToken, found: list[Revocation]) -> None:
        verdict = fed(found).verdict(here(token).subjects, token.tenant_id, NOW)
        assert (verdict is Verdict.DEAD) == kills(there(found, token), token)

    @PROPERTY
    @given(tokens, st.lists(entries, max_size=5), ids)
    def test_suspends_as_the_service_does(
        self, token: AccessToken, found: list[Revocation], tenant: str
    ) -> None:
        verdict = fed(found).verdict(here(token).subjects, tenant, NOW)
        if token.tenant_id is None and not kills(there(found, token), token):
            gone = suspended(there(found, token))
            if token.roles is not None and tenant in token.roles:
                assert (verdict is Verdict.SUSPENDED) == (tenant in gone)
            else:
                assert (verdict is Verdict.SUSPENDED) == (tenant in suspended(found))

    @PROPERTY
    @given(tokens, st.lists(entries, max_size=5))
    def test_order_and_repetition_do_not_matter(
        self, token: AccessToken, found: list[Revocation]
    ) -> None:
        mixed = [*reversed(found), *found]
        one, other = (
            fed(some).verdict(here(token).subjects, token.tenant_id, NOW) for some in (found, mixed)
        )
        assert one is other
