//! A hostile guest at disks and virtio devices.
#![cfg_attr(fuzzing, no_main)]

mynah_testkit::fuzz_target!(|_options| Ok::<_, String>(mynah_testkit::fuzz::disks::DisksTarget));
