"""The groups of commands of management, by noun: what each is about, and its module.

A module is imported when its group is used: the others cost nothing.
"""

from typing import NamedTuple


class Group(NamedTuple):
    """A group: the module that declares its commands as `app`, what it is about, examples."""

    module: str
    text: str
    examples: tuple[str, str]

    @property
    def help(self) -> str:
        """What `--help` says of it."""
        lines = "\n".join(f"  keyturn {example}" for example in self.examples)
        return f"{self.text}\n\n\b\nExamples:\n{lines}"


GROUPS = {
    "tenant": Group(
        "tenants",
        "The chosen tenant, and those below it.",
        ("tenant create acme-staging --tenant acme", "tenant policy acme --single-token on"),
    ),
    "role": Group(
        "roles",
        "Named sets of permissions.",
        ("role create deployer --permission assets:write", "role edit deployer --add logs:read"),
    ),
    "permission": Group(
        "permissions",
        "What roles consist of, as in assets:write.",
        ("permission list", "permission register assets:write --description 'Change assets'"),
    ),
    "service-user": Group(
        "service_users",
        "Users for programs: API keys and no password.",
        ("service-user create ci-runner --role editor --key first", "service-user list --below"),
    ),
    "member": Group(
        "members",
        "Who holds which roles in a tenant.",
        ("member add ci-runner --role operator", "member remove ada@example.org"),
    ),
    "invitation": Group(
        "invitations",
        "Roles offered by mail address, and the answers.",
        ("invitation create ada@example.org --role editor", "invitation mine"),
    ),
    "api-key": Group(
        "api_keys",
        "Keys: your own, and those of service users.",
        (
            "api-key create --name laptop --expires-in 90d",
            "api-key rotate deploy --overlap 7d",
        ),
    ),
    "session": Group(
        "sessions",
        "What goes on with your keys and others', and what ends it.",
        ("session list --user ci-runner --live", "session end-all --user ada@example.org"),
    ),
    "endpoint": Group(
        "endpoints",
        "The catalogue of endpoints, and what opens them.",
        (
            "endpoint import openapi.json --service fleet",
            "endpoint explain GET /hosts/17/report",
        ),
    ),
    "resource-server": Group(
        "resource_servers",
        "Who takes tokens, by identifier and algorithm.",
        (
            "resource-server create https://assets.example --name Assets",
            "resource-server edit https://assets.example --algorithm ES256",
        ),
    ),
    "webhook": Group(
        "webhooks",
        "Where a tenant is told of events, and how that goes.",
        (
            "webhook create incidents --url https://hooks.example/keyturn",
            "webhook deliveries incidents --state dead",
        ),
    ),
    "signing-key": Group(
        "signing_keys",
        "What tokens are signed with; the root tenant's.",
        ("signing-key list --tenant platform", "signing-key rotate --tenant platform"),
    ),
    "audit": Group(
        "audit",
        "What happened in a tenant, and who did it.",
        ("audit list --since 24h", "audit export --since 2026-03-01"),
    ),
}
