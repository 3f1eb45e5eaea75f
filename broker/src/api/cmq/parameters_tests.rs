//! Form text to parameters, and look-ups in them.

use proptest::prelude::*;

use super::*;

fn with<T>(form: &str, look: impl FnOnce(&mut Parameters<'_>) -> T) -> T {
    let body = Bytes::copy_from_slice(form.as_bytes());
    look(&mut Parameters::parse("", &body).unwrap())
}

#[test]
fn splits_as_forms_are_split() {
    for (form, pairs) in [
        ("", &[][..]),
        ("&&", &[]),
        ("a=1&b=2", &[("a", "1"), ("b", "2")]),
        ("&a=1&&b=2&", &[("a", "1"), ("b", "2")]),
        ("a&b=", &[("a", ""), ("b", "")]),
        ("=x", &[("", "x")]),
        ("a==b=c", &[("a", "=b=c")]),
        ("a%3D=%26+%2B", &[("a=", "& +")]),
        ("offset+=1", &[("offset ", "1")]),
    ] {
        with(form, |parameters| {
            let found: Vec<_> = parameters.iter().map(|p| (p.name.as_ref(), p.value.as_ref())).collect();
            let due: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            assert_eq!(found, due, "{form}");
        });
    }
}

#[test]
fn query_and_body_are_both_read() {
    let body = Bytes::from_static(b"b=2");
    let parameters = Parameters::parse("a=1", &body).unwrap();
    assert_eq!((parameters.text("a"), parameters.text("b")), (Ok(Some("1")), Ok(Some("2"))));
}

#[test]
fn too_many_parameters_are_refused() {
    let body = Bytes::from("a=1&".repeat(PARAMETERS_MAX));
    assert!(Parameters::parse("", &body).is_ok());
    assert_eq!(Parameters::parse("b=2", &body).unwrap_err(), Error::unreadable("parameters"));
}

#[test]
fn scalars() {
    let text = |form: &str| with(form, |p| p.text("limit").map(|text| text.map(str::to_owned)));
    assert_eq!(text("limit=5"), Ok(Some("5".to_owned())));
    assert_eq!(text("limit+=5"), Ok(Some("5".to_owned())), "a blank behind the name");
    assert_eq!(text("limit="), Ok(None), "no value is as good as no parameter");
    assert_eq!(text("Limit=5"), Ok(None));
    assert_eq!(text("limits=5&limit.x=6"), Ok(None));
    assert_eq!(text("limit=5&limit=5"), Err(Error::repeated("limit")));
    assert_eq!(text("limit=5&limit+=6"), Err(Error::repeated("limit")));
    assert_eq!(text("limit.1=5"), Err(Error::repeated("limit")));
    assert_eq!(text("limit=%ff"), Err(Error::wrong_type("limit")));
}

#[test]
fn integers() {
    for (value, read) in [
        ("0", Ok(Some(0))),
        ("+17+", Ok(Some(17))),
        ("-5", Ok(Some(-5))),
        ("007", Ok(Some(7))),
        ("9223372036854775808", Ok(Some(i64::MAX))),
        ("-99999999999999999999", Ok(Some(i64::MIN))),
        ("", Ok(None)),
        ("1.5", Err(Error::wrong_type("n"))),
        ("%2B5", Err(Error::wrong_type("n"))),
        ("-", Err(Error::wrong_type("n"))),
        ("ten", Err(Error::wrong_type("n"))),
        ("٣", Err(Error::wrong_type("n"))),
    ] {
        assert_eq!(with(&format!("n={value}"), |p| p.integer("n")), read, "{value}");
    }
    assert_eq!(with("n=5", |p| p.integer_in("n", &(1..=5))), Ok(Some(5)));
    assert_eq!(with("n=6", |p| p.integer_in("n", &(1..=5))), Err(Error::out_of_range("n", &(1..=5))));
}

#[test]
fn arrays() {
    let array = |form: &str| {
        with(form, |p| {
            let positions = p.array("m")?;
            Ok(positions
                .into_iter()
                .map(|at| p.text_at(at).unwrap().to_owned())
                .collect::<Vec<_>>()
                .join(","))
        })
    };
    let numbered = |numbers: std::ops::Range<u32>| {
        numbers.map(|number| format!("m.{number}={number}")).collect::<Vec<_>>().join("&")
    };
    for (form, read) in [
        ("a=1", Ok("")),
        ("m.0=a&m.1=b", Ok("a,b")),
        ("m.2=b&m.1=a&m.3=c", Ok("a,b,c")),
        ("m.01=a&m.2+=b", Ok("a,b")),
        ("m.2=b", Err(Error::gap("m"))),
        ("m.1=a&m.3=c", Err(Error::gap("m"))),
        ("m.999999999=a", Err(Error::gap("m"))),
        ("m.1=a&m.1=b", Err(Error::repeated("m.1"))),
        ("m=a", Err(Error::key_format("m"))),
        ("m.=a", Err(Error::key_format("m."))),
        ("m.x=a", Err(Error::key_format("m.x"))),
        ("m.-1=a", Err(Error::key_format("m.-1"))),
        ("m.1.2=a", Err(Error::key_format("m.1.2"))),
        ("m.1234567890=a", Err(Error::key_format("m.1234567890"))),
    ] {
        assert_eq!(array(form), read.map(str::to_owned), "{form}");
    }
    assert_eq!(array(&numbered(1..17)), Ok("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16".to_owned()));
    assert_eq!(array(&numbered(0..17)), Err(Error::batch_size("m")));
}

#[test]
fn kept_values_hold_no_more_memory_than_they_need() {
    let taken = |body: &Bytes| Parameters::parse("", body).unwrap().take(0).unwrap();
    let inside = |part: &Bytes, whole: &Bytes| whole.as_ptr_range().contains(&part.as_ptr());
    let small = Bytes::from(format!("msgBody={}", "a".repeat(1024)));
    assert!(!inside(&taken(&small), &small), "it would hold a whole read buffer");
    let large = Bytes::from(format!("msgBody={}", "a".repeat(20_000)));
    assert!(inside(&taken(&large), &large));
    let one_of_many = Bytes::from(format!("m={}&n={}", "a".repeat(20_000), "b".repeat(30_000)));
    assert!(!inside(&taken(&one_of_many), &one_of_many));
    let in_query = Bytes::new();
    let query = format!("m={}", "a".repeat(20_000));
    assert_eq!(Parameters::parse(&query, &in_query).unwrap().take(0).unwrap().len(), 20_000);
}

/// Text with everything that form encoding has to take care of.
fn any_text() -> impl Strategy<Value = String> {
    let parts = prop_oneof![
        Just("&".to_owned()),
        Just("=".to_owned()),
        Just("+".to_owned()),
        Just("%".to_owned()),
        Just("%41".to_owned()),
        Just(" ".to_owned()),
        Just("\r\n".to_owned()),
        Just("@".to_owned()),
        Just("你好".to_owned()),
        any::<String>(),
    ];
    proptest::collection::vec(parts, 0..8).prop_map(|parts| parts.concat())
}

/// Encodes as browsers do; `plain` says which harmless characters stay as they are.
fn encode(text: &str, plain: impl Fn(u8) -> bool) -> String {
    text.bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            byte if byte.is_ascii_alphanumeric() || plain(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

proptest! {
    #[test]
    fn never_panics(form in proptest::collection::vec(any::<u8>(), 0..300), query: String) {
        let body = Bytes::from(form);
        if let Ok(mut parameters) = Parameters::parse(&query, &body) {
            for name in ["", "a", "msgBody"] {
                let _ = (parameters.text(name), parameters.integer(name), parameters.array(name));
            }
            for position in 0..parameters.list.len() {
                let _ = parameters.take(position);
            }
        }
    }

    #[test]
    fn looking_up_never_panics(form in "(m|m\\.|\\.|[0-9]{1,3}|=|&|%4d| |\\+){0,40}") {
        with(&form, |parameters| {
            let _ = (parameters.text("m"), parameters.integer("m"), parameters.array("m"));
        });
    }

    #[test]
    fn encoded_bodies_come_back(texts in proptest::collection::vec(any_text(), 1..16), bare: bool) {
        let fields = texts.iter().enumerate().map(|(number, text)| {
            format!("msgBody.{number}={}", encode(text, |byte| bare && b"-_.~*!'()@/:;,?".contains(&byte)))
        });
        let form = fields.collect::<Vec<_>>().join("&");
        with(&form, |parameters| {
            let positions = parameters.array("msgBody").unwrap();
            for (position, text) in positions.into_iter().zip(&texts) {
                assert_eq!(parameters.take(position).unwrap(), text);
            }
        });
    }
}
