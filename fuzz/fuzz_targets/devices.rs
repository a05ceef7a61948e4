//! A hostile guest at the devices of a PC.
#![cfg_attr(fuzzing, no_main)]

mynah_testkit::fuzz_target!(|_options| Ok::<_, String>(
    mynah_testkit::fuzz::devices::DevicesTarget
));
