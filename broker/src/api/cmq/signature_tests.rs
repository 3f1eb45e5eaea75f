//! Signatures: the published vectors, every form that real clients use, and what must not pass.

use bytes::Bytes;
use hmac::Hmac;
use sha1::Sha1;
use sha2::Sha256;

use super::*;
use crate::access::{self, Access, FORMS_MAX, LENIENT, TRIAL_BYTES_MAX};

const KEY: &str = "example-secret-key";
/// The time of the calls here.
const NOW: u64 = 1_700_000_000;

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
    let (keys, policy) = access.keys().unwrap();
    verify(&keys, policy, &Head { method, host, path, now_s: NOW }, &parameters).map(|_signed| ())
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

/// HMAC-SHA1 under the example's key.
fn sha1(access: &Access) -> Hmac<Sha1> {
    access.keys().unwrap().0.find("AKIDexample").unwrap().secret.hmac_sha1()
}

/// HMAC-SHA256 under the example's key.
fn sha256(access: &Access) -> Hmac<Sha256> {
    access.keys().unwrap().0.find("AKIDexample").unwrap().secret.hmac_sha256()
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
        let signature = sign(sha1(&access), &format!("GET{signed}?{FORM}"));
        let verdict = verdict(&access, "GET", host, path, &format!("{FORM}&Signature={signature}"));
        assert_eq!(verdict.is_ok(), passes, "{host} {path} signed as {signed}: {verdict:?}");
    }
}

#[test]
fn hashes_as_clients_choose_them() {
    let access = access();
    for (method, is_sha256, passes) in [
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
        let signature = if is_sha256 { sign(sha256(&access), &text) } else { sign(sha1(&access), &text) };
        let verdict = verdict(&access, "POST", "mq.example", PATH, &format!("{form}&Signature={signature}"));
        assert_eq!(verdict.is_ok(), passes, "{method} with SHA-256: {is_sha256}");
    }
}

#[test]
fn names_are_signed_raw_with_dots_for_underscores() {
    let access = access();
    let text = "POSTmq.example/v2/index.php?Action=ListQueue&Nonce=1&SecretId=AKIDexample&Timestamp=17&a.b=c_d&limit =5";
    let signature = sign(sha1(&access), text);
    let form = format!(
        "limit+=5&a_b=c_d&Action=ListQueue&Nonce=1&SecretId=AKIDexample&Timestamp=17&Signature={signature}"
    );
    assert_eq!(verdict(&access, "POST", "mq.example", PATH, &form), Ok(()));
}

