"""Shared by the attacks: how each database role logs in."""

from sqlalchemy import make_url

from alina.db import roles


def login(owner_url: str, role: str) -> str:
    """The same database as a role, which has a password from now on."""
    url = make_url(owner_url).set(username=role, password=f"the password of {role}")
    role_url = url.render_as_string(hide_password=False)
    roles.let_log_in(owner_url, role_url)
    return role_url
