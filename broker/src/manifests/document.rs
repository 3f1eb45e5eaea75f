//! YAML documents whose every field knows its line.

use std::fmt;
use std::path::Path;

use cmq_crds::validate::{FieldPath, Step};
use cmq_engine::limits::QUEUES_MAX;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Spanned, UserMessageFormatter};

use super::Problem;

/// Parser events of one file: an object with every attribute set has about a hundred.
const EVENTS_MAX: usize = 200 * QUEUES_MAX;

/// Lists and fields inside each other: twice what objects of a cluster have, and little enough for the stack of any thread.
pub const DEPTH_MAX: usize = 32;

/// One document, or one value inside it.
#[derive(Debug)]
pub(super) struct Node {
    /// The line, from 1, on which the value begins.
    line: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Fields(Vec<Field>),
}

#[derive(Debug)]
struct Field {
    name: String,
    line: u64,
    value: Node,
}

/// Text that is not YAML.
#[derive(Debug)]
pub(super) struct SyntaxError {
    line: u64,
    message: String,
}

impl SyntaxError {
    pub(super) fn in_file(self, file: &Path) -> Problem {
        Problem {
            file: file.to_owned(),
            line: self.line,
            field: "(syntax)".into(),
            problem: self.message,
            allowed: "YAML documents, each one object, with `---` between them".into(),
        }
    }
}

/// The documents of a file, empty ones left out. JSON is YAML too.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        // `020` and `1_000` are one number to one parser and another, or text, to the next.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_documents: 2 * QUEUES_MAX,
            max_events: EVENTS_MAX,
            max_nodes: EVENTS_MAX,
        },
    };
    let nodes: Result<Vec<Spanned<Content>>, _> = serde_saphyr::from_multiple_with_options(text, options);
    nodes.map(|nodes| nodes.into_iter().map(Node::from).collect()).map_err(|error| {
        let text = error.render_with_formatter(&UserMessageFormatter);
        // The line is said before the message already.
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        SyntaxError { line: error.location().map_or(1, |place| place.line()), message: message.to_owned() }
    })
}

impl Node {
    /// The line on which the document begins.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The line of a field, or of the deepest one on the way to it that is there.
    pub(super) fn line_of(&self, path: &FieldPath) -> u64 {
        let (mut node, mut line) = (self, self.line);
        for step in &path.0 {
            (node, line) = match (&node.content, step) {
                (Content::Fields(fields), Step::Key(key)) => {
                    let Some(field) = fields.iter().find(|field| field.name == *key) else { return line };
                    (&field.value, field.line)
                }
                (Content::List(items), Step::Index(index)) => {
                    let Some(item) = items.get(*index) else { return line };
                    (item, item.line)
                }
                _ => return line,
            };
        }
        line
    }

    /// The value without its lines.
    pub(super) fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Self::value).collect(),
            Content::Fields(fields) => Value::Object(
                fields.iter().map(|field| (field.name.clone(), field.value.value())).collect::<Map<_, _>>(),
            ),
        }
    }
}

impl From<Spanned<Content>> for Node {
    fn from(spanned: Spanned<Content>) -> Self {
        Self { line: spanned.referenced.line(), content: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields, a list, text, a number, true, false or nothing")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Content, E> {
        Ok(Content::Scalar(flag.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Content, E> {
        Ok(Content::Scalar(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Content, E> {
        Ok(Content::Scalar(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Content, E> {
        let number =
            Number::from_f64(number).ok_or_else(|| E::custom("a number without end is not allowed"))?;
        Ok(Content::Scalar(number.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Scalar(text.into()))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Spanned<Content>>()? {
            items.push(item.into());
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut fields = Vec::new();
        while let Some((key, value)) = access.next_entry::<Spanned<String>, Spanned<Content>>()? {
            fields.push(Field { name: key.value, line: key.referenced.line(), value: value.into() });
        }
        Ok(Content::Fields(fields))
    }
}
