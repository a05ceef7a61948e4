//! What the passes make of small blocks, in text form. That they keep the meaning is tested with
//! the interpreter.

use mynah_guest::toy::Toy;
use mynah_guest::{Guest, GuestNames};
use mynah_ir::{Block, parse, print, verify};

/// Checks that `pass` makes `after` of `before`; both are without their first two lines.
fn check(pass: fn(&mut Block), before: &str, after: &str) {
    let names = GuestNames::<Toy>::new();
    let text = |body| format!("block 0x1000 mode 0x0 len 4 insts 1\ninsn 0x1000\n{body}");
    let mut block = parse(&text(before), &names).unwrap_or_else(|e| panic!("{e}\n{before}"));
    verify(&block, Toy::SLOTS).unwrap_or_else(|e| panic!("{e}\n{before}"));
    pass(&mut block);
    let expected = parse(&text(after), &names).unwrap_or_else(|e| panic!("{e}\n{after}"));
    verify(&block, Toy::SLOTS).unwrap_or_else(|e| panic!("{e}\n{}", print(&block, &names)));
    assert_eq!(print(&block, &names), print(&expected, &names));
}

fn optimised(before: &str, after: &str) {
    check(mynah_opt::optimise::<Toy>, before, after);
}

#[test]
fn overwritten_sets_go_unless_something_may_see_them() {
    check(
        mynah_opt::dead::<Toy>,
        "v1 = get.i64 r0
         set.i64 r1 v1
         set.i64 r2 v1
         v4 = load.i64 v1 tso
         set.i64 r1 v4
         set.i64 r2 v1
         insn 0x1001
         set.i64 r2 v4
         jump 0x1004",
        "v1 = get.i64 r0
         set.i64 r1 v1
         set.i64 r2 v1
         v4 = load.i64 v1 tso
         set.i64 r1 v4
         insn 0x1001
         set.i64 r2 v4
         jump 0x1004",
    );
}

#[test]
fn helpers_see_what_they_read() {
    check(
        mynah_opt::dead::<Toy>,
        "v1 = iconst.i64 0x1
         set.i64 r0 v1
         set.i64 r3 v1
         v4 = call swap
         v5 = call mix v1
         set.i64 r0 v1
         set.i64 r3 v4
         jump 0x1004",
        "v1 = iconst.i64 0x1
         set.i64 r0 v1
         v3 = call swap
         set.i64 r0 v1
         set.i64 r3 v3
         jump 0x1004",
    );
}

#[test]
fn state_is_forwarded() {
    optimised(
        "v1 = iconst.i64 0x5
         set.i64 r0 v1
         v3 = get.i64 r0
         v4 = get.i64 r1
         v5 = add.i64 v4 v3
         v6 = get.i64 r1
         v7 = add.i64 v6 v1
         set.i64 r2 v5
         set.i64 r3 v7
         set.i64 r1 v4
         jump 0x1004",
        "v1 = iconst.i64 0x5
         set.i64 r0 v1
         v3 = get.i64 r1
         v4 = add.i64 v3 v1
         set.i64 r2 v4
         set.i64 r3 v4
         jump 0x1004",
    );
}

#[test]
fn conversions_fold() {
    optimised(
        "v1 = get.i64 r0
         v2 = trunc.i32 v1
         v3 = zext.i64 v2
         v4 = trunc.i8 v3
         v5 = trunc.i32 v3
         v6 = sext.i32 v4 i8
         v7 = sext.i64 v6 i32
         v8 = zext.i64 v5
         set.i64 r1 v7
         set.i64 r2 v8
         jump 0x1004",
        "v1 = get.i64 r0
         v2 = trunc.i32 v1
         v3 = zext.i64 v2
         v4 = trunc.i8 v1
         v5 = sext.i64 v4 i8
         set.i64 r1 v5
         set.i64 r2 v3
         jump 0x1004",
    );
}

#[test]
fn comparisons_lose_their_wrapping() {
    optimised(
        "v1 = get.i64 r0
         v2 = get.i64 r1
         v3 = sub.i64 v1 v2
         v4 = iconst.i64 0x0
         v5 = eq.i64 v3 v4
         v6 = zext.i8 v5
         v7 = iconst.i8 0x0
         v8 = eq.i8 v6 v7
         v9 = not.i1 v8
         v10 = not.i1 v9
         branch v10 0x1000 0x1004",
        "v1 = get.i64 r0
         v2 = get.i64 r1
         v3 = ne.i64 v1 v2
         branch v3 0x1000 0x1004",
    );
}

#[test]
fn constants_gather() {
    optimised(
        "v1 = get.i64 r0
         v2 = iconst.i64 0x8
         v3 = sub.i64 v1 v2
         v4 = sub.i64 v3 v2
         v5 = iconst.i64 0x10
         v6 = mul.i64 v5 v4
         set.i64 r0 v6
         v8 = ult.i64 v2 v5
         branch v8 0x1000 0x1004",
        "v1 = get.i64 r0
         v2 = iconst.i64 0xfffffffffffffff0
         v3 = add.i64 v1 v2
         v4 = iconst.i64 0x4
         v5 = shl.i64 v3 v4
         set.i64 r0 v5
         jump 0x1000",
    );
}

#[test]
fn floating_point_keeps_its_flags() {
    optimised(
        "v1 = iconst.f64 0x3ff0000000000000
         v2 = fdiv.f64 v1 v1
         jump 0x1004",
        "v1 = iconst.f64 0x3ff0000000000000
         v2 = fdiv.f64 v1 v1
         jump 0x1004",
    );
}
