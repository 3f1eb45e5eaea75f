//! Log entries: how commands and bodies are written, and how an entry is split into a header row and body rows.
//!
//! ```text
//! data    format u8 | header bytes u32 | crc32c of the header u32 | header | a length u32 for each body | bodies
//! header  stamp | engine version | number of commands | commands
//! body    format u8 | crc32c of the rest u32 | bytes of the message
//! ```
//! A body of length 0 is one that is not needed any more: whoever still has to replay the entry will also replay the
//! command that finished the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cmq_engine::catalogue::CatalogueCommand;
use cmq_engine::codec::{DecodeError, Reader, Writer};
use cmq_engine::command::{Command, ENGINE_VERSION};
use cmq_engine::limits::ENTRY_BODIES_MAX;
use raft::eraftpb;

use crate::storage::StoreError;

const FORMAT: u8 = 1;
const ROW_FORMAT: u8 = 1;
/// Format of a body row that holds the bytes of the message and nothing else.
const PLAIN_BODY: u8 = 1;
const BODY_PREFIX: usize = 5;

/// What an entry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commands {
    /// Of a shard.
    Shard(Vec<Command>),
    /// Of group 0.
    Catalogue(Vec<CatalogueCommand>),
}

impl Commands {
    /// How many bodies the entry has.
    pub fn bodies(&self) -> usize {
        match self {
            Self::Shard(commands) => commands.iter().map(Command::bodies).sum(),
            Self::Catalogue(_) => 0,
        }
    }
}

/// A decoded entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The leader's stamp, Unix milliseconds.
    pub stamp_ms: u64,
    /// The meaning of commands that this entry was written for.
    pub engine_version: u32,
    /// The commands, in order.
    pub commands: Commands,
}

fn damaged(place: String, detail: &str) -> StoreError {
    StoreError::Damaged { place, detail: detail.into() }
}

/// Writes an entry.
pub fn encode(stamp_ms: u64, commands: &Commands, bodies: &[Bytes]) -> Vec<u8> {
    debug_assert_eq!(commands.bodies(), bodies.len());
    let mut header = Writer::default();
    header.int(stamp_ms).int(u64::from(ENGINE_VERSION));
    match commands {
        Commands::Shard(commands) => {
            header.int(commands.len() as u64);
            commands.iter().for_each(|command| command.encode(&mut header));
        }
        Commands::Catalogue(commands) => {
            header.int(commands.len() as u64);
            commands.iter().for_each(|command| command.encode(&mut header));
        }
    }
    let body_bytes: usize = bodies.iter().map(|body| 4 + BODY_PREFIX + body.len()).sum();
    let mut data = Vec::with_capacity(9 + header.bytes.len() + body_bytes);
    put_header(&mut data, &header.bytes);
    for body in bodies {
        data.put_u32((BODY_PREFIX + body.len()) as u32);
    }
    for body in bodies {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&[PLAIN_BODY]), body);
        data.put_u8(PLAIN_BODY);
        data.put_u32(crc);
        data.put_slice(body);
    }
    data
}

fn put_header(data: &mut Vec<u8>, header: &[u8]) {
    data.put_u8(FORMAT);
    data.put_u32(header.len() as u32);
    data.put_u32(crc32c::crc32c(header));
    data.put_slice(header);
}

/// The parts of an entry's data, which share its memory.
struct Parts {
    /// Format, length, checksum and header.
    head: Bytes,
    /// Lengths of the bodies, and the bodies.
    tail: Bytes,
}

fn split(data: &Bytes, place: &dyn Fn() -> String) -> Result<Parts, StoreError> {
    let mut rest = data.clone();
    if rest.len() < 9 || rest.get_u8() != FORMAT {
        return Err(damaged(place(), "unknown entry format"));
    }
    let header_bytes = rest.get_u32() as usize;
    let crc = rest.get_u32();
    if header_bytes > rest.len() || crc32c::crc32c(&rest[..header_bytes]) != crc {
        return Err(damaged(place(), "checksum mismatch in an entry header"));
    }
    Ok(Parts { head: data.slice(..9 + header_bytes), tail: data.slice(9 + header_bytes..) })
}

