"""What schemathesis cannot make up: codes that WeChat knows, sessions, and what WeChat encrypted and signed.

A request that schemathesis means to be valid gets them, with a user of its own; one that it means to be
invalid keeps what it has. What the description says in a form that code generators pass over is checked too.
"""

import json
import os
import re
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
        if "path" in case.path_parameters:
            case.path_parameters["path"] = "x"
    operation = case.operation.definition.raw["operationId"]
    if is_valid(ParameterLocation.QUERY) and operation == "logIn":
        case.query["code"] = user["login"]
        if "appid" in case.query:
            case.query["appid"] = APPID
    body = user["bodies"].get(operation)
    if is_valid(ParameterLocation.BODY) and body is not None:
        case.body = body


@schemathesis.hook
def before_load_schema(context, schema):
    """A client takes answers with more fields than are described, but this version sends no others."""
    asked = set()
    for item in schema["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict):
                asked.update(re.findall(r"schemas/(\w+)", json.dumps(operation.get("requestBody"))))
    for name, body in schema["components"]["schemas"].items():
        if body["type"] == "object" and name not in asked:
            body.setdefault("additionalProperties", False)


@schemathesis.check
def failure_conformance(ctx, response, case):
    """A failure has the status and one of the actions of its code, which the response's description names."""
    if response.status_code < 400:
        return
    components = case.operation.schema.raw_schema["components"]
    problem = response.json()
    row = components["schemas"]["ErrorCode"]["x-failures"][problem["code"]]
    statuses = row["status"] if isinstance(row["status"], list) else [row["status"]]
    assert problem["status"] == response.status_code in statuses, problem
    assert problem["action"] in row["actions"], problem
    reference = case.operation.definition.raw["responses"].get(str(response.status_code))
    if reference is not None:
        described = components["responses"][reference["$ref"].rsplit("/", 1)[-1]]
        assert f"`{problem['code']}`" in described["description"], problem
