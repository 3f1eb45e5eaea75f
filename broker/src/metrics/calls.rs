//! Calls of a wire protocol, by action and outcome code.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use super::{NAMESPACE, register};

/// Upper bounds in seconds. Sends take a flush of the disk, long polls up to 30 s.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 5.0, 31.0];
/// Label of calls whose action or code is not in the lists.
const OTHER: &str = "other";

/// Counts calls and their time. Actions and codes are known beforehand: a call costs no look-up by name, and nothing that a
/// client sends can add a time series.
#[derive(Debug)]
pub struct CallMetrics {
    requests: IntCounterVec,
    /// By action, the last one for what is no action.
    seconds: Vec<Histogram>,
    actions: Vec<&'static str>,
    codes: Vec<(u32, &'static str)>,
    /// By action, then code; made at the first use, so that combinations that never occur are not shown.
    counters: Vec<OnceLock<IntCounter>>,
}

impl CallMetrics {
    /// Registers the metrics of a protocol, once per registry. Codes come with their label.
    pub fn new(
        registry: &Registry,
        api: &str,
        actions: impl IntoIterator<Item = &'static str>,
        codes: impl IntoIterator<Item = (u32, &'static str)>,
    ) -> Self {
        let actions: Vec<_> = actions.into_iter().chain([OTHER]).collect();
        let codes: Vec<_> = codes.into_iter().collect();
        let requests = Opts::new("api_requests_total", "Calls by action and outcome code of the protocol.")
            .namespace(NAMESPACE)
            .const_label("api", api);
        let requests = register(registry, IntCounterVec::new(requests, &["action", "code"]));
        let seconds = HistogramOpts::new("api_request_seconds", "From the head of a request to its answer.")
            .namespace(NAMESPACE)
            .const_label("api", api)
            .buckets(SECONDS.to_vec());
        let seconds = register(registry, HistogramVec::new(seconds, &["action"]));
        let seconds = actions.iter().map(|action| seconds.with_label_values(&[action])).collect();
        let counters = (0..actions.len() * (codes.len() + 1)).map(|_| OnceLock::new()).collect();
        Self { requests, seconds, actions, codes, counters }
    }

    /// Counts a call. `action` is its number in the list; None, or one beyond the list, counts as other.
    pub fn record(&self, action: Option<usize>, code: u32, took: Duration) {
        let other = self.actions.len() - 1;
        let action = action.map_or(other, |action| action.min(other));
        let position = self.codes.iter().position(|&(known, _)| known == code).unwrap_or(self.codes.len());
        let counter = self.counters[action * (self.codes.len() + 1) + position].get_or_init(|| {
            let code = self.codes.get(position).map_or(OTHER, |&(_, label)| label);
            self.requests.with_label_values(&[self.actions[action], code])
        });
        counter.inc();
        self.seconds[action].observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn counts_by_action_and_code() {
        let registry = Registry::new();
        let calls = CallMetrics::new(&registry, "toy", ["Push", "Pop"], [(0, "0"), (7000, "7000")]);
        calls.record(Some(0), 0, Duration::from_millis(3));
        calls.record(Some(1), 7000, Duration::from_secs(20));
        calls.record(Some(1), 7000, Duration::from_secs(40));
        calls.record(Some(9), 12345, Duration::ZERO);
        calls.record(None, 0, Duration::ZERO);
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            r#"cmq_api_requests_total{action="Push",api="toy",code="0"} 1"#,
            r#"cmq_api_requests_total{action="Pop",api="toy",code="7000"} 2"#,
            r#"cmq_api_requests_total{action="other",api="toy",code="other"} 1"#,
            r#"cmq_api_requests_total{action="other",api="toy",code="0"} 1"#,
            r#"cmq_api_request_seconds_bucket{action="Push",api="toy",le="0.002"} 0"#,
            r#"cmq_api_request_seconds_bucket{action="Push",api="toy",le="0.004"} 1"#,
            r#"cmq_api_request_seconds_bucket{action="Pop",api="toy",le="31"} 1"#,
            r#"cmq_api_request_seconds_count{action="Pop",api="toy"} 2"#,
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#"action="Push",api="toy",code="7000""#), "{text}");
    }
}
