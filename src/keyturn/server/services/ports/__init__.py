"""What the services need of the outside. Each port is small; each has one contract suite.

Every method may raise `Unavailable` (domain.errors) when its store cannot answer in time, and
nothing else for a fault. Repositories never commit: `Store.transaction` does, or rolls back.
"""

from .activity import Activity
from .catalogue import Endpoints, Permissions
from .credentials import (
    ApiKeys,
    Holding,
    KeyFilter,
    KeyLookup,
    KeyUse,
    Seals,
    Sessions,
    SessionSteps,
    SigningKeys,
    UnmovedKey,
)
from .housekeeping import Housekeeping, Perishable
from .identity import Invitations, Memberships, Roles, Tenants, Users
from .leaks import ReportSignatures
from .limits import Counter, Counters, Rate
from .mail import Mail, Mailer
from .pages import Page, Slice
from .restored import Memory, Restored
from .revocation import FeedItem, News, RevocationFeed, RevocationList
from .sign_ins import (
    ConsoleCookies,
    FactorSecrets,
    NewCookie,
    OneTimeCodes,
    PresentedCookie,
    SecondFactors,
    SignIns,
)
from .storage import Store, Transaction
from .tokens import (
    AccessTokens,
    AnswerSealer,
    ApiKeyFormat,
    Clock,
    NewKey,
    Passwords,
    PresentedKey,
    RefreshTokens,
)
from .trail import AuditFilter, AuditLog, KeptAnswer, KeptAnswers, Revocations, Tail
from .webhooks import Answered, Deliveries, Tried, Waiting, Webhooks, WebhookSecrets, WebhookSender

__all__ = [
    "AccessTokens",
    "Activity",
    "AnswerSealer",
    "Answered",
    "ApiKeyFormat",
    "ApiKeys",
    "AuditFilter",
    "AuditLog",
    "Clock",
    "ConsoleCookies",
    "Counter",
    "Counters",
    "Deliveries",
    "Endpoints",
    "FactorSecrets",
    "FeedItem",
    "Holding",
    "Housekeeping",
    "Invitations",
    "KeptAnswer",
    "KeptAnswers",
    "KeyFilter",
    "KeyLookup",
    "KeyUse",
    "Mail",
    "Mailer",
    "Memberships",
    "Memory",
    "NewCookie",
    "NewKey",
    "News",
    "OneTimeCodes",
    "Page",
    "Passwords",
    "Perishable",
    "Permissions",
    "PresentedCookie",
    "PresentedKey",
    "Rate",
    "RefreshTokens",
    "ReportSignatures",
    "Restored",
    "RevocationFeed",
    "RevocationList",
    "Revocations",
    "Roles",
    "Seals",
    "SecondFactors",
    "SessionSteps",
    "Sessions",
    "SignIns",
    "SigningKeys",
    "Slice",
    "Store",
    "Tail",
    "Tenants",
    "Transaction",
    "Tried",
    "UnmovedKey",
    "Users",
    "Waiting",
    "WebhookSecrets",
    "WebhookSender",
    "Webhooks",
]
