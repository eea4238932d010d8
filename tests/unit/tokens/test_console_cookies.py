"""Cookies of sign-ins: their form, their hashes, and that an altered one is worth nothing."""

import pytest

from keyturn.server.domain.model import KeyHash
from keyturn.server.services.ports import NewCookie
from keyturn.server.tokens.api_keys import ApiKeys
from keyturn.server.tokens.console_cookies import ConsoleCookies
from keyturn.server.tokens.secrets import DerivedKeys


def cookies(*secrets: str) -> ConsoleCookies:
    return ConsoleCookies(DerivedKeys(secrets or ("one",), "console", 32))


def made(by: ConsoleCookies, epoch: int = 7) -> NewCookie:
    return by.new(by.new_id(), epoch)


def test_is_what_it_was_made_for() -> None:
    ours = cookies()
    new = made(ours, 2**53)
    parsed = ours.parse(new.text)
    assert parsed is not None
    assert (parsed.key_id, parsed.epoch) == (new.key_id, 2**53)
    assert ours.matches(parsed, new.hash)
    assert parsed.secret not in repr(parsed) + repr(new)
    assert new.text not in repr(new)


def test_no_part_of_one_can_be_changed() -> None:
    ours, new = cookies(), made(cookies())
    prefix, key_id, epoch, secret = new.text.split("_")
    for text in (
        f"{prefix}_{ours.new_id()}_{epoch}_{secret}",
        f"{prefix}_{key_id}_8_{secret}",
        f"{prefix}_{key_id}_{epoch}_{secret[::-1]}",
    ):
        parsed = ours.parse(text)
        assert parsed is not None
        assert not ours.matches(parsed, new.hash)
        assert not ours.matches(parsed, None)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:-1],
        lambda text: text.replace("_7_", "_07_"),
        lambda text: text.replace("_7_", "_-7_"),
        lambda text: text.replace("_7_", "_٧_"),
        lambda text: text.replace("_7_", f"_{10**20}_"),
        lambda text: text.replace("ktc_", "kt_"),
        lambda text: text[:-1] + "é",
    ],
)
def test_to_the_letter(change: object) -> None:
    assert callable(change)
    ours = cookies()
    assert ours.parse(change(made(ours).text)) is None


def test_of_a_previous_master_secret_is_good_until_that_goes() -> None:
    new = made(cookies("old"))
    parsed = cookies().parse(new.text)
    assert parsed is not None
    assert cookies("new", "old").matches(parsed, new.hash)
    assert not cookies("new").matches(parsed, new.hash)
    # Not even who writes a hash of zeros into the database gets in by it.
    assert not cookies("new").matches(parsed, KeyHash(bytes(32), 0))


def test_no_hash_of_an_api_key_fits() -> None:
    keys = ApiKeys(DerivedKeys(["one"], "console", 32))  # though it were the same pepper
    key = keys.new()
    _, key_id, secret, _ = key.text.split("_")
    parsed = cookies().parse(f"ktc_{key_id}_0_{secret}")
    assert parsed is not None
    assert not cookies().matches(parsed, key.hash)


def test_forms_tell_sign_ins_apart() -> None:
    ours = cookies()
    texts = [made(ours).text for _ in range(3)]
    tokens = {ours.csrf(parsed) for text in texts if (parsed := ours.parse(text))}
    assert len(tokens) == 3
    assert all(len(token) == 64 for token in tokens)
