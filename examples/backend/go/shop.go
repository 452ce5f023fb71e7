// A shop's backend: go run .

package main

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

var phones sync.Map // by user; a real shop has a database

var routes = map[string]func(user User, body []byte) (any, error){
	"GET /me": func(user User, _ []byte) (any, error) {
		phone, _ := phones.Load(user.AppID + " " + user.OpenID)
		return map[string]any{"openid": user.OpenID, "phone": phone}, nil
	},
	"POST /phone": func(user User, body []byte) (any, error) {
		var given struct{ Code string }
		if err := json.Unmarshal(body, &given); err != nil {
			return nil, err
		}
		number, err := PhoneNumber(user, given.Code)
		if err != nil {
			return nil, err
		}
		phones.Store(user.AppID+" "+user.OpenID, number.PhoneNumber)
		return number, nil
	},
	// What wx.requestVirtualPayment wants, with paySig, for which the shop has a key of its own.
	"POST /pay": func(user User, _ []byte) (any, error) {
		signData, err := json.Marshal(map[string]any{
			"productId": "tea", "goodsPrice": 990, "buyQuantity": 1, "currencyType": "CNY",
			"offerId": "1", "env": 0, "outTradeNo": strconv.FormatInt(time.Now().UnixNano(), 10),
		})
		if err != nil {
			return nil, err
		}
		signature, err := Sign(user, string(signData))
		return map[string]string{"signData": string(signData), "signature": signature}, err
	},
	// The message that the user has subscribed to, such as "your tea is on its way".
	"POST /message": func(user User, _ []byte) (any, error) {
		var sent struct{}
		err := Wechat(user, "/cgi-bin/message/subscribe/send", map[string]any{
			"touser": user.OpenID, "template_id": "TEMPLATE",
			"data": map[string]any{"thing1": map[string]string{"value": "tea"}},
		}, &sent)
		var refusal *WechatError
		if errors.As(err, &refusal) && refusal.Errcode == 43101 { // the user does not want it
			return map[string]bool{"sent": false}, nil
		}
		return map[string]bool{"sent": true}, err
	},
	"POST /comment": func(user User, body []byte) (any, error) {
		var given struct{ Text string }
		if err := json.Unmarshal(body, &given); err != nil {
			return nil, err
		}
		var checked struct{ Result struct{ Suggest string } }
		check := map[string]any{"version": 2, "scene": 2, "openid": user.OpenID, "content": given.Text}
		err := Wechat(user, "/wxa/msg_sec_check", check, &checked)
		return map[string]bool{"published": checked.Result.Suggest == "pass"}, err
	},
	"DELETE /account": func(user User, _ []byte) (any, error) {
		phones.Delete(user.AppID + " " + user.OpenID)
		return struct{}{}, EndSessions(user)
	},
}

func answer(request *http.Request) (int, any, error) {
	user, err := SignedIn(request.Header.Get("Authorization"))
	if err != nil {
		return 0, nil, err
	}
	route, ok := routes[request.Method+" "+request.URL.Path]
	if !ok {
		return 404, map[string]string{"detail": "There is no such route."}, nil
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return 0, nil, err
	}
	result, err := route(user, body)
	return 200, result, err
}

func shop(response http.ResponseWriter, request *http.Request) {
	status, result, err := answer(request)
	kind := "application/json"
	body, _ := json.Marshal(result)
	var problem *WxloginError
	if errors.As(err, &problem) {
		status, kind, body = problem.Status, "application/problem+json", problem.Body
	} else if err != nil {
		log.Print(err)
		status, body = 500, []byte(`{"detail": "The shop has a fault.", "action": "retry_later"}`)
	}
	response.Header().Set("Content-Type", kind)
	response.WriteHeader(status)
	response.Write(body)
}

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, http.HandlerFunc(shop)))
}
