//! A problem of each kind. A variant that is new in `Problem` is added here.

use std::collections::{BTreeMap, BTreeSet};

use wxlogin::wechat::{Call, Error, Invalid, Meaning, Refusal};
use wxlogin::{Problem, Purpose, Unavailable};

/// Statuses and actions by `code`.
pub type Failures = BTreeMap<String, (BTreeSet<u16>, BTreeSet<String>)>;

/// The table of failures: with the actions at the public listener, and with those at both.
pub fn failures() -> [Failures; 2] {
    let mut all = Failures::new();
    for problem in public().into_iter().chain(plain_internal()) {
        add(&mut all, &problem);
    }
    let public = all.clone();
    for problem in internal() {
        add(&mut all, &problem);
    }
    // A code of the internal listener alone is in the table too.
    let mut tables = [public, all.clone()];
    for (code, failure) in all {
        tables[0].entry(code).or_insert(failure);
    }
    tables
}

fn add(failures: &mut Failures, problem: &Problem) {
    let action = serde_json::to_value(problem.action()).unwrap();
    let row = failures.entry(problem.code().to_owned()).or_default();
    row.0.insert(problem.status().as_u16());
    row.1.insert(action.as_str().unwrap().to_owned());
}

fn public() -> Vec<Problem> {
    let plain = [
        Problem::MissingCode,
        Problem::MalformedCode,
        Problem::MockCode,
        Problem::UnknownApp,
        Problem::MalformedQuery(""),
        Problem::MalformedBody(String::new()),
        Problem::InvalidToken,
        Problem::Undecryptable(""),
        Problem::BadSignature,
        Problem::NotFound(String::new()),
        Problem::MethodNotAllowed,
        Problem::BodyTooLarge,
        Problem::CodeUsed,
        of(Purpose::LoginWithPhoneCode)(refused(Call::CodeToSession, 40029)),
        Problem::LoginStore(Unavailable(String::new())),
        Problem::Store(Unavailable(String::new())),
        Problem::Internal(""),
    ];
    let logins = errors(Call::CodeToSession).map(of(Purpose::Login));
    plain.into_iter().chain(logins).collect()
}

fn plain_internal() -> [Problem; 7] {
    [
        Problem::UnknownAppInPath,
        Problem::MalformedOpenid,
        Problem::InvalidInternalToken,
        Problem::NoSessionKey,
        Problem::RouteOff(""),
        Problem::PathNotAllowed,
        Problem::AnotherUsersCode,
    ]
}

fn internal() -> Vec<Problem> {
    let no_token = || errors(Call::StableToken).map(|it| Error::NoAccessToken(Box::new(it)));
    let phone = errors(Call::PhoneNumber).chain(no_token());
    let checks = errors(Call::CheckSession).chain(no_token());
    let calls = checks.chain(errors(Call::StableToken));
    // A refusal of a call that is passed through is no problem of ours.
    let passed = unanswered().into_iter().chain(no_token());
    phone
        .map(of(Purpose::PhoneCode))
        .chain(calls.map(of(Purpose::Call)))
        .chain(passed.map(of(Purpose::PassedCall)))
        .collect()
}

fn of(purpose: Purpose) -> impl Fn(Error) -> Problem {
    move |error| Problem::Wechat(error, purpose)
}

/// An error of each kind, and of each errcode that has a meaning for the call; 99,999 has none.
fn errors(call: Call) -> impl Iterator<Item = Error> {
    let has_meaning = move |errcode: &i64| Meaning::of(call, *errcode) != Meaning::Unknown;
    let errcodes = (-1000..99_999).filter(has_meaning).chain([99_999]);
    let refused = errcodes.map(move |errcode| refused(call, errcode));
    unanswered().into_iter().chain(refused)
}

fn unanswered() -> [Error; 6] {
    [
        Error::Overloaded,
        Error::QuotaPause,
        Error::Unreachable(String::new()),
        Error::Broken(String::new()),
        Error::Timeout,
        Error::Invalid(Invalid::NotJson),
    ]
}

fn refused(call: Call, errcode: i64) -> Error {
    Error::Refused(Refusal {
        call,
        errcode,
        rid: None,
        ip: None,
    })
}
