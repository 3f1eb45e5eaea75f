//! How requests of many queues share a place that is bounded.

/// What of a bounded place is taken, by one queue or by all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

impl Share {
    /// Whether one more request of so many bytes may come in, where `total` of `max` is taken.
    ///
    /// A queue may take as much as it leaves free: one alone half of the place, the second still a quarter, and a quiet
    /// one finds room beside however many busy ones. A first request needs no more than room.
    pub(crate) fn may_take(self, bytes: usize, total: Self, max: Self) -> bool {
        let free = Self {
            requests: max.requests.saturating_sub(total.requests),
            bytes: max.bytes.saturating_sub(total.bytes),
        };
        let is_within = self.requests < free.requests && self.bytes + bytes <= free.bytes;
        is_within || self.is_empty() && free.requests > 0 && bytes <= free.bytes
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.requests += 1;
        self.bytes += bytes;
    }

    pub(crate) fn remove(&mut self, bytes: usize) {
        self.requests -= 1;
        self.bytes -= bytes;
    }

    pub(crate) fn is_empty(self) -> bool {
        self.requests == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Share = Share { requests: 16, bytes: 1_600 };

    /// Fills the place by one queue after the other, each as far as it may; says what each got.
    fn fill(queues: usize, bytes: usize) -> Vec<usize> {
        let mut total = Share::default();
        let fill_one = |_| {
            let mut own = Share::default();
            while own.may_take(bytes, total, MAX) {
                own.add(bytes);
                total.add(bytes);
            }
            own.requests
        };
        (0..queues).map(fill_one).collect()
    }

    #[test]
    fn a_queue_takes_as_much_as_it_leaves_free() {
        assert_eq!(fill(6, 1), [8, 4, 2, 1, 1, 0]);
        assert_eq!(fill(6, 100), [8, 4, 2, 1, 1, 0], "bytes as requests");
        assert_eq!(fill(2, 1_600), [1, 0], "one that needs all the room gets it when nobody has any");
        assert_eq!(fill(1, 1_601), [0]);
    }
}
