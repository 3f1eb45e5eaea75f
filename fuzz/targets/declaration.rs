#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cmq_broker::fuzzing::run("declaration", input));
