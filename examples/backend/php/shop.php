<?php // A shop's backend: php -S 127.0.0.1:8080 shop.php

require __DIR__ . '/wxlogin.php';

/** The phone numbers by user; a real shop has a database. */
function phones(?callable $change = null): array {
    $file = fopen(getenv('SHOP_FILE') ?: sys_get_temp_dir() . '/shop.json', 'c+');
    flock($file, LOCK_EX);
    $phones = json_decode(stream_get_contents($file) ?: '[]', true);
    if ($change !== null) {
        $change($phones);
        ftruncate($file, 0);
        rewind($file);
        fwrite($file, json_encode($phones));
    }
    return $phones;
}

function answer(): array {
    $user = Wxlogin::signedIn($_SERVER['HTTP_AUTHORIZATION'] ?? null);
    $key = "$user[appid] $user[openid]";
    $body = json_decode(file_get_contents('php://input') ?: '{}', true);
    switch ("$_SERVER[REQUEST_METHOD] $_SERVER[REQUEST_URI]") {
        case 'GET /me':
            return [200, ['openid' => $user['openid'], 'phone' => phones()[$key] ?? null]];
        case 'POST /phone':
            $number = Wxlogin::phoneNumber($user, $body['code'] ?? '');
            phones(function (&$phones) use ($key, $number) { $phones[$key] = $number['phoneNumber']; });
            return [200, $number];
        case 'POST /pay':
            // What wx.requestVirtualPayment wants, with paySig, for which the shop has a key of its own.
            $goods = ['productId' => 'tea', 'goodsPrice' => 990, 'buyQuantity' => 1, 'currencyType' => 'CNY'];
            $signData = json_encode(['offerId' => '1', 'env' => 0, 'outTradeNo' => uniqid('shop')] + $goods);
            return [200, ['signData' => $signData, 'signature' => Wxlogin::sign($user, $signData)]];
        case 'POST /message': // the one that the user has subscribed to, such as "your tea is on its way"
            $data = ['thing1' => ['value' => 'tea']];
            $message = ['touser' => $user['openid'], 'template_id' => 'TEMPLATE', 'data' => $data];
            try {
                Wxlogin::wechat($user, '/cgi-bin/message/subscribe/send', $message);
                return [200, ['sent' => true]];
            } catch (WechatException $error) {
                if ($error->errcode === 43101) { // the user does not want it
                    return [200, ['sent' => false]];
                }
                throw $error;
            }
        case 'POST /comment':
            $check = ['version' => 2, 'scene' => 2, 'openid' => $user['openid'], 'content' => $body['text'] ?? ''];
            $answer = Wxlogin::wechat($user, '/wxa/msg_sec_check', $check);
            return [200, ['published' => $answer['result']['suggest'] === 'pass']];
        case 'DELETE /account':
            phones(function (&$phones) use ($key) { unset($phones[$key]); });
            Wxlogin::endSessions($user);
            return [200, new stdClass()];
        default:
            return [404, ['detail' => 'There is no such route.']];
    }
}

$type = 'application/json';
try {
    [$status, $body] = answer();
    $body = json_encode($body);
} catch (WxloginException $error) {
    [$status, $body, $type] = [$error->status, $error->body, 'application/problem+json'];
} catch (Throwable $error) {
    error_log($error);
    [$status, $body] = [500, '{"detail": "The shop has a fault.", "action": "retry_later"}'];
}
http_response_code($status);
header("Content-Type: $type");
echo $body;
