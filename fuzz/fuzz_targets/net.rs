//! A hostile guest on the network.
#![cfg_attr(fuzzing, no_main)]

mynah_testkit::fuzz_target!(|_options| Ok::<_, String>(mynah_testkit::fuzz::net::NetTarget));
