import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.*;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;

/** What a backend asks wxlogin. Java 17 or newer, with Jackson. */
final class Wxlogin {
    /** A failure for the Mini Program: answer it with this status and body, whose action says what it does. */
    static final class Failure extends IOException {
        final int status;
        final String body;

        Failure(int status, String body) {
            super("wxlogin: " + status + " " + body);
            this.status = status;
            this.body = body;
        }
    }

    /** WeChat has refused a call. */
    static final class Refusal extends IOException {
        final int errcode;

        Refusal(String path, int errcode) {
            super("WeChat: " + path + " " + errcode);
            this.errcode = errcode;
        }
    }

    record User(String appid, String openid, String unionid) {}
    record PhoneNumber(String phoneNumber, String purePhoneNumber, String countryCode) {}
    private record Signature(String signature) {}

    /** More than WECHAT_TIMEOUT and WECHAT_CALL_TIMEOUT of wxlogin. */
    private static final Duration TIMEOUT = Duration.ofSeconds(20);
    private static final HttpClient HTTP = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private static final ObjectMapper JSON =
        new ObjectMapper().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);

    /**
     * Whose request this is, by its Authorization header. Not behind a reverse proxy that has asked already. Do not
     * cache it: a lookup is cheap, and a session that was ended must be refused at once.
     */
    static User signedIn(String authorization) throws IOException, InterruptedException {
        var given = authorization == null ? "" : authorization;
        return send("GET", System.getenv("WXLOGIN") + "/session", given, null, User.class);
    }

    static PhoneNumber phoneNumber(User user, String code) throws IOException, InterruptedException {
        return internal("POST", path(user) + "/phone", Map.of("code", code), PhoneNumber.class);
    }

    static String sign(User user, String data) throws IOException, InterruptedException {
        return internal("POST", path(user) + "/sign", Map.of("data", data), Signature.class).signature();
    }

    static void endSessions(User user) throws IOException, InterruptedException {
        internal("DELETE", path(user) + "/sessions", null, Void.class);
    }

    /** A call of WeChat's server API that answers with JSON, by a path in INTERNAL_WECHAT_PATHS. */
    static <T> T wechat(User user, String path, Object body, Class<T> type) throws IOException, InterruptedException {
        var answer = internal("POST", "/wechat/" + user.appid() + path, body, JsonNode.class);
        int errcode = answer.path("errcode").asInt();
        if (errcode != 0) throw new Refusal(path, errcode);
        return JSON.treeToValue(answer, type);
    }

    private static String path(User user) {
        return "/users/" + encode(user.appid()) + "/" + encode(user.openid());
    }

    private static String encode(String segment) {
        return URLEncoder.encode(segment, StandardCharsets.UTF_8).replace("+", "%20");
    }

    private static <T> T internal(String method, String path, Object body, Class<T> type)
            throws IOException, InterruptedException {
        var authorization = "Bearer " + System.getenv("INTERNAL_TOKEN");
        try {
            return send(method, System.getenv("WXLOGIN_INTERNAL") + path, authorization, body, type);
        } catch (Failure failure) {
            if (failure.status != 401) throw failure;
            // It is about INTERNAL_TOKEN, not about the user: a fault of this backend, so 500 to the Mini Program.
            throw new IllegalStateException(failure.getMessage());
        }
    }

    private static <T> T send(String method, String url, String authorization, Object body, Class<T> type)
            throws IOException, InterruptedException {
        var content = body == null
            ? HttpRequest.BodyPublishers.noBody()
            : HttpRequest.BodyPublishers.ofString(JSON.writeValueAsString(body));
        var request = HttpRequest.newBuilder(URI.create(url)).timeout(TIMEOUT).method(method, content)
            .header("Authorization", authorization).header("Content-Type", "application/json").build();
        var response = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
        if (response.statusCode() >= 300) throw new Failure(response.statusCode(), response.body());
        return response.body().isEmpty() ? null : JSON.readValue(response.body(), type);
    }
}
