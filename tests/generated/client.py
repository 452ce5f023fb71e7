"""Uses the client that openapi-python-client makes of docs/openapi.yaml."""

import os
import re

from wxlogin_client import AuthenticatedClient, Client
from wxlogin_client.api.internal import (
    check_session_key,
    end_sessions,
    get_access_token,
    get_phone_number,
    get_sessions,
    sign,
)
from wxlogin_client.api.public import log_in, show_session
from wxlogin_client.models import (
    AccessToken,
    Action,
    DataToSign,
    ErrorCode,
    Login,
    PhoneCode,
    PhoneNumber,
    Problem,
    Session,
    SessionKeyState,
    Signature,
    UserSessions,
)

WXLOGIN = os.environ["WXLOGIN"]
INTERNAL = os.environ["WXLOGIN_INTERNAL"]
phone = Client(base_url=WXLOGIN)
backend = AuthenticatedClient(base_url=INTERNAL, token=os.environ["INTERNAL_TOKEN"])

refused = log_in.sync(client=phone, code="error-40029")
assert isinstance(refused, Problem)
code: ErrorCode = refused.code
action: Action = refused.action
texts: list[str] = [refused.title, refused.detail, refused.request_id]
assert code is ErrorCode.INVALID_CODE and action is Action.LOGIN_AGAIN and all(texts)
assert (refused.status, refused.errcode) == (400, 40029)

login = log_in.sync(client=phone, code="user-alice")
assert isinstance(login, Login)
user = AuthenticatedClient(base_url=WXLOGIN, token=login.token)
session = show_session.sync(client=user)
assert isinstance(session, Session)
assert (session.openid, session.unionid) == (login.openid, login.unionid)
appid, openid = session.appid, session.openid

number = get_phone_number.sync(appid, openid, client=backend, body=PhoneCode(code="phone-alice"))
assert isinstance(number, PhoneNumber)
assert re.fullmatch(r"1\d{10}", number.pure_phone_number)
spent = get_phone_number.sync(appid, openid, client=backend, body=PhoneCode(code="error-40029"))
assert isinstance(spent, Problem)
assert spent.code is ErrorCode.INVALID_PHONE_CODE
signed = sign.sync(appid, openid, client=backend, body=DataToSign(data="{}"))
assert isinstance(signed, Signature)
assert re.fullmatch(r"[0-9a-f]{64}", signed.signature)
key = check_session_key.sync(appid, openid, client=backend)
assert isinstance(key, SessionKeyState)
assert key.valid
kept = get_sessions.sync(appid, openid, client=backend)
assert isinstance(kept, UserSessions)
lives: list[int] = [it.expires_at - it.created_at for it in kept.sessions]
assert lives == [login.expires_in]

foreign = get_access_token.sync(appid, client=AuthenticatedClient(base_url=INTERNAL, token="another"))
assert isinstance(foreign, Problem) and not isinstance(foreign, AccessToken)
assert foreign.code is ErrorCode.INVALID_INTERNAL_TOKEN
ended = end_sessions.sync_detailed(appid, openid, client=backend)
assert ended.status_code == 204
gone = show_session.sync(client=user)
assert isinstance(gone, Problem)
assert gone.code is ErrorCode.INVALID_TOKEN
