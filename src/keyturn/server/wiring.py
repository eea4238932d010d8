"""Where the parts meet. Nothing here decides anything; it only wires."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from .console.console import console_pages
from .http.addresses import Addresses
from .http.doors import Doors
from .http.inspecting import inspecting_operations
from .http.leaks import leak_operations
from .http.limits import Limits
from .http.management import management_operations
from .http.published import Check, Published
from .http.resources import Followers, ResourceParts, resource_operations
from .http.routes import Surface
from .http.tokens import token_operations
from .http.verdicts import verdict_operations
from .mail import open_mailer
from .oauth.bridge import TokenEndpoint
from .oauth.endpoints import IntrospectionEndpoint, RevocationEndpoint
from .oauth.metadata import metadata
from .parts import JWKS_MAX_AGE
from .reference import reference_pages
from .revocation import KeptList, digest
from .running import Running
from .services.audiences import Audiences
from .services.callers import Callers
from .services.continuity import Continuity
from .services.credentials import Credentials
from .services.entrance import Entrance
from .services.inspecting import Inspecting
from .services.introspection import Introspection
from .services.issuing import Issuing
from .services.leak_reports import LeakReports
from .services.management.changes import Changes
from .services.management.leaked_keys import LeakedKeys
from .services.policy_bundle import PolicyBundles
from .services.ports import Mailer, Store
from .services.recent_keys import RecentKeys
from .services.refreshing import Refreshing
from .services.revoking import Revoking
from .services.tenancy import Tenancy
from .services.token_exchange import TokenExchange
from .services.verifying import Verifying
from .settings import Settings
from .tokens.access import AccessTokenSigner
from .tokens.answers import SealedAnswers
from .tokens.refresh import RefreshSealer
from .tokens.secrets import DerivedKeys
from .wiring_management import wire_management
from .wiring_sign_in import wire_sign_in


@dataclass(frozen=True, slots=True)
class Wired:
    """What is served, and those of its parts that are looked at while they work."""

    surface: Surface
    keys: RecentKeys
    followers: Followers
    entrance: Entrance


def wire(running: Running) -> Wired:
    """All that is served."""
    settings, parts, revocations = running.settings, running.parts, running.revocations
    signer, usage, counts = running.signer, running.usage, running.counts
    stopping, clock = running.stopping, running.clock
    store, lookup = parts.store, Tenancy(parts.lookup)
    keys = RecentKeys(lookup)
    store.watch(keys.forget)
    revocations.listen(keys.forget)
    refresh = RefreshSealer(DerivedKeys(parts.secrets, "refresh tokens", 64))
    credentials = Credentials(lookup, parts.key_format, clock, usage, counts)
    changes = Changes(
        store=store,
        revocations=revocations,
        lifetimes=settings.lifetimes,
        sealer=SealedAnswers(DerivedKeys(parts.secrets, "answers", 64)),
    )
    mailer = _mailer(settings)
    leaked_keys = LeakedKeys(credentials, changes, mailer)
    revoking = Revoking(
        store=store,
        lookup=lookup,
        credentials=credentials,
        access=signer,
        refresh=refresh,
        revocations=revocations,
        lifetimes=settings.lifetimes,
        keys=leaked_keys,
    )
    introspection = Introspection(
        store=store,
        lookup=lookup,
        keys=keys,
        credentials=credentials,
        access=signer,
        refresh=refresh,
        revocations=revocations,
        clock=clock,
    )
    inspecting = Inspecting(
        store, lookup, credentials, parts.key_format, signer, refresh, revocations, clock
    )
    issuing = Issuing(
        store=store,
        lookup=lookup,
        access=signer,
        refresh=refresh,
        revocations=revocations,
        lifetimes=settings.lifetimes,
        clock=clock,
    )
    refreshing = Refreshing(
        store=store,
        steps=parts.steps,
        refresh=refresh,
        revocations=revocations,
        lifetimes=settings.lifetimes,
        clock=clock,
        counts=counts,
    )
    exchange = TokenExchange(
        store=store,
        lookup=lookup,
        access=signer,
        revocations=revocations,
        issuing=issuing,
        lifetimes=settings.lifetimes,
        clock=clock,
    )
    audiences = Audiences(store, settings.audience, settings.signing_algorithm)
    management = wire_management(
        running, store=store, lookup=lookup, changes=changes, mailer=mailer
    )
    addresses = Addresses(settings.trusted_proxies)
    callers = Callers(signer, revocations, keys, store, clock, lookup.home_of)
    entrance = wire_sign_in(running, callers, keys, changes, credentials)
    published = Published(
        metadata=lambda: metadata(
            issuer=settings.issuer,
            public_url=settings.public_url,
            base_path=settings.base_path,
            grants=settings.grants,
            signing_algorithms=signer.keyring.algorithms,
        ),
        jwks=signer.jwks,
        jwks_max_age=JWKS_MAX_AGE,
        checks=_checks(store, revocations, signer, running.history),
        stopping=stopping,
    )
    followers = Followers(settings.max_followers)
    operations = [
        *token_operations(
            TokenEndpoint(
                credentials,
                issuing,
                refreshing,
                usage,
                audiences,
                exchange,
                keys,
                running.throttling,
                settings.grants,
            ),
            RevocationEndpoint(revoking),
            IntrospectionEndpoint(introspection, settings.issuer, settings.audience),
            callers,
            counts,
        ),
        *resource_operations(
            ResourceParts(
                callers=callers,
                feed=revocations.feed,
                bundles=PolicyBundles(store, digest),
                followers=followers,
                stopping=stopping,
                longest_life=int(settings.lifetimes.longest_access.total_seconds()),
            )
        ),
        *leak_operations(_leak_reports(settings, leaked_keys, revoking)),
        *inspecting_operations(inspecting),
        *verdict_operations(Verifying(callers, keys, store, clock, settings.audience)),
        *management_operations(management, settings.base_path),
    ]
    limits = Limits(addresses, running.throttling)
    doors = Doors(callers, limits, settings.max_body)
    surface = Surface(
        operations,
        published,
        doors,
        base_path=settings.base_path,
        issuer_path=urlsplit(settings.issuer).path,
        pages=[
            *reference_pages(settings.base_path, urlsplit(settings.public_url).path),
            *console_pages(
                operations=operations,
                doors=doors,
                callers=callers,
                entrance=entrance,
                limits=limits,
                clock=clock,
                base_path=settings.base_path,
                origin=settings.public_origin,
                base_url=settings.base_url,
            ),
        ],
    )
    return Wired(surface, keys, followers, entrance)


def _mailer(settings: Settings) -> Mailer:
    url = settings.smtp_url
    return open_mailer(url.get_secret_value() if url else None, settings.mail_from)


def _leak_reports(settings: Settings, keys: LeakedKeys, revoking: Revoking) -> LeakReports | None:
    if not (settings.leak_keys_url or settings.leak_keys_file):
        return None
    from .leak_keys import open_leak_keys  # and an HTTP client: not for who takes no reports

    signatures = open_leak_keys(settings.leak_keys_url, settings.leak_keys_file)
    return LeakReports(signatures, keys, revoking)


def _checks(
    store: Store,
    revocations: KeptList,
    signer: AccessTokenSigner,
    history: Continuity | None,
) -> Mapping[str, Check]:
    async def database() -> str:
        await store.ping()
        if history is not None:
            return await history.health()
        return "ok"

    async def revocation_list() -> str:
        return revocations.state().status

    async def signing_keys() -> str:
        signer.keyring.signer_of(None)
        return "ok"

    return {
        "database": database,
        "revocation_list": revocation_list,
        "signing_keys": signing_keys,
    }
