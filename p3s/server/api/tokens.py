"""Routes of tokens."""

from __future__ import annotations

from p3s.server.api.frame import caller, choose_secret, core, endpoint
from p3s.server.usecases import tokens
from p3s.wire import CreateTokenBody, EmptyBody, NewTokenView, RotateTokenBody, TokenList, TokenView


@endpoint("GET", "/tokens", gives=TokenList)
def list_tokens() -> TokenList:
    """List all tokens, by name."""
    return tokens.list_tokens(core())


@endpoint("POST", "/tokens", takes=CreateTokenBody, gives=NewTokenView, status=201, hides="secret")
def create_token(body: CreateTokenBody) -> NewTokenView:
    """Make a token; the answer is the only one that shows it."""
    return tokens.create_token(core(), body, caller().name, choose_secret())


@endpoint("POST", "/tokens/<name>/revoke", takes=EmptyBody, gives=TokenView)
def revoke_token(name: str, body: EmptyBody) -> TokenView:  # noqa: ARG001 - decoded so that fields are refused
    """End a token now, with the pilots that it registered."""
    return tokens.revoke_token(core(), name, caller().name)


@endpoint("POST", "/tokens/<name>/rotate", takes=RotateTokenBody, gives=NewTokenView, hides="secret")
def rotate_token(name: str, body: RotateTokenBody) -> NewTokenView:
    """Give a token a new secret; the old one ends now."""
    return tokens.rotate_token(core(), name, body.expires, caller().name, choose_secret())
