// Uses the client that openapi-generator makes of docs/openapi.yaml.

package main

import (
	"context"
	"errors"
	"log"
	"os"
	"reflect"

	"generated/wxlogin"
)

func client(url string) *wxlogin.APIClient {
	configuration := wxlogin.NewConfiguration()
	configuration.Servers = wxlogin.ServerConfigurations{{URL: url}}
	return wxlogin.NewAPIClient(configuration)
}

func bearer(token string) context.Context {
	return context.WithValue(context.Background(), wxlogin.ContextAccessToken, token)
}

// problem is what wxlogin says about a failure.
func problem(err error) wxlogin.Problem {
	var failure *wxlogin.GenericOpenAPIError
	if !errors.As(err, &failure) {
		log.Fatalf("not a problem: %v", err)
	}
	problem, ok := failure.Model().(wxlogin.Problem)
	if !ok {
		log.Fatalf("not a problem: %s", failure.Body())
	}
	return problem
}

func assert(what string, is, expected any) {
	if !reflect.DeepEqual(is, expected) {
		log.Fatalf("%s: %v, not %v", what, is, expected)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	nobody := context.Background()
	phone, backend := client(os.Getenv("WXLOGIN")).PublicAPI, client(os.Getenv("WXLOGIN_INTERNAL")).InternalAPI

	_, _, err := phone.LogIn(nobody).Code("error-40029").Execute()
	refused := problem(err)
	assert("code", refused.Code, wxlogin.INVALID_CODE)
	assert("action", refused.Action, wxlogin.LOGIN_AGAIN)
	assert("errcode", *refused.Errcode, int32(40029))
	assert("texts", refused.Detail != "" && refused.RequestId != "", true)

	login, _, err := phone.LogIn(nobody).Code("user-alice").Execute()
	check(err)
	user := bearer(login.Token)
	session, _, err := phone.ShowSession(user).Execute()
	check(err)
	assert("unionid", session.Unionid, login.Unionid)
	appid, openid := session.Appid, session.Openid

	internal := bearer(os.Getenv("INTERNAL_TOKEN"))
	code := wxlogin.NewPhoneCode("phone-alice")
	number, _, err := backend.GetPhoneNumber(internal, appid, openid).PhoneCode(*code).Execute()
	check(err)
	assert("digits", len(number.PurePhoneNumber), 11)
	code.Code = "error-40029"
	_, _, err = backend.GetPhoneNumber(internal, appid, openid).PhoneCode(*code).Execute()
	assert("spent", problem(err).Code, wxlogin.INVALID_PHONE_CODE)
	signed, _, err := backend.Sign(internal, appid, openid).DataToSign(*wxlogin.NewDataToSign("{}")).Execute()
	check(err)
	assert("hex", len(signed.Signature), 64)
	key, _, err := backend.CheckSessionKey(internal, appid, openid).Execute()
	check(err)
	assert("valid", key.Valid, true)
	kept, _, err := backend.GetSessions(internal, appid, openid).Execute()
	check(err)
	assert("sessions", len(kept.Sessions), 1)
	assert("life", kept.Sessions[0].ExpiresAt-kept.Sessions[0].CreatedAt, login.ExpiresIn)

	_, _, err = backend.GetAccessToken(bearer("another"), appid).Execute()
	assert("foreign", problem(err).Code, wxlogin.INVALID_INTERNAL_TOKEN)
	ended, err := backend.EndSessions(internal, appid, openid).Execute()
	check(err)
	assert("ended", ended.StatusCode, 204)
	_, _, err = phone.ShowSession(user).Execute()
	assert("gone", problem(err).Code, wxlogin.INVALID_TOKEN)
}
