//! Random blocks: every pass and tier against the IR as lifted.
#![cfg_attr(fuzzing, no_main)]

mynah_testkit::fuzz_target!(|options| mynah_testkit::fuzz::tiers::TiersTarget::new(&options.only));
