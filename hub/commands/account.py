"""login, logout, whoami."""

from hub.commands.context import Context, Verbs


def add(verbs: Verbs) -> None:
    """Adds the verbs of this file."""
    login = verbs.add_parser("login", help="keep a token for this hub (asked for, or --token, or on stdin)")
    login.set_defaults(run=_login)
    verbs.add_parser("logout", help="forget the kept token of this hub").set_defaults(run=_logout)
    verbs.add_parser("whoami", help="who the token belongs to, and what it may do").set_defaults(run=_whoami)


def _login(context: Context) -> None:
    me = context.client.login(getattr(context.arguments, "token", None))
    context.out.say(f"logged in to {context.client.settings.endpoint} as {me.get('user')} (scope {me.get('scope')})")
    context.out.result(me)


def _logout(context: Context) -> None:
    forgotten = context.client.logout()
    context.out.say("the token is forgotten here; revoke it on the website" if forgotten else "you were not logged in")
    context.out.result({"forgotten": forgotten})


def _whoami(context: Context) -> None:
    me = context.client.whoami()
    spaces = ", ".join(f"{space['name']} ({space['role']})" for space in me.get("namespaces") or [])
    lines = [str(me.get("user")), f"scope: {me.get('scope')}", f"namespaces: {spaces or 'none'}"]
    context.out.result(me, lines)
