"""What administrators, operators and bad luck do."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import MultipleResults, multiple, precondition, rule

from tests.model.cast import APART, BELOW, HOME, PERMISSIONS, ROLES, TENANTS, USERS
from tests.model.machine import NODE, TokenRules
from tests.model.model import Key, Token

USER = st.sampled_from(list(USERS))
ROLE = st.sampled_from(list(ROLES))
TENANT = st.sampled_from(TENANTS)
SUSPENDABLE = st.sampled_from([APART, BELOW])
PERMITTED = st.sets(st.sampled_from(PERMISSIONS), min_size=1, max_size=3).map(sorted)

#: How long an old secret works beside the new one: longer than any example takes (seconds).
OVERLAP = 3_600


class Machine(TokenRules):
    """Two nodes, and everybody who has to do with them."""

    keys = TokenRules.keys
    tokens = TokenRules.tokens

    def __init__(self) -> None:
        super().__init__()
        self.without_redis: set[str] = set()

    # --- revocation ------------------------------------------------------------------------

    @rule(node=NODE, token=tokens)
    def revoke_token(self, node: str, token: Token) -> None:
        """RFC 7009, by whoever holds it."""
        with self.step(node):
            self.run(self.world.revoke(node, token.text))
            token.revoked = token.revoked or not token.session.key.user.deleted

    @rule(node=NODE, of=tokens, generation=st.integers(0, 3))
    def revoke_session(self, node: str, of: Token, generation: int) -> None:
        """By any of its refresh tokens."""
        session = of.session
        if not session.texts:
            return
        with self.step(node):
            text = session.texts[min(generation, len(session.texts) - 1)]
            self.run(self.world.revoke(node, text))
            session.ended = session.ended or not session.key.user.deleted

    @rule(node=NODE, key=keys)
    def revoke_key(self, node: str, key: Key) -> None:
        if key.user.deleted:
            return
        with self.step(node):
            self._manage(node, "POST", f"/api-keys/{key.id}/revoke")
            key.revoked = True

    @rule(node=NODE, of=tokens)
    def end_session(self, node: str, of: Token) -> None:
        """By an administrator, who knows of it from its first refresh on."""
        session = of.session
        if session.live == 0 or session.key.user.deleted:
            return
        with self.step(node):
            self._manage(node, "DELETE", f"/sessions/{session.id}")
            session.ended = True

    @rule(node=NODE, name=USER)
    def end_all_of_user(self, node: str, name: str) -> None:
        """Its tokens, and all of its sessions."""
        user = self.model.users[name]
        with self.step(node):
            self._manage(node, "POST", "/revocations", {"user_id": user.id})
            user.epoch += 1
            user.sessions_epoch = user.epoch

    # --- keys ------------------------------------------------------------------------------

    @rule(node=NODE, key=keys, overlap=st.booleans())
    def rotate_key(self, node: str, key: Key, overlap: bool) -> None:
        """With an overlap, the sessions go on. There is one old secret at a time."""
        if key.revoked or key.user.deleted or (overlap and key.former is not None):
            return
        with self.step(node):
            body = {"overlap_seconds": OVERLAP if overlap else 0}
            made = self._manage(node, "POST", f"/api-keys/{key.id}/rotate", body)
            key.former = key.secret if overlap else None
            key.secret = made["secret"]
            if not overlap:
                key.user.epoch += 1
                key.sessions_epoch = key.user.epoch

    @rule(target=keys, node=NODE, name=USER)
    def make_key(self, node: str, name: str) -> Key | MultipleResults[Key]:
        user = self.model.users[name]
        made_before = sum(key.user is user for key in self.cast.keys)
        if user.disabled or made_before > 6:
            return multiple()
        with self.step(node):
            key_name = f"{name}-{made_before + 1}"
            body = {"user_id": user.id, "name": key_name}
            made = self._manage(node, "POST", "/api-keys", body)
            key = Key(key_name, made["id"], user, made["secret"])
            self.cast.keys.append(key)
            return key

    # --- what users may do -----------------------------------------------------------------

    @rule(node=NODE, name=USER, role=ROLE, tenant=TENANT)
    def give_or_take_role(self, node: str, name: str, role: str, tenant: str) -> None:
        """Give it to somebody at home in the tenant, or with a role there; or take it."""
        user, place = self.model.users[name], self.model.tenants[tenant]
        held = (place, self.model.roles[role])
        belongs = tenant == HOME or any(somewhere is place for somewhere, _ in user.held)
        if not belongs or not place.active:
            return
        with self.step(node):
            if held in user.held:
                path = f"/members/{user.id}/roles/{held[1].id}"
                self._manage(node, "DELETE", path, at=place.id)
            else:
                body = {"user_id": user.id, "role_id": held[1].id}
                self._manage(node, "POST", "/members", body, at=place.id)
            user.held ^= {held}
            user.epoch += 1

    @rule(node=NODE, name=ROLE, permissions=PERMITTED)
    def change_role(self, node: str, name: str, permissions: list[str]) -> None:
        """Wherever it is held."""
        role = self.model.roles[name]
        with self.step(node):
            body = {"permissions": permissions}
            self._manage(node, "PATCH", f"/roles/{role.id}", body, at=self.cast.org)
            self.model.permit(role, frozenset(permissions))

    @rule(node=NODE, name=USER)
    def disable_user(self, node: str, name: str) -> None:
        self._switch(node, name, "disable")

    @rule(node=NODE, name=USER)
    @precondition(lambda self: any(user.disabled for user in self.model.users.values()))
    def enable_user(self, node: str, name: str) -> None:
        """Its keys and sessions work again; its tokens from before do not."""
        self._switch(node, name, "enable")

    def _switch(self, node: str, name: str, verb: str) -> None:
        user = self.model.users[name]
        with self.step(node):
            self._manage(node, "POST", f"/service-users/{user.id}/{verb}")
            if user.disabled != (verb == "disable"):
                user.disabled = not user.disabled
                user.epoch += 1

    @rule(target=keys, node=NODE, name=USER)
    def delete_user_and_hire_another(self, node: str, name: str) -> Key:
        user = self.model.users[name]
        with self.step(node):
            self._manage(node, "DELETE", f"/service-users/{user.id}")
            user.deleted = True
        key: Key = self.run(self.cast.successor(name))
        self.cast.keys.append(key)
        return key

    @rule(node=NODE, name=SUSPENDABLE)
    def suspend_tenant(self, node: str, name: str) -> None:
        """With all below it."""
        self._suspend(node, name, True)

    @rule(node=NODE, name=SUSPENDABLE)
    @precondition(lambda self: any(tenant.suspended for tenant in self.model.tenants.values()))
    def resume_tenant(self, node: str, name: str) -> None:
        """Tokens for it are good again."""
        self._suspend(node, name, False)

    def _suspend(self, node: str, name: str, suspended: bool) -> None:
        tenant, verb = self.model.tenants[name], "suspend" if suspended else "resume"
        with self.step(node):
            self._manage(node, "POST", f"/tenants/{tenant.id}/{verb}", at=self.cast.org)
            if tenant.suspended and not suspended:
                self.checks.lifted(tenant)
            tenant.suspended = suspended

    def _manage(
        self, node: str, method: str, path: str, body: object = None, *, at: str = ""
    ) -> dict[str, str]:
        at = at or self.model.tenants[HOME].id
        answer = self.run(self.world.administer(node, method, path, at, body))
        made: dict[str, str] = answer.body
        return made

    # --- time and faults -------------------------------------------------------------------

    @rule()
    @precondition(lambda self: not self.just_flushed)
    def flush_redis(self) -> None:
        """FLUSHALL: no entry is left, and no marker."""
        with self.step("A"):
            self.run(self.world.flush_redis())
            self.run(self.checks.look(self.checks.listed()))
        self.just_flushed = True

    @rule(node=NODE, token=tokens)
    def revoke_token_and_flush_redis(self, node: str, token: Token) -> None:
        """Before the other node's tail has heard of it. By chance alone that would be seldom."""
        self.revoke_token(node, token)
        self.flush_redis()

    @rule(node=NODE)
    def lose_redis(self, node: str) -> None:
        """Only this node."""
        if node not in self.without_redis:
            with self.step(node):
                self.run(self.world.lose_redis(node))
                self.without_redis.add(node)

    @rule()
    @precondition(lambda self: self.without_redis)
    def redis_is_back(self) -> None:
        with self.step("A"):
            for node in sorted(self.without_redis):
                self.run(self.world.regain_redis(node))
            self.without_redis.clear()

    @rule()
    @precondition(lambda self: self.without_redis)
    def wait_for_tails(self) -> None:
        """Until both nodes know what the other one did."""
        with self.step("A"):
            self.run(self.checks.settle())

    @rule(node=NODE)
    def restart(self, node: str) -> None:
        with self.step(node):
            self.run(self.world.restart(node))

    @rule(node=NODE)
    def rotate_signing_key(self, node: str) -> None:
        """What was signed before stays good, and both nodes know the new key."""
        with self.step(node):
            self.run(self.world.publish_next_key())
            self._manage(node, "POST", "/signing-keys/rotate", {}, at=self.world.root)
