"""A shop's backend: python3 shop.py"""

import json
import os
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wxlogin import WechatError, WxloginError, end_sessions, phone_number, sign, signed_in, wechat

phones = {}  # by user; a real shop has a database


def me(user, key, _body):
    return {"openid": user["openid"], "phone": phones.get(key)}


def phone(user, key, body):
    number = phone_number(user, body.get("code"))
    phones[key] = number["phoneNumber"]
    return number


def pay(user, _key, _body):
    """What wx.requestVirtualPayment wants, with paySig, for which the shop has a key of its own."""
    goods = {"productId": "tea", "goodsPrice": 990, "buyQuantity": 1, "currencyType": "CNY"}
    sign_data = json.dumps({"offerId": "1", "env": 0, "outTradeNo": str(time.time_ns()), **goods})
    return {"signData": sign_data, "signature": sign(user, sign_data)}


def message(user, _key, _body):
    """The message that the user has subscribed to, such as "your tea is on its way"."""
    message = {"touser": user["openid"], "template_id": "TEMPLATE", "data": {"thing1": {"value": "tea"}}}
    try:
        wechat(user, "/cgi-bin/message/subscribe/send", message)
        return {"sent": True}
    except WechatError as error:
        if error.errcode == 43101:  # the user does not want it
            return {"sent": False}
        raise


def comment(user, _key, body):
    check = {"version": 2, "scene": 2, "openid": user["openid"], "content": body.get("text")}
    return {"published": wechat(user, "/wxa/msg_sec_check", check)["result"]["suggest"] == "pass"}


def delete_account(user, key, _body):
    phones.pop(key, None)
    end_sessions(user)
    return {}


ROUTES = {
    "GET /me": me,
    "POST /phone": phone,
    "POST /pay": pay,
    "POST /message": message,
    "POST /comment": comment,
    "DELETE /account": delete_account,
}


class Shop(BaseHTTPRequestHandler):
    def answer(self):
        user = signed_in(self.headers["Authorization"])
        route = ROUTES.get(f"{self.command} {self.path}")
        if route is None:
            return 404, {"detail": "There is no such route."}
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        return 200, route(user, (user["appid"], user["openid"]), json.loads(body or "{}"))

    def do_GET(self):
        kind = "application/json"
        try:
            status, body = self.answer()
            body = json.dumps(body)
        except WxloginError as error:
            status, body, kind = error.status, error.body, "application/problem+json"
        except Exception:
            traceback.print_exc()
            status, body = 500, json.dumps({"detail": "The shop has a fault.", "action": "retry_later"})
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_DELETE = do_GET


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Shop).serve_forever()
