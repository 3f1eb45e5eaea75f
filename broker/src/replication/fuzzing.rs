//! Log entries and what the log keeps of itself.

use bytes::Bytes;
use raft::eraftpb::{self, HardState};

use super::entry::{self, Commands};
use super::log::{self, Progress};
use crate::fuzzing::Target;

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "log_entry", run: log_entry, seeds: log_entries },
    Target {
        name: "message_body",
        run: message_body,
        seeds: || vec![body(b"hello"), body(b""), body(&[0xff; 300])],
    },
    Target { name: "log_progress", run: log_progress, seeds: progresses },
];

fn body(bytes: &'static [u8]) -> Vec<u8> {
    let send = crate::fuzzing::sends(1);
    let data = entry::encode(1, &Commands::Shard(send), &[Bytes::from_static(bytes)]);
    let (_, bodies) = entry::decode(&data.into(), false, 1).expect("an entry that was just written");
    bodies[0].to_vec()
}

/// The first byte says whether it is an entry of the catalogue.
fn log_entries() -> Vec<Vec<u8>> {
    let bodies: Vec<Bytes> = (0..3).map(|at| Bytes::from(vec![at; 40])).collect();
    let shard = Commands::Shard(crate::fuzzing::sends(3));
    let catalogue = Commands::Catalogue(crate::fuzzing::catalogue_commands());
    vec![
        [vec![0], entry::encode(1_700_000_000_000, &shard, &bodies)].concat(),
        [vec![1], entry::encode(1, &catalogue, &[])].concat(),
    ]
}

fn log_entry(input: &[u8]) {
    let Some((is_catalogue, data)) = input.split_first() else { return };
    let is_catalogue = is_catalogue % 2 == 1;
    let data = Bytes::copy_from_slice(data);
    check_entry(&data, is_catalogue);
    // The checksum would keep all that is bent away from what is behind it.
    if data.len() >= 9 {
        let mut mended = data.to_vec();
        let length = u32::from_be_bytes([data[1], data[2], data[3], data[4]]) as usize % (data.len() - 8);
        mended[1..5].copy_from_slice(&(length as u32).to_be_bytes());
        let crc = crc32c::crc32c(&mended[9..9 + length]);
        mended[5..9].copy_from_slice(&crc.to_be_bytes());
        check_entry(&mended.into(), is_catalogue);
    }
}

fn check_entry(data: &Bytes, is_catalogue: bool) {
    let raft = eraftpb::Entry { term: 3, index: 9, data: data.clone(), ..Default::default() };
    let rows = entry::rows(&raft, is_catalogue);
    match entry::decode(data, is_catalogue, 9) {
        Err(_) => assert!(data.is_empty() || rows.is_err()),
        Ok((read, bodies)) => {
            assert_eq!(read.commands.bodies(), bodies.len());
            let (header, kept) = rows.expect("an entry that can be read has rows");
            assert_eq!(kept, bodies);
            let again = entry::from_rows(&header, 9, is_catalogue, |at| kept.get(usize::from(at)).cloned());
            let again = again.expect("rows that were just made");
            assert_eq!((again.term, again.index), (3, 9));
            assert_eq!(
                entry::decode(&again.data, is_catalogue, 9).ok(),
                Some((read.clone(), bodies.clone()))
            );
            let messages: Result<Vec<Bytes>, _> =
                bodies.iter().map(|body| entry::message_of(body, &|| "a body".into())).collect();
            if let Ok(messages) = messages {
                let again = entry::encode(read.stamp_ms, &read.commands, &messages);
                let (same, again) = entry::decode(&again.into(), is_catalogue, 9).expect("what was written");
                assert_eq!((same.stamp_ms, same.commands, again), (read.stamp_ms, read.commands, bodies));
            }
        }
    }
}

fn message_body(input: &[u8]) {
    let row = Bytes::copy_from_slice(input);
    if let Ok(message) = entry::message_of(&row, &|| "a body".into()) {
        assert!(message.len() < row.len());
    }
}

/// The first byte says which of the two rows it is.
fn progresses() -> Vec<Vec<u8>> {
    let progress = Progress {
        incarnation: 2,
        clean_from: 1,
        applied: (1 << 40, 7),
        truncated: (5, 6),
        voters: vec![1, 2, u64::MAX],
    };
    let state = HardState { term: 9, vote: 2, commit: 1 << 33, ..HardState::default() };
    vec![[&[0], &progress.encode()[..]].concat(), [&[1], &log::encode_hard_state(&state)[..]].concat()]
}

fn log_progress(input: &[u8]) {
    let Some((kind, row)) = input.split_first() else { return };
    if kind % 2 == 0 {
        if let Ok(progress) = Progress::decode(row) {
            assert!(progress.voters.len() <= row.len());
            assert_eq!(Progress::decode(&progress.encode()), Ok(progress));
        }
    } else if let Ok(state) = log::decode_hard_state(row) {
        assert_eq!(log::decode_hard_state(&log::encode_hard_state(&state)), Ok(state));
    }
}
