// What a backend asks wxlogin.

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// More than WECHAT_TIMEOUT and WECHAT_CALL_TIMEOUT of wxlogin.
var client = &http.Client{Timeout: 20 * time.Second}

// WxloginError is a failure for the Mini Program: answer it with this status and body, whose action says what it does.
type WxloginError struct {
	Status int
	Body   []byte
}

func (e *WxloginError) Error() string { return fmt.Sprintf("wxlogin: %d %s", e.Status, e.Body) }

// WechatError says that WeChat has refused a call.
type WechatError struct {
	Path    string
	Errcode int
}

func (e *WechatError) Error() string { return fmt.Sprintf("WeChat: %s %d", e.Path, e.Errcode) }

type User struct{ AppID, OpenID, UnionID string }

type Number struct {
	PhoneNumber     string `json:"phoneNumber"`
	PurePhoneNumber string `json:"purePhoneNumber"`
	CountryCode     string `json:"countryCode"`
}

// SignedIn says whose request this is, by its Authorization header. Not behind a reverse proxy that has asked
// already. Do not cache it: a lookup is cheap, and a session that was ended must be refused at once.
func SignedIn(authorization string) (user User, err error) {
	err = send("GET", os.Getenv("WXLOGIN")+"/session", authorization, nil, &user)
	return
}

func PhoneNumber(user User, code string) (number Number, err error) {
	err = internal("POST", userPath(user)+"/phone", map[string]string{"code": code}, &number)
	return
}

func Sign(user User, data string) (string, error) {
	var answer struct{ Signature string }
	err := internal("POST", userPath(user)+"/sign", map[string]string{"data": data}, &answer)
	return answer.Signature, err
}

func EndSessions(user User) error { return internal("DELETE", userPath(user)+"/sessions", nil, nil) }

// Wechat is a call of WeChat's server API that answers with JSON, by a path in INTERNAL_WECHAT_PATHS.
func Wechat(user User, path string, body, answer any) error {
	var text json.RawMessage
	var refusal struct{ Errcode int }
	if err := internal("POST", "/wechat/"+user.AppID+path, body, &text); err != nil {
		return err
	}
	if err := json.Unmarshal(text, &refusal); err != nil {
		return err
	}
	if refusal.Errcode != 0 {
		return &WechatError{path, refusal.Errcode}
	}
	return json.Unmarshal(text, answer)
}

func userPath(user User) string {
	return "/users/" + url.PathEscape(user.AppID) + "/" + url.PathEscape(user.OpenID)
}

func internal(method, path string, body, answer any) error {
	err := send(method, os.Getenv("WXLOGIN_INTERNAL")+path, "Bearer "+os.Getenv("INTERNAL_TOKEN"), body, answer)
	if e, ok := err.(*WxloginError); ok && e.Status == 401 {
		return fmt.Errorf("%s", e) // about INTERNAL_TOKEN, not about the user: a fault of this backend, so 500
	}
	return err
}

func send(method, url, authorization string, body, answer any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if body == nil {
		content = nil
	}
	request, err := http.NewRequest(method, url, bytes.NewReader(content))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", authorization)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return &WxloginError{response.StatusCode, text}
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}
