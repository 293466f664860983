#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerchat_fuzz::archive::target(data));
