"""What a page says was done on the page before it. The URL names it, and no more: nobody can make a
page say something else by a link.
"""

_NOTICES = {
    "api-key-changed": "The API key is changed. Tokens that it gave before have ended.",
    "api-key-kept": "The secret is not shown again.",
    "api-key-revoked": "The API key is revoked; all that it gave has ended.",
    "browser-ended": "That browser is signed out.",
    "browsers-ended": "You are signed out everywhere else.",
    "deliveries-retried": "Dead deliveries are tried again, the oldest first, at most 100 at once.",
    "delivery-retried": "The delivery is tried again.",
    "endpoint-created": "The endpoint is registered.",
    "endpoint-deleted": "The endpoint is gone from the catalogue.",
    "invitation-accepted": "You accepted the invitation: the tenant is among yours.",
    "invitation-declined": "You declined the invitation.",
    "invitation-withdrawn": "The invitation is withdrawn; its code is good for nothing.",
    "member-removed": "The member is removed from this tenant.",
    "password-changed": "Your password is changed; other browsers are signed out.",
    "permission-deleted": "The permission is gone.",
    "permission-registered": "The permission is registered: roles can have it.",
    "recovery-codes-kept": "The recovery codes are not shown again.",
    "resource-server-created": "The resource server is registered: tokens can be asked for it.",
    "resource-server-deleted": "The resource server is gone: nobody gets a token for it any more.",
    "role-created": "The role is made. Give it to members next.",
    "role-deleted": "The role is gone, and nobody holds it.",
    "role-given": "The role is given. It works at once.",
    "role-taken": "The role is taken away.",
    "saved": "Saved.",
    "second-factor-removed": "There is no second factor any more: your password alone signs in.",
    "service-user-created": "The service user is made. Give it an API key next.",
    "service-user-deleted": "The service user and its API keys are gone.",
    "service-user-disabled": "The service user is disabled; its tokens have ended.",
    "service-user-enabled": "The service user works again.",
    "session-ended": "The session has ended.",
    "signed-out": "You are signed out.",
    "signed-out-everywhere": "You are signed out everywhere.",
    "signing-key-imported": "The key is published, and signs when its time has come.",
    "signing-key-revoked": "The key is gone; what it signed is refused.",
    "signing-key-rotated": "The next key signs now.",
    "tenant-created": "The tenant is made.",
    "tenant-deleted": "The tenant is gone.",
    "tenant-left": "You left the tenant.",
    "tenant-resumed": "The tenant works again.",
    "tenant-suspended": "The tenant is suspended; its tokens have ended.",
    "tokens-ended": "All that was given out until now has ended.",
    "webhook-deleted": "The webhook and its deliveries are gone.",
    "webhook-disabled": "The webhook is disabled: it is told nothing.",
    "webhook-enabled": "The webhook is told of what happens from now on.",
    "webhook-tested": "A test is on its way. What becomes of it stands below.",
}


def notice(name: str) -> str:
    """The text of a notice; empty for what is none."""
    return _NOTICES.get(name, "")
