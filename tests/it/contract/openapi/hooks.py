"""What schemathesis cannot make up: codes that WeChat knows, sessions, and what WeChat encrypted and signed.

A request that schemathesis means to be valid gets them, with a user of its own; one that it means to be
invalid keeps what it has.
"""

import json
import os
import urllib.request

import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation

PUBLIC = os.environ["WXLOGIN_PUBLIC"]
INTERNAL_TOKEN = os.environ["WXLOGIN_INTERNAL_TOKEN"]
APPID = os.environ["WXLOGIN_APPID"]
with open(os.environ["WXLOGIN_USERS"], encoding="utf-8") as file:
    unused = iter(json.load(file))
users = {}  # by the id of the case
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def log_in(user):
    with opener.open(f"{PUBLIC}/onLogin?code={user['code']}") as answer:
        return json.load(answer)["token"]


@schemathesis.auth(refresh_interval=None)
class Bearer:
    def get(self, case, context):
        user = users[case.id] = next(unused)
        security = context.operation.definition.raw.get("security", [])
        names = {name for requirement in security for name in requirement}
        if not names:
            return None
        token = log_in(user)
        return INTERNAL_TOKEN if "internalToken" in names else token

    def set(self, case, data, context):
        if data is not None:
            case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context, case, kwargs):
    user = users.get(case.id)
    if user is None or case.meta is None:
        return

    def is_valid(location):
        component = case.meta.components.get(location)
        return component is None or component.mode == GenerationMode.POSITIVE

    if is_valid(ParameterLocation.PATH) and "appid" in case.path_parameters:
        case.path_parameters["appid"] = APPID
        if "openid" in case.path_parameters:
            case.path_parameters["openid"] = user["openid"]
    operation = case.operation.definition.raw["operationId"]
    if is_valid(ParameterLocation.QUERY) and operation == "logIn":
        case.query["code"] = user["login"]
        if "appid" in case.query:
            case.query["appid"] = APPID
    body = user["bodies"].get(operation)
    if is_valid(ParameterLocation.BODY) and body is not None:
        case.body = body
