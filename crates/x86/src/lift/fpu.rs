//! Placeholder of a family that has not arrived.

use super::Lift;
use iced_x86::Mnemonic;

pub(super) fn lift(_l: &mut Lift<'_>, _mnemonic: Mnemonic) -> bool {
    false
}
