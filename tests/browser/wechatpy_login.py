"""Logs a user in and fetches a phone number by wechatpy, whose addresses of WeChat are fixed: its HTTP session
sends them to the stand-in. Prints what it got as JSON."""

import json
import os

from requests.adapters import HTTPAdapter
from wechatpy import WeChatClient
from wechatpy.exceptions import WeChatClientException

WECHAT = 'https://api.weixin.qq.com'


class ToStandIn(HTTPAdapter):
    def send(self, request, **kwargs):
        request.url = request.url.replace(WECHAT, os.environ['WECHAT_API_BASE'], 1)
        return super().send(request, **kwargs)


client = WeChatClient(os.environ['WECHAT_APPID'], os.environ['WECHAT_SECRET'])
client._http.trust_env = False
client._http.mount(WECHAT, ToStandIn())


def refusal(code):
    try:
        return client.wxa.code_to_session(code)
    except WeChatClientException as error:
        return error.errcode


print(json.dumps({
    'login': client.wxa.code_to_session('user-wechatpy'),
    'used': refusal('user-wechatpy'),
    'refused': refusal('error-40029'),
    # It has no method for this call.
    'phone': client.post(f'{WECHAT}/wxa/business/getuserphonenumber', data={'code': 'phone-wechatpy'}),
}))
