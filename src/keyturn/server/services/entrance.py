"""How people come into the console, and what they sign in with."""

from dataclasses import dataclass

from .second_factor import SecondFactorService
from .signing_in import SigningIn


@dataclass(frozen=True, slots=True)
class Entrance:
    """What the console's pages before and around a sign-in work with."""

    signing_in: SigningIn
    second_factor: SecondFactorService
