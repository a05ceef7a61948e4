//! Arbitrary bytes as code of either guest.
#![cfg_attr(fuzzing, no_main)]

mynah_testkit::fuzz_target!(|_options| Ok::<_, String>(mynah_testkit::fuzz::decode::DecodeTarget));
