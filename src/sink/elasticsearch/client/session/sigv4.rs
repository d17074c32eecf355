//! Requests signed as AWS wants them (Signature Version 4), for its OpenSearch and Elasticsearch services.
//!
//! What is signed: method, path, query, host, type and coding of the body, the SHA-256 of the body as it goes over the wire
//! (compressed), which stands in a header of its own because OpenSearch Serverless asks for it, and the time. So each attempt
//! has a new signature; AWS takes it for five minutes, and a node whose clock is wrong is refused with 403. How it is done
//! knows the crate `aws-sigv4`, which the SDK of AWS itself uses.
//!
//! Keys are ours, or handed out by AWS for a role of the pod's service account ([`role`]). Not done here: roles of machines.

mod role;

use crate::config::{Aws, AwsService};
use crate::sink::disk::{AwsKeys, AwsSecret};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, RequestBuilder};
use role::{Role, Sts};
use std::error::Error;
use std::time::SystemTime;

/// What of the headers is signed, beside those that the signature brings along and the host: others may be changed on the way.
const SIGNED_HEADERS: [reqwest::header::HeaderName; 2] = [CONTENT_TYPE, CONTENT_ENCODING];

/// Who signs, and for whom.
pub(super) struct Signer {
    region: String,
    service: AwsService,
    keys: Keys,
}

/// Where keys come from.
enum Keys {
    Ours(AwsKeys),
    OfRole(Box<Role>),
}

impl Signer {
    /// `http`: who asks for the keys of a role.
    pub(super) fn new(aws: &Aws, secret: &AwsSecret, http: &reqwest::Client) -> Signer {
        let region = aws.region.clone().unwrap_or_default();
        Signer {
            keys: match secret {
                AwsSecret::Keys(keys) => Keys::Ours(keys.clone()),
                AwsSecret::Role(identity) => {
                    Keys::OfRole(Box::new(Role::new(&region, identity, Sts(http.clone()))))
                }
            },
            region,
            service: aws.service,
        }
    }

    /// The request with its signature.
    ///
    /// # Errors
    /// When it is no whole request yet, or AWS gives no keys.
    pub(super) async fn sign(
        &self,
        request: RequestBuilder,
        now: SystemTime,
    ) -> Result<RequestBuilder, String> {
        let keys = match &self.keys {
            Keys::Ours(keys) => keys.clone(),
            Keys::OfRole(role) => role.keys(now).await?,
        };
        let (client, request) = request.build_split();
        let mut request = request.map_err(|error| error.to_string())?;
        let mut headers = Vec::with_capacity(SIGNED_HEADERS.len());
        for name in &SIGNED_HEADERS {
            if let Some(value) = request.headers().get(name) {
                headers.push((name.as_str(), value.to_str().map_err(|error| error.to_string())?));
            }
        }
        let signature = signature(
            &keys,
            (&self.region, self.service.name()),
            settings(),
            (request.method().as_str(), request.url().as_str()),
            &headers,
            request.body().and_then(Body::as_bytes).unwrap_or_default(),
            now,
        );
        for (name, value) in signature.map_err(|error| error.to_string())? {
            let mut value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
        Ok(RequestBuilder::from_parts(client, request))
    }
}

fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings
}

/// The headers that a request gets: the signature, and what is signed beside it.
fn signature(
    keys: &AwsKeys,
    (region, service): (&str, &str),
    settings: SigningSettings,
    (method, url): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
    now: SystemTime,
) -> Result<Vec<(&'static str, String)>, Box<dyn Error>> {
    let AwsKeys {
        access_key_id: id,
        secret_access_key: secret,
        session_token: token,
    } = keys;
    let identity = Credentials::new(id, secret, token.clone(), None, "longshore").into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(settings)
        .build()?;
    let request = SignableRequest::new(method, url, headers.iter().copied(), SignableBody::Bytes(body))?;
    let (instructions, _signature) = sign(request, &params.into())?.into_parts();
    let (headers, _query) = instructions.into_parts();
    let headers = headers.iter();
    Ok(headers
        .map(|header| (header.name(), header.value().to_owned()))
        .collect())
}

#[cfg(test)]
mod tests;
