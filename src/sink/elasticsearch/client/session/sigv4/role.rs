//! Keys that AWS hands out for a role of the pod's service account (EKS calls it IRSA): a token of the pod enters, keys for an
//! hour leave.
//!
//! The token service of the region is asked when there are no keys, and again five minutes before they end; while it does not
//! answer, keys that have not ended are used on. What is asked and how the answer reads knows the crate `reqsign-aws-core`.

use crate::sink::disk::{AwsKeys, WebIdentity};
use crate::sink::elasticsearch::client::session::innermost;
use bytes::Bytes;
use reqsign_aws_core::AssumeRoleWithWebIdentityCredentialProvider;
use reqsign_core::{Context, Error, HttpSend, ProvideCredential as _};
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;

/// So long before they end new keys are asked for.
const EARLY: Duration = Duration::from_secs(300);
/// So long an answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// So much is read of an answer: a few times what keys take.
const MAX_ANSWER: usize = 64 * 1024;
/// How AWS's own log calls who has the keys.
const SESSION: &str = "longshore";

/// A role, and the keys that it has now.
pub(super) struct Role {
    arn: String,
    provider: AssumeRoleWithWebIdentityCredentialProvider,
    context: Context,
    /// Who asks holds it, so that one asks for all.
    assumed: Mutex<Option<Assumed>>,
}

struct Assumed {
    keys: AwsKeys,
    until: SystemTime,
}

impl Role {
    pub(super) fn new(region: &str, identity: &WebIdentity, http: impl HttpSend) -> Role {
        Role {
            arn: identity.role_arn.clone(),
            provider: AssumeRoleWithWebIdentityCredentialProvider::new()
                .with_role_arn(&identity.role_arn)
                .with_subject_token(&identity.token)
                .with_role_session_name(SESSION.to_owned())
                .with_region(region.to_owned())
                .with_regional_sts_endpoint(),
            context: Context::new().with_http_send(http),
            assumed: Mutex::new(None),
        }
    }

    /// Keys that are good for a while.
    ///
    /// # Errors
    /// When there are none, with the cause and what to look at.
    pub(super) async fn keys(&self, now: SystemTime) -> Result<AwsKeys, String> {
        let mut assumed = self.assumed.lock().await;
        if let Some(assumed) = assumed.as_ref().filter(|assumed| now + EARLY < assumed.until) {
            return Ok(assumed.keys.clone());
        }
        match self.ask().await {
            Ok(new) => Ok(assumed.insert(new).keys.clone()),
            Err(cause) => match assumed.as_ref().filter(|assumed| now < assumed.until) {
                Some(assumed) => Ok(assumed.keys.clone()),
                None => Err(cause),
            },
        }
    }

    async fn ask(&self) -> Result<Assumed, String> {
        let given = self.provider.provide_credential(&self.context).await;
        let refused = |cause: &str| {
            let role = &self.arn;
            format!(
                "AWS gives no keys for the role {role}: {cause}; look at AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE in the \
                 environment of the agent, and at whom the role trusts"
            )
        };
        let given = given.map_err(|error| refused(&innermost(&error)))?;
        let given = given.ok_or_else(|| refused("there is no token"))?;
        let until = given.expires_in.map(|until| until.as_system_time());
        Ok(Assumed {
            until: until.ok_or_else(|| refused("its keys have no end"))?,
            keys: AwsKeys {
                access_key_id: given.access_key_id,
                secret_access_key: given.secret_access_key,
                session_token: given.session_token,
            },
        })
    }
}

/// AWS's token service, by way of the client that speaks to Elasticsearch: its authorities have to be those of the system.
#[derive(Debug)]
pub(super) struct Sts(pub(super) reqwest::Client);

impl HttpSend for Sts {
    async fn http_send(&self, request: http::Request<Bytes>) -> reqsign_core::Result<http::Response<Bytes>> {
        let failed = |error: reqwest::Error| Error::unexpected(innermost(&error));
        let mut request = reqwest::Request::try_from(request).map_err(failed)?;
        *request.timeout_mut() = Some(TIMEOUT);
        let mut response = self.0.execute(request).await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > MAX_ANSWER {
                return Err(Error::unexpected("the answer is too large for keys"));
            }
            body.extend_from_slice(&piece);
        }
        let answer = http::Response::builder().status(response.status());
        answer
            .body(Bytes::from(body))
            .map_err(|error| Error::unexpected(error.to_string()))
    }
}

#[cfg(test)]
mod tests;