#[test]
fn values_with_at_may_be_left_out_only_on_post_and_only_when_allowed() {
    let lenient = access();
    let strict = Access::signed(
        access::keys_of([("AKIDexample", KEY)]),
        Policy { at_values: AtValues::Covered, ..LENIENT },
    );
    for (method, access, passes) in
        [("POST", &lenient, true), ("GET", &lenient, false), ("POST", &strict, false)]
    {
        let text = format!("{method}mq.example/v2/index.php?{FORM}");
        let signature = sign(sha1(access), &text);
        let form = format!("{FORM}&msgBody=%40home&Signature={signature}");
        let verdict = verdict(access, method, "mq.example", PATH, &form);
        assert_eq!(verdict.is_ok(), passes, "{method}: {verdict:?}");
    }
    let text = format!("POSTmq.example/v2/index.php?{FORM}&msgBody=@home");
    let signature = sign(sha1(&strict), &text);
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

/// A temporary key's token is not looked at, and is signed like every other parameter.
#[test]
fn a_token_is_signed_and_ignored() {
    let access = access();
    let form = format!("{FORM}&Token=t%3D1");
    let text = "POSTmq.example/v2/index.php?Action=ListQueue&Nonce=1&SecretId=AKIDexample&Timestamp=1700000000&Token=t=1";
    let signature = sign(sha1(&access), text);
    let right = verdict(&access, "POST", "mq.example", PATH, &format!("{form}&Signature={signature}"));
    assert_eq!(right, Ok(()));
    let unsigned = sign(sha1(&access), &format!("POSTmq.example/v2/index.php?{FORM}"));
    let wrong = verdict(&access, "POST", "mq.example", PATH, &format!("{form}&Signature={unsigned}"));
    assert_eq!(wrong, Err(Error::AUTHENTICATION_FAILED));
}

#[test]
fn calls_of_another_time_are_refused() {
    let policy = Policy { clock_skew_seconds: Some(300), ..LENIENT };
    let access = Access::signed(access::keys_of([("AKIDexample", KEY)]), policy);
    for (timestamp, refusal) in [
        (NOW, None),
        (NOW - 300, None),
        (NOW + 300, None),
        (
            NOW - 301,
            Some(
                "Timestamp 1699999699 is 301 seconds behind the broker's clock, which says 1700000000; at most 300",
            ),
        ),
        (
            NOW + 301,
            Some(
                "Timestamp 1700000301 is 301 seconds ahead of the broker's clock, which says 1700000000; at most 300",
            ),
        ),
        (0, Some("is 1700000000 seconds behind")),
        (i64::MAX as u64, Some("seconds ahead of")),
    ] {
        let form = format!("Action=ListQueue&Nonce=1&SecretId=AKIDexample&Timestamp={timestamp}");
        let signature = sign(sha1(&access), &format!("POSTmq.example/v2/index.php?{form}"));
        let found = verdict(&access, "POST", "mq.example", PATH, &format!("{form}&Signature={signature}"));
        match (found, refusal) {
            (Ok(()), None) => {}
            (Err(error), Some(due)) => {
                assert_eq!((error.code, error.module), (4100, 10030));
                assert!(
                    error.text.starts_with("authentication failed") && error.text.contains(due),
                    "{error}"
                );
            }
            (found, due) => panic!("{timestamp}: {found:?}, expected {due:?}"),
        }
    }
}

#[test]
fn a_call_larger_than_any_is_not_hashed() {
    let form =
        format!("{FORM}&msgBody={}&Signature=C16WEtEXsD5v5tnaUMLAbZewXhI=", "x".repeat(SIGNED_BYTES_MAX));
    let found = verdict(&access(), "POST", "mq.example", PATH, &form);
    assert_eq!(found, Err(Error::unreadable("parameters")));
}

/// What a check of a call costs: whether it passes, and the bytes that are hashed for it.
fn cost(key: &Key, host: &str, form: &str, signature: &str) -> (bool, u64) {
    let body = Bytes::copy_from_slice(form.as_bytes());
    let parameters = Parameters::parse("", &body).unwrap();
    let head = Head { method: "POST", host, path: "/v2/index.php/v2/index.php", now_s: NOW };
    let given = Given::read(signature, None);
    let search = Search::start(AtValues::MayBeLeftOut, &head, &parameters, &given).among(key, NOW);
    (search.is_found, search.hashed)
}

/// Signs the form as a client does that has its own way with the host.
fn signature(key: &Key, signed: &str, form: &str) -> String {
    STANDARD
        .encode(key.secret.hmac_sha1().chain_update(format!("POST{signed}?{form}")).finalize().into_bytes())
}

/// A wrong signature costs what a right one costs, once the credit for trying other forms is used up; and with it, no
/// more than the credit.
#[test]
fn a_wrong_signature_costs_no_more_than_a_right_one() {
    const USUAL: &str = "mq.example:9324/v2/index.php/v2/index.php";
    let keys = access::keys_of([("AKIDexample", KEY)]);
    let key = keys.find("AKIDexample").unwrap();
    // With a value that begins with @, so that there are as many forms as a call can have.
    let form = format!("Action=SendMessage&Nonce=1&Timestamp=1&msgBody=@{}", "x".repeat(1 << 20));
    let right = signature(key, USUAL, &form);
    let wrong = STANDARD.encode([7; SHA1_BYTES]);

    let (passes, price) = cost(key, "mq.example:9324", &form, &right);
    assert!(passes && price < form.len() as u64 + 100);
    let mut spent = 0;
    for _ in 0..100 {
        let (passes, hashed) = cost(key, "mq.example:9324", &form, &wrong);
        assert!(!passes);
        spent += hashed - price;
    }
    assert!(spent <= TRIAL_BYTES_MAX, "{spent}");
    assert!(spent > TRIAL_BYTES_MAX - 2 * price, "other forms were not tried: {spent}");
    assert_eq!(cost(key, "mq.example:9324", &form, &wrong), (false, price));
    assert_eq!(cost(key, "mq.example:9324", &form, &right), (true, price));
    assert_eq!(cost(key, "mq.example:9324", &form, "no signature"), (false, 0));
}

/// A client that signs in a form of its own is understood at its first call, and then at the price of one hash.
#[test]
fn forms_that_were_right_are_tried_first() {
    let keys = access::keys_of([("AKIDexample", KEY)]);
    let key = keys.find("AKIDexample").unwrap();
    let form = "Action=ListQueue&Nonce=1&Timestamp=1";
    let odd = signature(key, "http://mq.example/v2/index.php", form);
    let (passes, first) = cost(key, "mq.example", form, &odd);
    assert!(passes);
    let (passes, second) = cost(key, "mq.example", form, &odd);
    assert!(passes && second * 5 < first, "{first} and then {second}");
    // Whoever signs as usual beside it pays for both, once.
    let usual = signature(key, "mq.example/v2/index.php/v2/index.php", form);
    assert!(cost(key, "mq.example", form, &usual).0);
    let (passes, third) = cost(key, "mq.example", form, &usual);
    assert!(passes && third < 2 * second);
}

#[test]
fn every_form_has_a_number_of_its_own() {
    let numbers: Vec<u32> = Form::all().map(Form::number).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), numbers.len());
    assert!(sorted.iter().all(|number| *number < FORMS_MAX));
}
