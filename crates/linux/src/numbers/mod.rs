//! System-call numbers: facts of the kernel's headers, by architecture.

mod common;
mod riscv64;
mod x86_64;

pub(crate) use riscv64::NUMBERS as RISCV64;
pub(crate) use x86_64::NUMBERS as X86_64;

/// An architecture's own system calls: number and name, by ascending number.
pub(crate) type Numbers = &'static [(u16, &'static str)];

/// The numbers of the host Mynah runs on.
#[cfg(target_arch = "x86_64")]
pub(crate) const HOST: Numbers = X86_64;
/// The numbers of the host Mynah runs on.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const HOST: Numbers = RISCV64;

/// An architecture's own system calls and those of all, by ascending number.
pub(crate) fn all(numbers: Numbers) -> impl Iterator<Item = &'static (u16, &'static str)> {
    numbers.iter().chain(common::NUMBERS)
}

/// The name of call `number`.
pub(crate) fn name(numbers: Numbers, number: u64) -> Option<&'static str> {
    let numbers = if number < common::FIRST { numbers } else { common::NUMBERS };
    let index = numbers.binary_search_by_key(&number, |&(n, _)| n.into()).ok()?;
    Some(numbers[index].1)
}

/// The number of call `name`.
pub(crate) fn number(numbers: Numbers, name: &str) -> Option<u16> {
    all(numbers).find(|(_, n)| *n == name).map(|(n, _)| *n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascending_and_found() {
        for numbers in [X86_64, RISCV64] {
            assert!(numbers.iter().all(|(n, _)| u64::from(*n) < common::FIRST));
            assert!(all(numbers).is_sorted_by_key(|(n, _)| *n));
            for &(n, name_) in all(numbers) {
                assert_eq!(name(numbers, n.into()), Some(name_));
                assert_eq!(number(numbers, name_), Some(n));
            }
        }
        assert_eq!(number(HOST, "getpid"), Some(libc::SYS_getpid as u16));
    }
}
