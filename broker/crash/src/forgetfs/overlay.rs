//! What was written to a file since its last sync: what a reader sees, and the writes in their order.

use std::collections::BTreeMap;

use bytes::Bytes;

/// One unsynced change of a file's content, in the order in which the program made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// Bytes at an offset.
    Write { offset: u64, data: Bytes },
    /// The file was cut or grown to this size.
    Resize(u64),
}

/// Unsynced content of one file. Extents never overlap and are never empty.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    extents: BTreeMap<u64, Bytes>,
    edits: Vec<Edit>,
    bytes: u64,
}

impl Overlay {
    /// Whether nothing changed since the last sync.
    pub(super) fn is_clean(&self) -> bool {
        self.edits.is_empty()
    }

    /// The unsynced changes, oldest first.
    pub(super) fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// Bytes of all unsynced writes, overwritten ones included: what this overlay costs in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The dirty ranges, ascending.
    pub(super) fn extents(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        self.extents.iter().map(|(offset, data)| (*offset, data))
    }

    /// Records a write.
    pub(super) fn write(&mut self, offset: u64, data: Bytes) {
        if data.is_empty() {
            return;
        }
        self.clear_range(offset, offset + data.len() as u64);
        self.extents.insert(offset, data.clone());
        self.bytes += data.len() as u64;
        self.edits.push(Edit::Write { offset, data });
    }

    /// Records a change of size; what lay beyond it is no longer read.
    pub(super) fn resize(&mut self, size: u64) {
        self.clear_range(size, u64::MAX);
        self.edits.push(Edit::Resize(size));
    }

    /// Lays the unsynced bytes over `buffer`, which holds the file from `offset` on.
    pub(super) fn read_into(&self, offset: u64, buffer: &mut [u8]) {
        let end = offset + buffer.len() as u64;
        let first = self.extents.range(..=offset).next_back().map_or(offset, |(start, _)| *start);
        for (start, data) in self.extents.range(first..end) {
            let from = (*start).max(offset);
            let to = (start + data.len() as u64).min(end);
            if from < to {
                let source = &data[(from - start) as usize..(to - start) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            }
        }
    }

    /// Forgets everything: it is synced, or it is lost.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn clear_range(&mut self, from: u64, to: u64) {
        if let Some((start, data)) = self.extents.range(..from).next_back() {
            let (start, data) = (*start, data.clone());
            let end = start + data.len() as u64;
            if end > from {
                self.extents.insert(start, data.slice(..(from - start) as usize));
            }
            if end > to {
                self.extents.insert(to, data.slice((to - start) as usize..));
            }
        }
        let covered: Vec<u64> = self.extents.range(from..to).map(|(start, _)| *start).collect();
        for start in covered {
            let Some(data) = self.extents.remove(&start) else { continue };
            if start + data.len() as u64 > to {
                self.extents.insert(to, data.slice((to - start) as usize..));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The overlay against a plain byte vector, over random writes and resizes.
    #[test]
    fn agrees_with_a_plain_file() {
        const SPACE: usize = 200;
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut overlay = Overlay::default();
            let mut model = [0u8; SPACE];
            for _ in 0..30 {
                let offset = random.usize(0..SPACE);
                if random.u8(0..8) == 0 {
                    overlay.resize(offset as u64);
                    model[offset..].fill(0);
                } else {
                    let data = vec![random.u8(1..); random.usize(1..=SPACE - offset)];
                    model[offset..offset + data.len()].copy_from_slice(&data);
                    overlay.write(offset as u64, Bytes::from(data));
                }
                let from = random.usize(0..SPACE);
                let mut seen = vec![0u8; random.usize(0..=SPACE - from)];
                overlay.read_into(from as u64, &mut seen);
                assert_eq!(seen, model[from..from + seen.len()]);
                let mut end = 0;
                for (start, data) in overlay.extents() {
                    assert!(start >= end && !data.is_empty(), "extents overlap or are empty");
                    end = start + data.len() as u64;
                }
            }
        }
    }
}
