//! Forms to calls: every action, every range, every refusal. A call is compared by its debug text.

use cmq_engine::attributes::DeadLetterChange;
use proptest::prelude::*;

use super::super::action::SERVED;
use super::*;

fn read(form: &str) -> Result<Call, Error> {
    let body = Bytes::copy_from_slice(form.as_bytes());
    let mut parameters = Parameters::parse("", &body).unwrap();
    let name = parameters.text("Action").unwrap().unwrap().to_owned();
    let super::super::action::Named::Served(action) = Action::named(&name) else { panic!("{name}") };
    Call::read(action, &mut parameters)
}

/// What a call is, or what the caller reads.
fn check(form: &str, due: &str) {
    let found = match read(form) {
        Ok(call) => format!("{call:?}"),
        Err(error) => error.to_string(),
    };
    assert_eq!(found, due, "{form}");
}

fn numbered(name: &str, numbers: std::ops::RangeInclusive<u32>) -> String {
    numbers.map(|number| format!("&{name}.{number}=v{number}")).collect()
}

#[test]
fn queue_names() {
    let longest = "q".repeat(64);
    check(
        &format!("Action=DeleteQueue&queueName={longest}"),
        &format!("DeleteQueue {{ queue: \"{longest}\" }}"),
    );
    check("Action=DeleteQueue&queueName=Orders-2_b", r#"DeleteQueue { queue: "Orders-2_b" }"#);
    check("Action=DeleteQueue&queueName=orders-dlq", r#"DeleteQueue { queue: "orders-dlq" }"#);
    let too_long = "q".repeat(65);
    for bad in ["2orders", "-orders", "_orders", "orders.fifo", "or+ders", "%E4%BD%A0", too_long.as_str()] {
        check(
            &format!("Action=DeleteQueue&queueName={bad}"),
            "4000 (10020)queue name format error: a letter, then letters, digits, '-' and '_' are allowed, 64 characters in all",
        );
    }
    check("Action=DeleteQueue", "4000 (10390)lacked of required parameter queueName");
    check("Action=DeleteQueue&queueName=", "4000 (10390)lacked of required parameter queueName");
    check(
        "Action=DeleteQueue&queueName=a&queueName=a",
        "4000 (10330)parameter queueName is NOT a repeatable parameter",
    );
}

#[test]
fn listings() {
    let call = |search: &str, offset, limit| {
        format!("ListQueue {{ page: Page {{ search: \"{search}\", offset: {offset}, limit: {limit} }} }}")
    };
    check("Action=ListQueue", &call("", 0, 20));
    check("Action=ListQueue&searchWord=&offset=&limit=", &call("", 0, 20));
    check("Action=ListQueue&searchWord+=or&offset+=7&limit+=50", &call("or", 7, 50));
    check(
        "Action=ListQueue&limit=51",
        "4000 (10350)parameter limit value or length is out of range: 0 to 50 is allowed",
    );
    check(
        "Action=ListQueue&limit=-1",
        "4000 (10350)parameter limit value or length is out of range: 0 to 50 is allowed",
    );
    check(
        "Action=ListQueue&offset=-1",
        "4000 (10350)parameter offset value or length is out of range: 0 to 4294967295 is allowed",
    );
    check("Action=ListQueue&offset=two", "4000 (10360)parameter offset error type");
}

#[test]
fn sends() {
    let call = |kind: &str, bodies: &str, delay: &str| {
        format!("{kind} {{ queue: \"q\", messages: Outgoing {{ bodies: [{bodies}], delay: {delay} }} }}")
    };
    let one = |form: &str, due: &str| check(&format!("Action=SendMessage&queueName=q{form}"), due);
    one("&msgBody=m", &call("SendMessage", "b\"m\"", "None"));
    one("&msgBody=%40+%26&delaySeconds=0", &call("SendMessage", "b\"@ &\"", "Some(0ns)"));
    one("&msgBody=m&delaySeconds=3600", &call("SendMessage", "b\"m\"", "Some(3600s)"));
    one("&msgBody=m&unknown=1&delaySeconds=", &call("SendMessage", "b\"m\"", "None"));
    one("&msgBody=m&delaySeconds=3601", "4000 (10692)delay seconds is out of range: 0 to 3600 is allowed");
    one("&msgBody=m&delaySeconds=-1", "4000 (10692)delay seconds is out of range: 0 to 3600 is allowed");
    one("&msgBody=m&delaySeconds=soon", "4000 (10360)parameter delaySeconds error type");
    one("", "4000 (10390)lacked of required parameter msgBody");
    one("&msgBody=", "4000 (10120)message body can't be empty");
    one("&msgBody=%ff", "4000 (10360)parameter msgBody error type");
    one("&msgBody.1=m", "4000 (10330)parameter msgBody is NOT a repeatable parameter");

    let batch = |form: &str, due: &str| check(&format!("Action=BatchSendMessage&queueName=q{form}"), due);
    batch("&msgBody.0=a&msgBody.1=b", &call("BatchSendMessage", "b\"a\", b\"b\"", "None"));
    batch("&msgBody.2=b&msgBody.1=a&delaySeconds=5", &call("BatchSendMessage", "b\"a\", b\"b\"", "Some(5s)"));
    batch("", "4000 (10390)lacked of required parameter msgBody");
    batch("&msgBody.1=a&msgBody.2=", "4000 (10120)message body can't be empty");
    batch("&msgBody.1=a&msgBody.2=%ff", "4000 (10360)parameter msgBody.2 error type");
    batch("&msgBody.1=a&msgBody.3=c", "4000 (10380)msgBody parameter is not consequent");
    batch(
        &numbered("msgBody", 1..=17),
        "4000 (10370)msgBody parameter batch size is out of range: 1 to 16 is allowed",
    );
    batch("&msgBody=a", "4000 (10310)error: parameter msgBody key format error");
    assert!(read(&format!("Action=BatchSendMessage&queueName=q{}", numbered("msgBody", 1..=16))).is_ok());
}

#[test]
fn a_batch_of_one_megabyte_is_the_largest() {
    let form = |bytes: usize| {
        let half = "x".repeat(bytes / 2);
        format!("Action=BatchSendMessage&queueName=q&msgBody.1={half}&msgBody.2={half}")
    };
    assert!(read(&form(1_048_576)).is_ok());
    assert_eq!(read(&form(1_048_578)).unwrap_err().to_string(), "4470 (10300)total message size exceed 1MB");
}

#[test]
fn receives() {
    let one = |form: &str, due: &str| check(&format!("Action=ReceiveMessage&queueName=q{form}"), due);
    one("", r#"ReceiveMessage { queue: "q", wait: None }"#);
    one("&pollingWaitSeconds=0", r#"ReceiveMessage { queue: "q", wait: Some(0ns) }"#);
    one("&pollingWaitSeconds=30", r#"ReceiveMessage { queue: "q", wait: Some(30s) }"#);
    one("&pollingWaitSeconds=30000", r#"ReceiveMessage { queue: "q", wait: Some(30s) }"#);
    one("&UserpollingWaitSeconds=7", r#"ReceiveMessage { queue: "q", wait: None }"#);
    one(
        "&pollingWaitSeconds=-1",
        "4000 (10350)parameter pollingWaitSeconds value or length is out of range: 0 to 30 is allowed",
    );

    let batch = |form: &str, due: &str| check(&format!("Action=BatchReceiveMessage&queueName=q{form}"), due);
    batch("&numOfMsg=16", r#"BatchReceiveMessage { queue: "q", max: 16, wait: None }"#);
    batch(
        "&numOfMsg=1&pollingWaitSeconds=2",
        r#"BatchReceiveMessage { queue: "q", max: 1, wait: Some(2s) }"#,
    );
    batch("", "4000 (10390)lacked of required parameter numOfMsg");
    batch(
        "&numOfMsg=0",
        "4000 (10350)parameter numOfMsg value or length is out of range: 1 to 16 is allowed",
    );
    batch(
        "&numOfMsg=17",
        "4000 (10350)parameter numOfMsg value or length is out of range: 1 to 16 is allowed",
    );
}

#[test]
fn deletes() {
    check(
        "Action=DeleteMessage&queueName=q&receiptHandle=h-1_a",
        r#"DeleteMessage { queue: "q", handle: "h-1_a" }"#,
    );
    check("Action=DeleteMessage&queueName=q", "4000 (10390)lacked of required parameter receiptHandle");
    check(
        "Action=BatchDeleteMessageReq&queueName=q&receiptHandle.1=b&receiptHandle.0=a",
        r#"BatchDeleteMessage { queue: "q", handles: ["a", "b"] }"#,
    );
    check("Action=BatchDeleteMessage&queueName=q", "4000 (10390)lacked of required parameter receiptHandle");
    check(
        &format!("Action=BatchDeleteMessage&queueName=q{}", numbered("receiptHandle", 0..=16)),
        "4000 (10370)receiptHandle parameter batch size is out of range: 1 to 16 is allowed",
    );
}

#[test]
fn new_queues_have_the_defaults_of_the_protocol() {
    let Ok(Call::CreateQueue { queue, attributes, dead_letter_queue }) =
        read("Action=CreateQueue&queueName=q")
    else {
        panic!("a name is all that is needed");
    };
    let due = QueueAttributes { max_message_bytes: 65_536, ..QueueAttributes::default() };
    assert_eq!((queue.as_str(), attributes, dead_letter_queue), ("q", due, None));
}

#[test]
fn attribute_ranges() {
    for (name, least, most) in [
        ("maxMsgHeapNum", 1_000_000, 1_000_000_000_i64),
        ("pollingWaitSeconds", 0, 30),
        ("visibilityTimeout", 1, 43_200),
        ("maxMsgSize", 1024, 1_048_576),
        ("msgRetentionSeconds", 60, 1_296_000),
    ] {
        let form = |value: i64| format!("Action=CreateQueue&queueName=q&{name}={value}");
        for good in [least, most] {
            assert!(read(&form(good)).is_ok(), "{name} {good}");
        }
        for bad in [least - 1, most + 1, i64::MAX] {
            check(
                &form(bad),
                &format!(
                    "4000 (10350)parameter {name} value or length is out of range: {least} to {most} is allowed"
                ),
            );
        }
    }
    check("Action=CreateQueue&queueName=q&maxMsgSize=big", "4000 (10360)parameter maxMsgSize error type");
}

#[test]
fn rewinding_reaches_no_further_than_retention() {
    assert!(read("Action=CreateQueue&queueName=q&rewindSeconds=100&msgRetentionSeconds=100").is_ok());
    check(
        "Action=CreateQueue&queueName=q&rewindSeconds=101&msgRetentionSeconds=100",
        "4000 (10700)rewindSeconds cannot be greater than msgRetentionSeconds",
    );
    check(
        "Action=CreateQueue&queueName=q&rewindSeconds=1296001",
        "4000 (10350)parameter rewindSeconds value or length is out of range: 0 to 1296000 is allowed",
    );
}

#[test]
fn changes_of_attributes() {
    let call = |form: &str| {
        let Ok(Call::SetQueueAttributes { changes, .. }) =
            read(&format!("Action=SetQueueAttributes&queueName=q{form}"))
        else {
            panic!("{form}");
        };
        changes
    };
    assert_eq!(call(""), AttributesPatch::default());
    let all = "&maxMsgHeapNum=1000000&pollingWaitSeconds=1&visibilityTimeout=2&maxMsgSize=1024\
               &msgRetentionSeconds=60&rewindSeconds=0&deadLetterPolicy=";
    let due = AttributesPatch {
        visibility_timeout_seconds: Some(2),
        retention_seconds: Some(60),
        rewind_seconds: Some(0),
        polling_wait_seconds: Some(1),
        max_message_bytes: Some(1024),
        max_messages: Some(1_000_000),
        dead_letter: DeadLetterChange::Keep,
    };
    assert_eq!(call(all), due);
    check(
        "Action=SetQueueAttributes&queueName=q&visibilityTimeout=0",
        "4000 (10350)parameter visibilityTimeout value or length is out of range: 1 to 43200 is allowed",
    );
}

#[test]
fn dead_letter_queues_and_routes() {
    check(
        "Action=ListDeadLetterSourceQueues&deadLetterQueueName=d&searchWord=s&limit=1",
        r#"ListDeadLetterSourceQueues { queue: "d", page: Page { search: "s", offset: 0, limit: 1 } }"#,
    );
    check(
        "Action=ListDeadLetterSourceQueues&queueName=d",
        "4000 (10390)lacked of required parameter deadLetterQueueName",
    );
    check("Action=UnbindDeadLetterQueue&queueName=q", r#"UnbindDeadLetterQueue { queue: "q" }"#);
    check("Action=QueryQueueRoute&queueName=q", r#"QueryQueueRoute { queue: "q" }"#);
}

#[test]
fn clears_and_rewinds() {
    check("Action=ClearQueue&queueName=q", r#"ClearQueue { queue: "q" }"#);
    let rewind = |form: &str, due: &str| check(&format!("Action=RewindQueue&queueName=q{form}"), due);
    rewind("&startConsumeTime=1700000000", r#"RewindQueue { queue: "q", start: 1700000000 }"#);
    rewind("", "4000 (10390)lacked of required parameter startConsumeTime");
    rewind("&startConsumeTime=noon", "4000 (10360)parameter startConsumeTime error type");
    rewind(
        "&startConsumeTime=-1",
        "4000 (10680)invalid rewind time, you can get the vaild range of that via GetQueueAttributes",
    );
}

#[test]
fn messages_are_dead_before_they_expire() {
    let policy = "%7B%22deadLetterQueue%22%3A%22d%22%2C%22policy%22%3A1%2C%22maxTimeToLive%22%3A300%7D";
    let form = format!("Action=CreateQueue&queueName=q&deadLetterPolicy={policy}");
    assert!(read(&format!("{form}&msgRetentionSeconds=301")).is_ok());
    check(
        &format!("{form}&msgRetentionSeconds=300"),
        "4000 (10350)parameter maxTimeToLive value or length is out of range: 300 to 43200, and less than \
         msgRetentionSeconds, is allowed",
    );
}

#[test]
fn dead_letter_policies() {
    let policy = "%7B%22deadLetterQueue%22%3A%22dead%22%2C%22policy%22%3A0%2C%22maxReceiveCount%22%3A3%7D";
    let form = format!("Action=CreateQueue&queueName=q&deadLetterPolicy={policy}");
    let Ok(Call::CreateQueue { attributes, dead_letter_queue, .. }) = read(&form) else { panic!("{form}") };
    assert!(attributes.dead_letter.is_some());
    assert_eq!(dead_letter_queue.as_deref(), Some("dead"));
    check(
        "Action=CreateQueue&queueName=q&deadLetterPolicy=dead",
        "4000 (10710)dead-letter policy is not JSON text",
    );
}

/// A form of names that calls have, with numbers and values that they may or may not have.
fn any_form() -> impl Strategy<Value = String> {
    let names = proptest::sample::select(vec![
        "queueName",
        "msgBody",
        "delaySeconds",
        "pollingWaitSeconds",
        "numOfMsg",
        "receiptHandle",
        "searchWord",
        "offset",
        "limit",
        "maxMsgSize",
        "rewindSeconds",
        "deadLetterPolicy",
    ]);
    let numbers = prop_oneof![3 => Just(String::new()), 1 => "\\.[0-9]{0,2}", 1 => "\\.[a-z0-9.+-]{0,12}"];
    let values = prop_oneof![
        "q[a-z]{0,5}",
        "-?[0-9]{1,20}",
        "(%[0-9a-f]{2}){0,6}",
        "\\{\"(policy|deadLetterQueue|maxReceiveCount)\":(\"q\"|[0-9]{1,4})\\}",
        any::<String>(),
    ];
    let field = (names, numbers, values).prop_map(|(name, number, value)| format!("{name}{number}={value}"));
    proptest::collection::vec(field, 0..20).prop_map(|fields| fields.join("&"))
}

proptest! {
    #[test]
    fn whatever_is_sent_is_a_call_or_an_error(form in any_form()) {
        let body = Bytes::from(form);
        for (action, _) in SERVED {
            match Call::read(action, &mut Parameters::parse("", &body).unwrap()) {
                Ok(Call::BatchReceiveMessage { max, wait, .. }) => {
                    prop_assert!((1..=BATCH_MESSAGES_MAX).contains(&max));
                    prop_assert!(wait.unwrap_or_default() <= Duration::from_secs(30));
                }
                Ok(Call::SendMessage { messages, .. } | Call::BatchSendMessage { messages, .. }) => {
                    prop_assert!((1..=BATCH_MESSAGES_MAX).contains(&messages.bodies.len()));
                    prop_assert!(messages.bodies.iter().all(|body| !body.is_empty()));
                }
                Ok(Call::BatchDeleteMessage { handles, .. }) => {
                    prop_assert!((1..=BATCH_MESSAGES_MAX).contains(&handles.len()));
                }
                Ok(_) => {}
                Err(error) => prop_assert!(error.code == 4000 || error.code == 4470, "{}", error),
            }
        }
    }
}
