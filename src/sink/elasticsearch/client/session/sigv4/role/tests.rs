use super::*;
use std::sync::{Arc, Mutex as Lock};

const ARN: &str = "arn:aws:iam::123456789012:role/longshore";
const TOKEN: &str = "eyJ.a-token.of-the-pod";
/// 2026-03-04T10:00:00Z.
const TEN: u64 = 1_772_618_400;

/// A token service as a script: what it answers next, and what it was asked.
#[derive(Debug, Clone, Default)]
struct Script(Arc<Lock<Said>>);

#[derive(Debug, Default)]
struct Said {
    answers: Vec<(u16, String)>,
    asked: Vec<http::Request<Bytes>>,
}

impl Script {
    fn answer(&self, status: u16, body: &str) {
        self.0.lock().unwrap().answers.push((status, body.to_owned()));
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }
}

impl HttpSend for Script {
    async fn http_send(&self, request: http::Request<Bytes>) -> reqsign_core::Result<http::Response<Bytes>> {
        let mut script = self.0.lock().unwrap();
        script.asked.push(request);
        let (status, body) = script
            .answers
            .pop()
            .ok_or_else(|| Error::unexpected("nobody answers"))?;
        let answer = http::Response::builder().status(status);
        Ok(answer.body(Bytes::from(body)).unwrap())
    }
}

/// An answer as AWS documents it.
fn keys(id: &str, until: &str) -> String {
    format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">
           <AssumeRoleWithWebIdentityResult>
             <SubjectFromWebIdentityToken>system:serviceaccount:longshore:longshore</SubjectFromWebIdentityToken>
             <Credentials>
               <SessionToken>a session</SessionToken>
               <SecretAccessKey>a secret</SecretAccessKey>
               <Expiration>{until}</Expiration>
               <AccessKeyId>{id}</AccessKeyId>
             </Credentials>
           </AssumeRoleWithWebIdentityResult>
         </AssumeRoleWithWebIdentityResponse>"
    )
}

fn role(script: &Script) -> Role {
    let identity = WebIdentity {
        role_arn: ARN.to_owned(),
        token: TOKEN.to_owned(),
    };
    Role::new("eu-central-1", &identity, script.clone())
}

/// What there is so many minutes after ten.
fn keys_at(role: &Role, minutes: u64) -> Result<AwsKeys, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(TEN + minutes * 60);
    runtime.block_on(role.keys(now))
}

/// Red when keys are asked for at each request, too late, or thrown away before they end.
#[test]
fn keys_are_asked_for_once_and_again_shortly_before_they_end() {
    let script = Script::default();
    let role = role(&script);
    script.answer(200, &keys("FIRST", "2026-03-04T11:00:00Z"));
    for minutes in [0, 30, 54] {
        assert_eq!(keys_at(&role, minutes).unwrap().access_key_id, "FIRST");
    }
    assert_eq!(script.asked(), 1);
    // Nobody answers: what there is will do until it ends.
    assert_eq!(keys_at(&role, 56).unwrap().access_key_id, "FIRST");
    let error = keys_at(&role, 60).unwrap_err();
    assert!(
        error.contains(ARN) && error.contains("AWS_WEB_IDENTITY_TOKEN_FILE"),
        "{error}"
    );
    script.answer(200, &keys("SECOND", "2026-03-04T12:00:00Z"));
    let keys = keys_at(&role, 60).unwrap();
    assert_eq!(
        (
            keys.access_key_id.as_str(),
            keys.secret_access_key.as_str(),
            keys.session_token.as_deref()
        ),
        ("SECOND", "a secret", Some("a session"))
    );
    assert_eq!(script.asked(), 4);
    let script = script.0.lock().unwrap();
    let request = &script.asked[0];
    assert_eq!(request.uri(), "https://sts.eu-central-1.amazonaws.com/");
    let body = String::from_utf8(request.body().to_vec()).unwrap();
    for part in [
        "Action=AssumeRoleWithWebIdentity",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Flongshore",
        "WebIdentityToken=eyJ.a-token.of-the-pod",
        "RoleSessionName=longshore",
    ] {
        assert!(
            body.split('&').any(|pair| pair == part),
            "{part} is not in {body}"
        );
    }
}

#[test]
fn a_refusal_says_why_and_shows_no_token() {
    let script = Script::default();
    script.answer(
        403,
        &format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>
             <Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity {TOKEN}</Message></Error>
             <RequestId>1</RequestId></ErrorResponse>"
        ),
    );
    let error = keys_at(&role(&script), 0).unwrap_err();
    assert!(
        error.contains("AccessDenied") || error.contains("Not authorized"),
        "{error}"
    );
    assert!(
        error.contains("whom the role trusts") && !error.contains(TOKEN),
        "{error}"
    );
}