fn decode_header(head: &[u8], is_catalogue: bool, place: &dyn Fn() -> String) -> Result<Entry, StoreError> {
    let mut from = Reader::new(&head[9..], "an entry header");
    let broken = |error: DecodeError| damaged(place(), &error.to_string());
    let stamp_ms = from.int().map_err(broken)?;
    let engine_version = from.int32().map_err(broken)?;
    // Its commands may be ones that cannot be read here.
    if engine_version > ENGINE_VERSION {
        let detail = format!(
            "written for engine version {engine_version}, this broker knows {ENGINE_VERSION}: use the newer broker"
        );
        return Err(damaged(place(), &detail));
    }
    let commands = decode_commands(&mut from, is_catalogue).map_err(broken)?;
    Ok(Entry { stamp_ms, engine_version, commands })
}

fn decode_commands(from: &mut Reader<'_>, is_catalogue: bool) -> Result<Commands, DecodeError> {
    let count = from.int()?;
    let mut shard = Vec::new();
    let mut catalogue = Vec::new();
    for _ in 0..count {
        if is_catalogue {
            catalogue.push(CatalogueCommand::decode(from)?);
        } else {
            shard.push(Command::decode(from)?);
        }
    }
    let commands = if is_catalogue { Commands::Catalogue(catalogue) } else { Commands::Shard(shard) };
    // The position of a body in its entry is a part of the message's address.
    if commands.bodies() > ENTRY_BODIES_MAX {
        return Err(from.error());
    }
    Ok(commands)
}

/// Reads an entry: its commands, and its body rows in order (empty: not needed any more).
///
/// # Errors
/// When the data is damaged, or written for a newer engine.
pub fn decode(data: &Bytes, is_catalogue: bool, index: u64) -> Result<(Entry, Vec<Bytes>), StoreError> {
    let place = || format!("log entry {index}");
    let parts = split(data, &place)?;
    let entry = decode_header(&parts.head, is_catalogue, &place)?;
    let count = entry.commands.bodies();
    let mut lengths = parts.tail.clone();
    let mut at = 4 * count;
    let mut bodies = Vec::with_capacity(count);
    for _ in 0..count {
        if lengths.len() < 4 {
            return Err(damaged(place(), "body lengths cut off"));
        }
        let end = at + lengths.get_u32() as usize;
        if end > parts.tail.len() {
            return Err(damaged(place(), "bodies cut off"));
        }
        bodies.push(parts.tail.slice(at..end));
        at = end;
    }
    Ok((entry, bodies))
}

/// The bytes of the message in a body row.
///
/// # Errors
/// When the row is damaged or of a newer format.
pub fn message_of(body: &Bytes, place: &dyn Fn() -> String) -> Result<Bytes, StoreError> {
    if body.len() < BODY_PREFIX || body[0] != PLAIN_BODY {
        return Err(damaged(place(), "unknown body format"));
    }
    let mut rest = body.slice(1..);
    let crc = rest.get_u32();
    if crc32c::crc32c_append(crc32c::crc32c(&body[..1]), &rest) != crc {
        return Err(damaged(place(), "checksum mismatch in a message body"));
    }
    Ok(rest)
}

/// The header row of an entry, and its body rows.
///
/// # Errors
/// When the data is damaged.
pub fn rows(entry: &eraftpb::Entry, is_catalogue: bool) -> Result<(Bytes, Vec<Bytes>), StoreError> {
    let mut row = BytesMut::with_capacity(10 + 128);
    row.put_u8(ROW_FORMAT);
    row.put_u64(entry.term);
    row.put_u8(entry.get_entry_type() as u8);
    if entry.data.is_empty() {
        return Ok((row.freeze(), Vec::new()));
    }
    let place = || format!("log entry {}", entry.index);
    let (_, bodies) = decode(&entry.data, is_catalogue, entry.index)?;
    row.put_slice(&split(&entry.data, &place)?.head);
    Ok((row.freeze(), bodies))
}

/// The term that a header row names.
///
/// # Errors
/// When the row is damaged.
pub fn term_of(row: &Bytes, index: u64) -> Result<u64, StoreError> {
    if row.len() < 10 || row[0] != ROW_FORMAT {
        return Err(damaged(format!("log entry {index}"), "unknown format of a header row"));
    }
    Ok((&row[1..9]).get_u64())
}

