//! `getuserphonenumber`: exchanges a code of the phone number button for the user's phone number.

use std::fmt;
use std::sync::Arc;

use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde_json::json;

use super::answer::{self, Number};
use super::http::Request;
use super::{AccessToken, Call, Client, Error, Invalid, MiniProgram};

/// The longest part of a number that is accepted, in bytes.
const MAX_LEN: usize = 64;

/// A user's phone number, from WeChat. `Debug` does not show it, and its memory is zeroized on drop.
#[derive(Clone)]
pub struct PhoneNumber {
    full: Zeroizing<String>,
    pure: Zeroizing<String>,
    country_code: Zeroizing<String>,
}

#[derive(Deserialize)]
struct PhoneNumberAnswer {
    phone_info: Option<PhoneInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PhoneInfo {
    phone_number: Option<String>,
    pure_phone_number: Option<String>,
    /// Documented as a string, but a number in WeChat's sample.
    country_code: Option<Number>,
    watermark: Option<Watermark>,
}

#[derive(Deserialize)]
struct Watermark {
    appid: Option<String>,
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
    pub fn from_json(body: &[u8], appid: &str) -> Result<Self, Error> {
        let answer: PhoneNumberAnswer = answer::parse(Call::PhoneNumber, body)?;
        let info = answer.phone_info.ok_or(Invalid::Field("phone_info"))?;
        let country_code = info.country_code.map(|code| match code {
            Number::Number(code) => code.to_string(),
            Number::Text(code) => code,
        });
        // Zeroized also if one of them is not valid.
        let [full, pure, country_code] = [info.phone_number, info.pure_phone_number, country_code]
            .map(|text| Zeroizing::new(text.unwrap_or_default()));
        let watermark = info.watermark.and_then(|watermark| watermark.appid);
        if watermark.as_deref() != Some(appid) {
            return Err(Invalid::Field("watermark").into());
        }
        for (name, text) in [
            ("phoneNumber", &full),
            ("purePhoneNumber", &pure),
            ("countryCode", &country_code),
        ] {
            if !(1..=MAX_LEN).contains(&text.len()) || text.contains(char::is_control) {
                return Err(Invalid::Field(name).into());
            }
        }
        Ok(Self {
            full,
            pure,
            country_code,
        })
    }

    /// The number, with the country code if it is a foreign one.
    #[must_use]
    pub fn phone_number(&self) -> &str {
        &self.full
    }

    /// The number without a country code.
    #[must_use]
    pub fn pure_phone_number(&self) -> &str {
        &self.pure
    }

    /// The country code, such as `86`.
    #[must_use]
    pub fn country_code(&self) -> &str {
        &self.country_code
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoneNumber").finish_non_exhaustive()
    }
}
