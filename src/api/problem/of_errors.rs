//! The problem of each error of a use case.

use super::Problem;
use crate::backend::BackendError;
use crate::login::LoginError;
use crate::one_time_codes::CodeError;
use crate::session::Unavailable;
use crate::user_data::UserDataError;

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Code(error) => error.into(),
            LoginError::UnknownApp => Self::UnknownApp,
            LoginError::CodeUsed => Self::CodeUsed,
            LoginError::Wechat(error) => Self::Wechat(error),
            LoginError::PhoneCode(error) => Self::PhoneCodeAtLogin(error),
            LoginError::Store(error) => Self::LoginStore(error),
            LoginError::Internal(cause) => Self::Internal(cause),
        }
    }
}

impl From<BackendError> for Problem {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::UnknownApp => Self::UnknownAppInPath,
            BackendError::MalformedOpenid => Self::MalformedOpenid,
            BackendError::Code(CodeError::Mock) => Self::MockCode,
            BackendError::Code(_) => Self::MalformedCode,
            BackendError::AnotherUsersCode => Self::AnotherUsersCode,
            BackendError::NoSessionKey => Self::NoSessionKey,
            BackendError::PhoneCode(error) => Self::PhoneCode(error),
            BackendError::Wechat(error) => Self::WechatCall(error),
            BackendError::Store(error) => Self::Store(error),
            BackendError::Internal(cause) => Self::Internal(cause),
        }
    }
}

impl From<CodeError> for Problem {
    fn from(error: CodeError) -> Self {
        match error {
            CodeError::Missing => Self::MissingCode,
            CodeError::Malformed => Self::MalformedCode,
            CodeError::Mock => Self::MockCode,
        }
    }
}

impl From<UserDataError> for Problem {
    fn from(error: UserDataError) -> Self {
        match error {
            UserDataError::Undecryptable => Self::Undecryptable,
            UserDataError::BadSignature => Self::BadSignature,
            UserDataError::Store(error) => Self::Store(error),
        }
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::Store(error)
    }
}
