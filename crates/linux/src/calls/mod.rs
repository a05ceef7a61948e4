//! System calls by family: tables of rows, and the functions of those that need one.

mod process;

use crate::row::Row;

/// All tables.
pub(crate) const FAMILIES: &[&[Row]] = &[process::ROWS];
