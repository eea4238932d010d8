"""Where the parts meet: settings in, an ASGI application out.

`open_parts` opens what the command line needs (store and key format), `open_service` all that
answering requests needs. Nothing here decides anything; it only wires.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from starlette.applications import Starlette

from . import logs, storage
from .http.caller import Addresses
from .http.errors import ErrorAnswers
from .http.management import management_operations
from .http.middleware import RequestFrame
from .http.operation import Doors
from .http.published import Check, Published
from .http.resources import Followers, ResourceParts, resource_operations
from .http.routes import Surface, oauth_paths, table
from .http.stopping import Stopping
from .http.tokens import token_operations
from .http.verdicts import verdict_operations
from .mail import open_mailer
from .oauth.bridge import TokenEndpoint
from .oauth.endpoints import IntrospectionEndpoint, RevocationEndpoint
from .oauth.metadata import metadata
from .parts import JWKS_MAX_AGE, Parts, open_parts, open_signer, open_usage
from .revocation import KeptList, digest, open_revocation_list
from .services.audiences import Audiences
from .services.callers import Callers
from .services.credentials import Credentials
from .services.housekeeping import housekeeping
from .services.introspection import Introspection
from .services.issuing import Issuing
from .services.management import Management
from .services.management.api_keys import ApiKeyManagement
from .services.management.audit import AuditTrail
from .services.management.catalogue import Catalogue
from .services.management.changes import Changes
from .services.management.explaining import Explaining
from .services.management.imports import Imports
from .services.management.invitations import InvitationManagement
from .services.management.members import MemberManagement
from .services.management.own_keys import OwnKeys
from .services.management.people import PeopleManagement
from .services.management.permissions import PermissionRegistry
from .services.management.resource_servers import ResourceServerManagement
from .services.management.revocations import RevocationManagement
from .services.management.roles import RoleManagement
from .services.management.service_users import ServiceUserManagement
from .services.management.sessions import OwnSessions, SessionManagement
from .services.management.signing_keys import SigningKeyManagement
from .services.management.tenants import TenantManagement
from .services.policy_bundle import PolicyBundles
from .services.ports import Mailer, Passwords, Store
from .services.revoking import Revoking
from .services.token_exchange import TokenExchange
from .services.usage import Usage
from .services.verifying import Verifying
from .settings import Settings, load_settings
from .tokens.access import AccessTokenSigner
from .tokens.answers import SealedAnswers
from .tokens.following import KeyringFollower
from .tokens.passwords import Argon2Passwords
from .tokens.refresh import RefreshSealer
from .tokens.secrets import DerivedKeys


@dataclass(frozen=True, slots=True)
class Service:
    """A service at work: its routes' surface, and the parts that tests look into."""

    surface: Surface
    parts: Parts
    usage: Usage


def utc_now() -> datetime:
    """This process's time."""
    return datetime.now(UTC)


async def migrate(settings: Settings) -> str | None:
    """Brings the database's schema to this release. Safe to run twice, and at once.

    Gives the revision that it had; None when it had none.
    """
    return await storage.migrate(settings.database_url.get_secret_value())


@contextlib.asynccontextmanager
async def open_service(
    settings: Settings, stopping: Stopping | None = None
) -> AsyncIterator[Service]:
    """Opens everything, and runs what runs beside the requests."""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with contextlib.AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(settings))
        revocations = await stack.enter_async_context(
            open_revocation_list(
                parts.store,
                redis_url=redis_url,
                redis_timeout=settings.redis_timeout,
                allow_eviction=settings.redis_allow_eviction,
            )
        )
        signer, keyring = await stack.enter_async_context(open_signer(settings, parts, utc_now))
        revocations.listen(keyring.heard)
        usage = await stack.enter_async_context(open_usage(parts, utc_now))
        await stack.enter_async_context(housekeeping(parts.store))
        passwords = Argon2Passwords()
        stack.callback(passwords.close)
        yield _wire(
            settings, parts, revocations, signer, keyring, usage, passwords, stopping or Stopping()
        )


