//! Signal numbers: gdb's are its own (include/gdb/signals.def), those of programs are Linux's.

use gdbstub::common::Signal;

/// gdb's number for each of Linux's from 1 on.
const NUMBERS: [u8; 31] = [
    1, 2, 3, 4, 5, 6, 10, 8, 9, 30, 11, 31, 13, 14, 15, 143, 20, 19, 17, 18, 21, 22, 16, 24, 25,
    26, 27, 28, 23, 32, 12,
];

/// Linux's signal `number` as gdb knows it.
pub(super) fn to_gdb(number: i32) -> Signal {
    Signal(match number {
        1..32 => NUMBERS[number as usize - 1],
        32 => 77,
        33..64 => number as u8 + 12,
        64 => 78,
        _ => 143,
    })
}

/// gdb's signal as Linux knows it.
pub(super) fn from_gdb(signal: Signal) -> Option<i32> {
    (1..=64).find(|&number| to_gdb(number) == signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_there_and_back() {
        assert!((1..=64).filter(|&n| n != 16).all(|n| from_gdb(to_gdb(n)) == Some(n)));
        let some = [(7, Signal::SIGBUS), (17, Signal::SIGCHLD), (31, Signal::SIGSYS)];
        assert!(some.iter().all(|&(n, signal)| to_gdb(n) == signal));
        assert_eq!((to_gdb(34), to_gdb(63)), (Signal::SIG34, Signal::SIG63));
    }
}
