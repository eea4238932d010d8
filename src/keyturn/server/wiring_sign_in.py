"""Where the parts of signing in to the console meet."""

from .running import Running
from .services.callers import Callers
from .services.credentials import Credentials
from .services.entrance import Entrance
from .services.management.changes import Changes
from .services.recent_keys import RecentKeys
from .services.second_factor import SecondFactorService
from .services.sign_in.codes import Codes
from .services.signing_in import SigningIn
from .tokens.answers import SealedAnswers
from .tokens.console_cookies import ConsoleCookies
from .tokens.second_factors import SealedFactors
from .tokens.secrets import DerivedKeys
from .tokens.totp import TotpCodes


def wire_sign_in(
    running: Running,
    callers: Callers,
    keys: RecentKeys,
    changes: Changes,
    credentials: Credentials,
) -> Entrance:
    """All of it."""
    secrets, store = running.parts.secrets, running.parts.store
    generators = TotpCodes()
    sealed = SealedFactors(DerivedKeys(secrets, "second factors", 64))
    sealer = SealedAnswers(DerivedKeys(secrets, "console steps", 64))
    return Entrance(
        SigningIn(
            store=store,
            changes=changes,
            callers=callers,
            keys=keys,
            credentials=credentials,
            cookies=ConsoleCookies(DerivedKeys(secrets, "console", 32)),
            passwords=running.passwords,
            codes=Codes(generators, sealed),
            sealer=sealer,
            throttling=running.throttling,
            usage=running.usage,
            clock=running.clock,
        ),
        SecondFactorService(
            store=store,
            changes=changes,
            passwords=running.passwords,
            generators=generators,
            secrets=sealed,
            sealer=sealer,
            throttling=running.throttling,
            clock=running.clock,
        ),
    )
