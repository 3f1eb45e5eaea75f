//! Signatures: the published vectors, every form that real clients use, and what must not pass.

use bytes::Bytes;

use super::*;
use crate::access::{self, Access};

const KEY: &str = "example-secret-key";

fn access() -> Access {
    let (vendor_id, vendor_key) = (
        ["AKIDPcYDclDJCn8D", "0Xypa4f3pKYUCVYLn3zT"].concat(),
        ["pPgfLipfEXZ7VcRz", "hAMIyPaU7UbQyFFx"].concat(),
    );
    access::with_keys([(&vendor_id, &vendor_key), ("AKIDexample", KEY)])
}

/// Checks a request with form-encoded parameters against the known keys.
fn verdict(access: &Access, method: &str, host: &str, path: &str, form: &str) -> Result<(), Error> {
    let (query, body) = if method == "GET" { (form, "") } else { ("", form) };
    let body = Bytes::copy_from_slice(body.as_bytes());
    let parameters = Parameters::parse(query, &body).unwrap();
    verify(access.keys().unwrap(), &Head { method, host, path }, &parameters)
}

fn check(method: &str, host: &str, form: &str, signature: &str) {
    let signed = format!("{form}&Signature={}", signature.replace('+', "%2B"));
    assert_eq!(verdict(&access(), method, host, PATH, &signed), Ok(()), "{signed}");
    let altered = signed.replacen("Action=", "Action=X", 1);
    assert_eq!(
        verdict(&access(), method, host, PATH, &altered),
        Err(Error::AUTHENTICATION_FAILED),
        "{altered}"
    );
}

/// What a client sends that signs `text` itself, whatever it should have signed.
fn sign<M: Mac>(mac: M, text: &str) -> String {
    let mac = mac.chain_update(text);
    STANDARD.encode(mac.finalize().into_bytes()).replace('+', "%2B")
}

fn secret(access: &Access) -> &Secret {
    match access.keys().unwrap().secret("AKIDexample") {
        Found::Known(secret) => secret,
        Found::Decoy(_) => panic!("the id is known"),
    }
}

#[test]
fn published_vectors() {
    let id = ["AKIDPcYDclDJCn8D", "0Xypa4f3pKYUCVYLn3zT"].concat();
    check(
        "POST",
        "cmq-queue-gz.api.tencentyun.com",
        &format!(
            "msgBody=msg&queueName=test1&delaySeconds=0&Action=SendMessage&Nonce=2889712707386595659\
             &RequestClient=SDK_Python_1.3&SecretId={id}&SignatureMethod=HmacSHA1&Timestamp=1534154812\
             &clientRequestId=1231231231"
        ),
        "C16WEtEXsD5v5tnaUMLAbZewXhI=",
    );
    let common = "Nonce=12345&SecretId=AKIDexample&Timestamp=1700000000&queueName=orders";
    let send = format!("Action=SendMessage&{common}&msgBody=hello+world+%26+a%3Db%2Bc+%E4%BD%A0%E5%A5%BD");
    check(
        "POST",
        "mq.example:8080",
        &format!("{send}&SignatureMethod=HmacSHA1"),
        "XCgZzXsNoGpwjbztiAtCd9mAMDk=",
    );
    check(
        "POST",
        "mq.example:8080",
        &format!("{send}&SignatureMethod=HmacSHA256"),
        "CG632TceejRpNKFNS4LCTfSNLweHEzkqNogLJVy01Cs=",
    );
    check(
        "GET",
        "mq.example",
        &format!("Action=ReceiveMessage&{common}&pollingWaitSeconds=10"),
        "pankXUC3Vl0xqZxv8J9w/GJF7dw=",
    );
    let bodies: String = (1..=10).map(|number| format!("&msgBody.{number}=m{number}")).collect();
    check(
        "POST",
        "mq.example",
        &format!("Action=BatchSendMessage&{common}&SignatureMethod=HmacSHA256{bodies}"),
        "pdxejTYqfhNL6E5J4EoTlE5e7VaGexrZ0uvsma6sBeE=",
    );
    let home = format!("Action=SendMessage&{common}&SignatureMethod=HmacSHA256&msgBody=%40home");
    check("POST", "mq.example", &home, "uj35Q9OgJhuXmv22GvVjRrBVhJUxQFCDC3Cx0Dynfac=");
    check("POST", "mq.example", &home, "gHZjQCuz9BNTtO37GCfDTTg1qTRPdfbAzeVAhrDUHzg=");
}

const FORM: &str = "Action=ListQueue&Nonce=1&SecretId=AKIDexample&Timestamp=1700000000";

#[test]
fn hosts_and_paths_as_clients_sign_them() {
    let access = access();
    for (host, path, signed, passes) in [
        ("mq.example:9324", PATH, "mq.example:9324/v2/index.php", true),
        ("mq.example:9324", PATH, "mq.example/v2/index.php", true),
        ("mq.example:9324", PATH, "http://mq.example:9324/v2/index.php", true),
        ("mq.example", PATH, "http://mq.example/v2/index.php", true),
        ("mq.example", PATH, "mq.example:80/v2/index.php", true),
        ("mq.example", PATH, "mq.example:443/v2/index.php", true),
        ("[::1]:9324", PATH, "[::1]/v2/index.php", true),
        ("[::1]", PATH, "[::1]/v2/index.php", true),
        ("mq.example", "/", "mq.example/", true),
        ("mq.example", "/v2/index.php/v2/index.php", "mq.example/v2/index.php", true),
        ("mq.example", "/v2/index.php/v2/index.php", "mq.example/v2/index.php/v2/index.php", true),
        ("mq.example", "/", "mq.example/v2/index.php", false),
        ("mq.example:9324", PATH, "mq.example:80/v2/index.php", false),
        ("mq.example:9324", PATH, "other.example:9324/v2/index.php", false),
        ("mq.example", PATH, "mq.example/v2/index.php/", false),
    ] {
        let signature = sign(secret(&access).hmac_sha1(), &format!("GET{signed}?{FORM}"));
        let verdict = verdict(&access, "GET", host, path, &format!("{FORM}&Signature={signature}"));
        assert_eq!(verdict.is_ok(), passes, "{host} {path} signed as {signed}: {verdict:?}");
    }
}

