#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerchat_fuzz::letters::target(data));