def _wire(
    settings: Settings,
    parts: Parts,
    revocations: KeptList,
    signer: AccessTokenSigner,
    keyring: KeyringFollower,
    usage: Usage,
    passwords: Passwords,
    stopping: Stopping,
) -> Service:
    store, lookup = parts.store, parts.lookup
    refresh = RefreshSealer(DerivedKeys(parts.secrets, "refresh tokens", 64))
    credentials = Credentials(lookup, parts.key_format, utc_now, usage)
    revoking = Revoking(
        store=store,
        lookup=lookup,
        credentials=credentials,
        access=signer,
        refresh=refresh,
        revocations=revocations,
        lifetimes=settings.lifetimes,
    )
    introspection = Introspection(
        store=store,
        lookup=lookup,
        credentials=credentials,
        access=signer,
        refresh=refresh,
        revocations=revocations,
        clock=utc_now,
    )
    issuing = Issuing(
        store=store,
        lookup=lookup,
        access=signer,
        refresh=refresh,
        revocations=revocations,
        lifetimes=settings.lifetimes,
        clock=utc_now,
    )
    exchange = TokenExchange(
        store=store,
        lookup=lookup,
        access=signer,
        revocations=revocations,
        issuing=issuing,
        lifetimes=settings.lifetimes,
        clock=utc_now,
    )
    audiences = Audiences(store, settings.audience, settings.signing_algorithm)
    changes = Changes(
        store=store,
        revocations=revocations,
        lifetimes=settings.lifetimes,
        sealer=SealedAnswers(DerivedKeys(parts.secrets, "answers", 64)),
    )
    management = Management(
        tenants=TenantManagement(store, changes),
        roles=RoleManagement(store, changes),
        permissions=PermissionRegistry(store, changes),
        service_users=ServiceUserManagement(store, changes, parts.key_format),
        members=MemberManagement(store, changes),
        invitations=InvitationManagement(
            store,
            changes,
            lookup,
            _mailer(settings),
            f"{settings.base_url}/invitations/accept",
        ),
        catalogue=Catalogue(store, changes),
        imports=Imports(changes),
        explaining=Explaining(store, lookup, utc_now),
        people=PeopleManagement(store, changes, passwords, lookup, parts.key_format),
        api_keys=ApiKeyManagement(store, changes, parts.key_format),
        own_keys=OwnKeys(store, changes, parts.key_format, lookup),
        sessions=SessionManagement(store, changes, settings.lifetimes),
        own_sessions=OwnSessions(store, changes, settings.lifetimes, lookup),
        revocations=RevocationManagement(store, changes),
        resource_servers=ResourceServerManagement(
            store,
            changes,
            parts.signing_keys,
            keyring.read_now,
            audience=settings.audience,
            algorithm=settings.signing_algorithm,
        ),
        signing_keys=SigningKeyManagement(
            store, changes, parts.signing_keys, parts.sealer, keyring.read_now
        ),
        audit=AuditTrail(store),
    )
    callers = Callers(signer, revocations, lookup, store, utc_now)
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
        checks=_checks(store, revocations, signer),
        stopping=stopping,
    )
    operations = [
        *token_operations(
            TokenEndpoint(credentials, issuing, usage, audiences, exchange, settings.grants),
            RevocationEndpoint(revoking),
            IntrospectionEndpoint(introspection, settings.issuer, settings.audience),
            callers,
        ),
        *resource_operations(
            ResourceParts(
                callers=callers,
                feed=revocations.feed,
                bundles=PolicyBundles(store, digest),
                followers=Followers(settings.max_followers),
                stopping=stopping,
                longest_life=int(settings.lifetimes.longest_access.total_seconds()),
            )
        ),
        *verdict_operations(Verifying(lookup, store, utc_now, settings.audience)),
        *management_operations(management, settings.base_path),
    ]
    surface = Surface(
        operations,
        published,
        Doors(callers, Addresses(settings.trusted_proxies), settings.max_body),
        base_path=settings.base_path,
        issuer_path=urlsplit(settings.issuer).path,
    )
    return Service(surface, parts, usage)


def _mailer(settings: Settings) -> Mailer:
    url = settings.smtp_url
    return open_mailer(url.get_secret_value() if url else None, settings.mail_from)


def _checks(store: Store, revocations: KeptList, signer: AccessTokenSigner) -> Mapping[str, Check]:
    async def database() -> str:
        await store.ping()
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


def create_app(settings: Settings, stopping: Stopping | None = None) -> Starlette:
    """The ASGI application. Its lifespan opens the stores and closes them.

    `stopping` is in its lifespan state, for the server that runs it.
    """
    ending = stopping or Stopping(settings.shutdown_drain)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, object]]:
        async with open_service(settings, ending) as service:
            app.state.service = service
            app.router.routes[:] = table(service.surface)
            yield {"stopping": ending}

    answers = ErrorAnswers(oauth_paths(settings.base_path))
    app = Starlette(lifespan=lifespan, exception_handlers=dict(answers.handlers))
    app.router.redirect_slashes = False
    # Around Starlette's own middleware too, so that the answer to a fault has an id as well.
    app.middleware_stack = RequestFrame(
        app.build_middleware_stack(),
        access_log=settings.access_log,
        max_in_flight=settings.max_in_flight,
        unavailable=answers.unavailable,
        stopping=ending,
    )
    return app


def from_environment() -> Starlette:
    """The application of a worker process: settings and logging from the environment."""
    settings = load_settings()
    logs.configure(level=settings.log_level, form=settings.log_format)
    return create_app(settings)
