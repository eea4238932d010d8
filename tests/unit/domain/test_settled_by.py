"""Whose rule it is that holds in a tenant."""

from __future__ import annotations

from keyturn.server.domain.policy import Offboarding, Policy, settled_by


def test_the_strictest_holds_wherever_it_stands() -> None:
    chain = [Policy(max_api_keys=5, offboarding=Offboarding.KEEP), Policy(max_api_keys=7), Policy()]
    by = settled_by(chain)
    assert (by["max_api_keys"], by["offboarding"], by["single_token"]) == (0, 0, None)
    assert (
        settled_by([Policy(), Policy(max_api_keys=5), Policy(max_api_keys=0)])["max_api_keys"] == 2
    )


def test_of_several_alike_the_highest_holds() -> None:
    assert settled_by([Policy(single_token=True)] * 3)["single_token"] == 2


def test_a_rule_as_mild_as_the_default_is_settled_all_the_same() -> None:
    assert settled_by([Policy(single_token=False)])["single_token"] == 0
