//! Mynah.