/// Puts an entry together from its rows; `body` reads the row of a position.
///
/// # Errors
/// When a row is damaged.
pub fn from_rows(
    row: &Bytes,
    index: u64,
    is_catalogue: bool,
    mut body: impl FnMut(u16) -> Option<Bytes>,
) -> Result<eraftpb::Entry, StoreError> {
    let place = || format!("log entry {index}");
    let mut entry = eraftpb::Entry { term: term_of(row, index)?, index, ..eraftpb::Entry::default() };
    let kind = match row[9] {
        0 => eraftpb::EntryType::EntryNormal,
        1 => eraftpb::EntryType::EntryConfChange,
        2 => eraftpb::EntryType::EntryConfChangeV2,
        _ => return Err(damaged(place(), "unknown entry type")),
    };
    entry.set_entry_type(kind);
    let head = row.slice(10..);
    if !head.is_empty() {
        split(&head, &place)?;
        let commands = decode_header(&head, is_catalogue, &place)?.commands;
        let bodies: Vec<Bytes> =
            (0..commands.bodies() as u16).map(|position| body(position).unwrap_or_default()).collect();
        let mut data = BytesMut::from(&head[..]);
        bodies.iter().for_each(|body| data.put_u32(body.len() as u32));
        bodies.iter().for_each(|body| data.put_slice(body));
        entry.data = data.freeze();
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use cmq_engine::attributes::QueueId;
    use cmq_engine::command::NewMessage;

    use super::*;

    fn send(count: usize) -> (Commands, Vec<Bytes>) {
        let message = NewMessage { bytes: 3, delay_ms: None, group: None, deduplication: None };
        let command = Command::Send { queue: QueueId(7), messages: vec![message; count] };
        let bodies = (0..count).map(|n| Bytes::from(format!("m{n}"))).collect();
        (Commands::Shard(vec![Command::Expire, command]), bodies)
    }

    #[test]
    fn an_entry_survives_its_rows() {
        let (commands, bodies) = send(3);
        let data = encode(42, &commands, &bodies);
        let entry = eraftpb::Entry { term: 9, index: 5, data: data.into(), ..Default::default() };
        let (header, body_rows) = rows(&entry, false).unwrap();
        assert_eq!(term_of(&header, 5).unwrap(), 9);
        let again = from_rows(&header, 5, false, |at| body_rows.get(usize::from(at)).cloned()).unwrap();
        assert_eq!(again, entry);
        let (decoded, rows) = decode(&again.data, false, 5).unwrap();
        assert_eq!(decoded, Entry { stamp_ms: 42, engine_version: ENGINE_VERSION, commands });
        for (row, body) in rows.iter().zip(&bodies) {
            assert_eq!(message_of(row, &String::new).unwrap(), body);
        }
    }

    #[test]
    fn a_body_that_is_gone_reads_as_empty() {
        let (commands, bodies) = send(2);
        let entry =
            eraftpb::Entry { index: 5, data: encode(1, &commands, &bodies).into(), ..Default::default() };
        let (header, body_rows) = rows(&entry, false).unwrap();
        let again = from_rows(&header, 5, false, |at| (at == 1).then(|| body_rows[1].clone())).unwrap();
        let (_, rows) = decode(&again.data, false, 5).unwrap();
        assert!(rows[0].is_empty());
        assert_eq!(message_of(&rows[1], &String::new).unwrap(), bodies[1]);
    }

    #[test]
    fn an_entry_has_as_many_bodies_as_there_are_positions() {
        let send = |count| {
            let (Commands::Shard(mut commands), bodies) = send(count) else { panic!("of a shard") };
            commands.push(commands[1].clone());
            let bodies = [&bodies[..], &bodies[..]].concat();
            let data: Bytes = encode(1, &Commands::Shard(commands), &bodies).into();
            decode(&data, false, 1).map(|(_, rows)| rows.len())
        };
        assert_eq!(send(ENTRY_BODIES_MAX / 2).unwrap(), ENTRY_BODIES_MAX);
        assert!(matches!(send(ENTRY_BODIES_MAX / 2 + 1), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn an_entry_of_a_newer_engine_is_refused_unread() {
        let mut header = Writer::default();
        header.int(1).int(u64::from(ENGINE_VERSION) + 1).bytes.extend_from_slice(&[1, 0xff]);
        let mut data = Vec::new();
        put_header(&mut data, &header.bytes);
        let error = decode(&data.into(), false, 1).unwrap_err().to_string();
        assert!(error.contains("this broker knows 1: use the newer broker"), "{error}");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (commands, bodies) = send(2);
        let data = encode(1, &commands, &bodies);
        for bit in 0..data.len() * 8 {
            let mut flipped = data.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let intact = decode(&flipped.into(), false, 1)
                .and_then(|(entry, rows)| {
                    rows.iter()
                        .map(|row| message_of(row, &String::new))
                        .collect::<Result<Vec<_>, _>>()
                        .map(|b| (entry, b))
                })
                .is_ok_and(|(entry, found)| entry.commands == commands && found == bodies);
            assert!(!intact, "bit {bit}");
        }
    }
}
