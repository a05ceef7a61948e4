//! Random x86 instructions and states: the host CPU against tier 0.
#![cfg_attr(fuzzing, no_main)]

mynah_testkit::fuzz_target!(|options| mynah_testkit::fuzz::insn::InsnTarget::new(&options.only));
