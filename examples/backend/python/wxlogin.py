"""What a backend asks wxlogin. Python 3.9 or newer, nothing to install."""

import json
import os
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

TIMEOUT = 20  # seconds: more than WECHAT_TIMEOUT and WECHAT_CALL_TIMEOUT of wxlogin


class WxloginError(Exception):
    """A failure for the Mini Program: answer it with this status and body, whose `action` says what it does."""

    def __init__(self, status, body):
        super().__init__(f"wxlogin: {status} {body}")
        self.status = status
        self.body = body


class WechatError(Exception):
    """WeChat has refused a call."""

    def __init__(self, path, errcode):
        super().__init__(f"WeChat: {path} {errcode}")
        self.errcode = errcode


def signed_in(authorization):
    """Whose request this is, by its Authorization header: {"appid", "openid", "unionid"}.

    Not behind a reverse proxy that has asked already. Do not cache it: a lookup is cheap, and a session that was
    ended must be refused at once.
    """
    return send("GET", os.environ["WXLOGIN"] + "/session", authorization or "")


def phone_number(user, code):
    """{"phoneNumber", "purePhoneNumber", "countryCode"}, texts."""
    return internal("POST", user_path(user) + "/phone", {"code": code})


def sign(user, data):
    return internal("POST", user_path(user) + "/sign", {"data": data})["signature"]


def end_sessions(user):
    internal("DELETE", user_path(user) + "/sessions")


def wechat(user, path, body):
    """A call of WeChat's server API that answers with JSON, by a path in INTERNAL_WECHAT_PATHS."""
    answer = internal("POST", f"/wechat/{user['appid']}{path}", body)
    if answer.get("errcode"):
        raise WechatError(path, answer["errcode"])
    return answer


def user_path(user):
    return "/users/" + quote(user["appid"], safe="") + "/" + quote(user["openid"], safe="")


def internal(method, path, body=None):
    try:
        return send(method, os.environ["WXLOGIN_INTERNAL"] + path, "Bearer " + os.environ["INTERNAL_TOKEN"], body)
    except WxloginError as error:
        if error.status == 401:  # about INTERNAL_TOKEN, not about the user: a fault of this backend, so 500
            raise RuntimeError(str(error)) from error
        raise


def send(method, url, authorization, body=None):
    content = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    try:
        with urlopen(Request(url, content, headers, method=method), timeout=TIMEOUT) as response:
            return json.loads(response.read() or "null")
    except HTTPError as error:
        raise WxloginError(error.code, error.read().decode()) from None
