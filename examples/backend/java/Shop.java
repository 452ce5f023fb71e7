import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;

/** A shop's backend: with Jackson in the class path, javac *.java and java Shop. */
final class Shop {
    /** By user; a real shop has a database. */
    private static final Map<Wxlogin.User, String> PHONES = new ConcurrentHashMap<>();
    private static final ObjectMapper JSON = new ObjectMapper();

    private record Checked(Result result) {}
    private record Result(String suggest) {}

    private static Object route(String route, Wxlogin.User user, byte[] body) throws Exception {
        var key = new Wxlogin.User(user.appid(), user.openid(), null);
        switch (route) {
            case "GET /me":
                var me = new HashMap<String, String>();
                me.put("openid", user.openid());
                me.put("phone", PHONES.get(key));
                return me;
            case "POST /phone":
                var number = Wxlogin.phoneNumber(user, JSON.readTree(body).path("code").asText());
                PHONES.put(key, number.phoneNumber());
                return number;
            case "POST /pay":
                // What wx.requestVirtualPayment wants, with paySig, for which the shop has a key of its own.
                var signData = JSON.writeValueAsString(Map.of(
                    "offerId", "1", "buyQuantity", 1, "env", 0, "currencyType", "CNY", "productId", "tea",
                    "goodsPrice", 990, "outTradeNo", String.valueOf(System.nanoTime())));
                return Map.of("signData", signData, "signature", Wxlogin.sign(user, signData));
            case "POST /message": // the one that the user has subscribed to, such as "your tea is on its way"
                var data = Map.of("thing1", Map.of("value", "tea"));
                var message = Map.of("touser", user.openid(), "template_id", "TEMPLATE", "data", data);
                try {
                    Wxlogin.wechat(user, "/cgi-bin/message/subscribe/send", message, Map.class);
                    return Map.of("sent", true);
                } catch (Wxlogin.Refusal refusal) {
                    if (refusal.errcode != 43101) throw refusal;
                    return Map.of("sent", false); // the user does not want it
                }
            case "POST /comment":
                var text = JSON.readTree(body).path("text").asText();
                var check = Map.of("version", 2, "scene", 2, "openid", user.openid(), "content", text);
                var checked = Wxlogin.wechat(user, "/wxa/msg_sec_check", check, Checked.class);
                return Map.of("published", checked.result().suggest().equals("pass"));
            case "DELETE /account":
                PHONES.remove(key);
                Wxlogin.endSessions(user);
                return Map.of();
            default:
                return null;
        }
    }

    private static void answer(HttpExchange exchange) throws IOException {
        int status = 200;
        String type = "application/json";
        String body;
        try {
            var user = Wxlogin.signedIn(exchange.getRequestHeaders().getFirst("Authorization"));
            var route = exchange.getRequestMethod() + " " + exchange.getRequestURI().getPath();
            var result = route(route, user, exchange.getRequestBody().readAllBytes());
            if (result == null) status = 404;
            body = JSON.writeValueAsString(result == null ? Map.of("detail", "There is no such route.") : result);
        } catch (Wxlogin.Failure failure) {
            status = failure.status;
            type = "application/problem+json";
            body = failure.body;
        } catch (Exception error) {
            error.printStackTrace();
            status = 500;
            body = "{\"detail\": \"The shop has a fault.\", \"action\": \"retry_later\"}";
        }
        var content = body.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", type);
        exchange.sendResponseHeaders(status, content.length);
        try (var out = exchange.getResponseBody()) {
            out.write(content);
        }
    }

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8080"));
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", Shop::answer);
        server.start();
    }
}
