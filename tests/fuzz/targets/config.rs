//! Configuration files. The rule is in `larder_fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| larder_fuzz::config(input));
