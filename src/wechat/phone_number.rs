//! `getuserphonenumber`: exchanges a code of the phone number button for the user's phone number.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::{self, Number, Request};
use super::{AccessToken, Call, Client, Error, Invalid, MiniProgram};

/// The longest part of a number that is accepted, in bytes.
const MAX_LEN: usize = 64;

/// A user's phone number, from WeChat. `Debug` does not show it, and its memory is zeroized on drop.
#[derive(Debug, Clone)]
pub struct PhoneNumber {
    full: SecretString,
    pure: SecretString,
    country_code: SecretString,
}

#[derive(Deserialize)]
struct PhoneNumberAnswer {
    phone_info: Option<PhoneInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PhoneInfo {
    phone_number: Option<SecretString>,
    pure_phone_number: Option<SecretString>,
    /// Documented as a string, but a number in WeChat's sample.
    country_code: Option<Number>,
    watermark: Option<Map<String, Value>>,
}

impl Client {
    /// Exchanges a phone code for the phone number of the user `openid`. As with logins, a request is
    /// repeated only if it certainly was not sent, or if WeChat says that it is busy.
    ///
    /// Source: WeChat's documentation of `phonenumber.getPhoneNumber`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn phone_number(
        self: &Arc<Self>,
        mini_program: &Arc<MiniProgram>,
        openid: &str,
        phone_code: &str,
    ) -> Result<PhoneNumber, Error> {
        let json = json!({"code": phone_code, "openid": openid});
        let request = |token: &AccessToken| {
            let request = Request::post("/wxa/business/getuserphonenumber", &json);
            request.query("access_token", token.expose())
        };
        let parse = |body: &[u8]| PhoneNumber::from_json(body, mini_program.appid());
        self.with_token(Call::PhoneNumber, mini_program, request, parse)
            .await
    }
}

impl PhoneNumber {
    /// Parses the body of an answer with HTTP status 200 about a user of the Mini Program `appid`.
    ///
    /// # Errors
    /// [`Error::Refused`] if WeChat refused, [`Error::Invalid`] if this is not the documented JSON, or
    /// if the watermark names another Mini Program.
    #[doc(hidden)]
    pub fn from_json(body: &[u8], appid: &str) -> Result<Self, Error> {
        let answer: PhoneNumberAnswer = http::parse_answer(Call::PhoneNumber, body)?;
        let info = answer.phone_info.ok_or(Invalid::Field("phone_info"))?;
        let watermark = info.watermark.unwrap_or_default();
        if watermark.get("appid").and_then(Value::as_str) != Some(appid) {
            return Err(Invalid::Field("watermark").into());
        }
        let country_code = info.country_code.map(|code| match code {
            Number::Number(code) => code.to_string().into(),
            Number::Text(code) => code.into(),
        });
        Ok(Self {
            full: part("phoneNumber", info.phone_number)?,
            pure: part("purePhoneNumber", info.pure_phone_number)?,
            country_code: part("countryCode", country_code)?,
        })
    }

    /// The number, with the country code if it is a foreign one.
    #[must_use]
    pub fn phone_number(&self) -> &str {
        self.full.expose_secret()
    }

    /// The number without a country code.
    #[must_use]
    pub fn pure_phone_number(&self) -> &str {
        self.pure.expose_secret()
    }

    /// The country code, such as `86`.
    #[must_use]
    pub fn country_code(&self) -> &str {
        self.country_code.expose_secret()
    }
}

fn part(name: &'static str, text: Option<SecretString>) -> Result<SecretString, Invalid> {
    let fits = |text: &SecretString| {
        let text = text.expose_secret();
        (1..=MAX_LEN).contains(&text.len()) && !text.contains(char::is_control)
    };
    text.filter(fits).ok_or(Invalid::Field(name))
}