#[test]
fn hashes_as_clients_choose_them() {
    let access = access();
    let secret = secret(&access);
    for (method, sha256, passes) in [
        ("", false, true),
        ("", true, true),
        ("HmacSHA1", false, true),
        ("HmacSHA1", true, true),
        ("HmacMD5", false, true),
        ("HmacSHA256", true, true),
        ("HmacSHA256", false, false),
    ] {
        let form =
            format!("Action=ListQueue&Nonce=1&SecretId=AKIDexample&SignatureMethod={method}&Timestamp=17");
        let text = format!("POSTmq.example/v2/index.php?{form}");
        let signature =
            if sha256 { sign(secret.hmac_sha256(), &text) } else { sign(secret.hmac_sha1(), &text) };
        let verdict = verdict(&access, "POST", "mq.example", PATH, &format!("{form}&Signature={signature}"));
        assert_eq!(verdict.is_ok(), passes, "{method} with SHA-256: {sha256}");
    }
}

#[test]
fn names_are_signed_raw_with_dots_for_underscores() {
    let access = access();
    let text = "POSTmq.example/v2/index.php?Action=ListQueue&Nonce=1&SecretId=AKIDexample&Timestamp=17&a.b=c_d&limit =5";
    let signature = sign(secret(&access).hmac_sha1(), text);
    let form = format!(
        "limit+=5&a_b=c_d&Action=ListQueue&Nonce=1&SecretId=AKIDexample&Timestamp=17&Signature={signature}"
    );
    assert_eq!(verdict(&access, "POST", "mq.example", PATH, &form), Ok(()));
}

#[test]
fn values_with_at_may_be_left_out_only_on_post_and_only_when_allowed() {
    let lenient = access();
    let strict = access().cover_every_value();
    for (method, access, passes) in
        [("POST", &lenient, true), ("GET", &lenient, false), ("POST", &strict, false)]
    {
        let text = format!("{method}mq.example/v2/index.php?{FORM}");
        let signature = sign(secret(access).hmac_sha1(), &text);
        let form = format!("{FORM}&msgBody=%40home&Signature={signature}");
        let verdict = verdict(access, method, "mq.example", PATH, &form);
        assert_eq!(verdict.is_ok(), passes, "{method}: {verdict:?}");
    }
    let text = format!("POSTmq.example/v2/index.php?{FORM}&msgBody=@home");
    let signature = sign(secret(&strict).hmac_sha1(), &text);
    let form = format!("{FORM}&msgBody=%40home&Signature={signature}");
    assert_eq!(verdict(&strict, "POST", "mq.example", PATH, &form), Ok(()));
}

#[test]
fn says_what_is_wrong() {
    let good = "C16WEtEXsD5v5tnaUMLAbZewXhI=";
    for (form, error) in [
        (FORM.to_owned(), Error::lacking("Signature")),
        (format!("Action=ListQueue&Signature={good}"), Error::lacking("SecretId")),
        (format!("{FORM}&Signature={good}"), Error::AUTHENTICATION_FAILED),
        (format!("{FORM}&Signature=nonsense"), Error::AUTHENTICATION_FAILED),
        (format!("{FORM}&Signature={}", "A".repeat(4000)), Error::AUTHENTICATION_FAILED),
        (format!("{FORM}&Signature={good}").replace("AKIDexample", "AKIDother"), Error::SECRET_ID_UNKNOWN),
        (format!("{FORM}&Signature={good}").replace("AKIDexample", "example"), Error::SECRET_ID_FORM),
        (format!("{FORM}&Signature={good}").replace("Nonce=1&", ""), Error::lacking("Nonce")),
        (
            format!("{FORM}&Signature={good}").replace("&Timestamp=1700000000", ""),
            Error::lacking("Timestamp"),
        ),
        (format!("{FORM}&Signature={good}&SecretId=AKIDexample"), Error::repeated("SecretId")),
    ] {
        assert_eq!(verdict(&access(), "POST", "mq.example", PATH, &form), Err(error), "{form}");
    }
}

/// The decoy's key is no secret: a signature made with it must not open the door.
#[test]
fn nobody_signs_with_the_decoy() {
    let access = access();
    let Found::Decoy(decoy) = access.keys().unwrap().secret("AKIDother") else { panic!("the id is unknown") };
    let form = FORM.replace("AKIDexample", "AKIDother");
    let signature = sign(decoy.hmac_sha1(), &format!("POSTmq.example/v2/index.php?{form}"));
    let verdict = verdict(&access, "POST", "mq.example", PATH, &format!("{form}&Signature={signature}"));
    assert_eq!(verdict, Err(Error::SECRET_ID_UNKNOWN));
}
