//! User networking.
