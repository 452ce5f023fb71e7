<?php // What a backend asks wxlogin. PHP 8.1 or newer, with curl.

/** A failure for the Mini Program: answer it with this status and body, whose action says what it does. */
class WxloginException extends RuntimeException {
    public function __construct(public readonly int $status, public readonly string $body) {
        parent::__construct("wxlogin: $status $body");
    }
}

/** WeChat has refused a call. */
class WechatException extends RuntimeException {
    public function __construct(string $path, public readonly int $errcode) {
        parent::__construct("WeChat: $path $errcode");
    }
}

final class Wxlogin {
    /** Seconds: more than WECHAT_TIMEOUT and WECHAT_CALL_TIMEOUT of wxlogin. */
    private const TIMEOUT = 20;

    /**
     * Whose request this is, by its Authorization header: appid, openid, unionid. Not behind a reverse proxy that has
     * asked already. Do not cache it: a lookup is cheap, and a session that was ended must be refused at once.
     */
    public static function signedIn(?string $authorization): array {
        return self::send('GET', getenv('WXLOGIN') . '/session', $authorization ?? '');
    }

    /** phoneNumber, purePhoneNumber and countryCode, texts. */
    public static function phoneNumber(array $user, string $code): array {
        return self::internal('POST', self::path($user) . '/phone', ['code' => $code]);
    }

    public static function sign(array $user, string $data): string {
        return self::internal('POST', self::path($user) . '/sign', ['data' => $data])['signature'];
    }

    public static function endSessions(array $user): void {
        self::internal('DELETE', self::path($user) . '/sessions');
    }

    /** A call of WeChat's server API that answers with JSON, by a path in INTERNAL_WECHAT_PATHS. */
    public static function wechat(array $user, string $path, array $body): array {
        $answer = self::internal('POST', "/wechat/$user[appid]$path", $body);
        if (($answer['errcode'] ?? 0) !== 0) {
            throw new WechatException($path, $answer['errcode']);
        }
        return $answer;
    }

    private static function path(array $user): string {
        return '/users/' . rawurlencode($user['appid']) . '/' . rawurlencode($user['openid']);
    }

    private static function internal(string $method, string $path, ?array $body = null): ?array {
        try {
            return self::send($method, getenv('WXLOGIN_INTERNAL') . $path, 'Bearer ' . getenv('INTERNAL_TOKEN'), $body);
        } catch (WxloginException $error) {
            // 401 is about INTERNAL_TOKEN, not about the user: a fault of this backend, so 500 to the Mini Program.
            throw $error->status === 401 ? new RuntimeException($error->getMessage()) : $error;
        }
    }

    private static function send(string $method, string $url, string $authorization, ?array $body = null): ?array {
        $curl = curl_init($url);
        curl_setopt_array($curl, [
            CURLOPT_CUSTOMREQUEST => $method,
            CURLOPT_HTTPHEADER => ["Authorization: $authorization", 'Content-Type: application/json'],
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_TIMEOUT => self::TIMEOUT,
        ]);
        if ($body !== null) {
            curl_setopt($curl, CURLOPT_POSTFIELDS, json_encode($body, JSON_THROW_ON_ERROR));
        }
        $text = curl_exec($curl);
        if ($text === false) {
            throw new RuntimeException('wxlogin: ' . curl_error($curl));
        }
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        if ($status >= 300) {
            throw new WxloginException($status, $text);
        }
        return $text === '' ? null : json_decode($text, true, 512, JSON_THROW_ON_ERROR);
    }
}
