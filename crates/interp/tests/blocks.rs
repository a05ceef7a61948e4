//! Blocks in text form, run by the interpreter.

use mynah_guest::toy::Toy;
use mynah_guest::{Cause, Cpu, Fault, GuestNames};
use mynah_interp::{Code, JumpCache, Leave, Outcome, eval, flatten, run};
use mynah_ir::{Trap, parse, verify};
use mynah_mem::Flat;

fn cpu() -> Box<Cpu<Toy>> {
    mynah_mem::host::signal::install(None);
    let mut cpu = Cpu::<Toy>::new(Flat);
    for (i, r) in cpu.state.r.iter_mut().enumerate() {
        *r = 0x1111_1111_1111_1111 * (i as u64 + 1);
    }
    cpu
}

fn block(body: &str) -> mynah_ir::Block {
    use mynah_guest::Guest;
    let text = format!("block 0x1000 mode 0x0 len 4 insts 1\ninsn 0x1000\n{body}");
    let block = parse(&text, &GuestNames::<Toy>::new()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify(&block, Toy::SLOTS).unwrap_or_else(|e| panic!("{e}\n{text}"));
    block
}

fn eval_text(cpu: &mut Cpu<Toy>, body: &str) -> Outcome {
    eval(&block(body), cpu).expect("a small block")
}

#[test]
fn sets_are_simultaneous_where_the_values_were_read_before() {
    let mut cpu = cpu();
    let before = cpu.state.r;
    let outcome = eval_text(
        &mut cpu,
        "v1 = get.i64 r0
         v2 = get.i64 r1
         v3 = add.i64 v1 v2
         set.i64 r0 v2
         set.i64 r1 v1
         set.i64 r2 v3
         jump 0x2000",
    );
    assert_eq!(outcome, Outcome::Pc);
    assert_eq!(cpu.core.pc, 0x2000);
    assert_eq!(cpu.state.r[..3], [before[1], before[0], before[0] + before[1]]);
}

#[test]
fn narrow_values_are_cut_and_extended() {
    let mut cpu = cpu();
    cpu.state.r[0] = 0xffff_ffff_8000_00ff;
    eval_text(
        &mut cpu,
        "v1 = get.i64 r0
         v2 = trunc.i8 v1
         v3 = zext.i64 v2
         set.i64 r1 v3
         v5 = trunc.i32 v1
         v6 = iconst.i32 0x1
         v7 = add.i32 v5 v6
         v8 = sext.i64 v7 i32
         set.i64 r2 v8
         v10 = trunc.i16 v7
         v11 = zext.i64 v10
         set.i64 r3 v11
         v13 = call mix v2 v2 v10
         set.i64 r4 v13
         jump 0x0",
    );
    assert_eq!(cpu.state.r[1], 0xff);
    assert_eq!(cpu.state.r[2], 0xffff_ffff_8000_0100);
    assert_eq!(cpu.state.r[3], 0x100);
    assert_eq!(cpu.state.r[4], 0xff * 3 + 0x400);
}

#[test]
fn a_fault_leaves_the_instruction_undone() {
    let mut cpu = cpu();
    let before = cpu.state.r;
    let outcome = eval_text(
        &mut cpu,
        "v1 = iconst.i64 0x8
         set.i64 r1 v1
         insn 0x1002
         v4 = load.i64 v1 tso
         set.i64 r0 v4
         jump 0x2000",
    );
    let Outcome::Fault(Fault::Memory(fault)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((fault.va, fault.cause), (8, Cause::Unmapped));
    assert_eq!(cpu.core.pc, 0x1002);
    assert_eq!(cpu.state.r[..2], [before[0], 8]);
}

#[test]
fn addresses_are_sums() {
    let mut cpu = cpu();
    let mut memory = [0u64; 8];
    cpu.state.r[0] = memory.as_mut_ptr() as u64;
    cpu.state.r[1] = 3;
    eval_text(
        &mut cpu,
        "v1 = get.i64 r0
         v2 = get.i64 r1
         v3 = iconst.i64 0x3
         v4 = shl.i64 v2 v3
         v5 = add.i64 v1 v4
         v6 = iconst.i64 0x8
         v7 = add.i64 v5 v6
         v8 = iconst.i64 0xffffffffffffffff
         store.i64 v7 v8 tso
         store.i64 v5 v1 tso aligned
         v11 = load.i64 v7 tso aligned
         set.i64 r2 v11
         v13 = rmw.i64 v7 v2 add seqcst
         v14 = cas.i64 v5 v1 v2 seqcst
         jump 0x0",
    );
    assert_eq!(memory, [0, 0, 0, 3, 2, 0, 0, 0]);
    assert_eq!(cpu.state.r[2], u64::MAX);
}

#[test]
fn helpers_change_slots_and_raise() {
    let mut cpu = cpu();
    let before = cpu.state.r;
    eval_text(
        &mut cpu,
        "v1 = get.i64 r0
         v2 = call swap
         set.i64 r3 v1
         set.i64 r4 v2
         jump 0x0",
    );
    assert_eq!(cpu.state.r[..2], [before[1], before[0]]);
    assert_eq!(cpu.state.r[3..5], [before[0], before[0] + before[1]]);
    let outcome = eval_text(
        &mut cpu,
        "v1 = get.i64 r3
         v2 = call check v1
         set.i64 r0 v2
         jump 0x0",
    );
    assert_eq!(outcome, Outcome::Fault(Fault::Trap(Trap { code: 7, data: 0x1111_1111 })));
    assert_eq!(cpu.state.r[0], before[1]);
    assert_eq!(cpu.core.fault_pending, 0);
}

#[test]
fn links_fuel_and_attention() {
    let mut cpu = cpu();
    cpu.state.r[0] = 0;
    let count = block(
        "v1 = get.i64 r0
         v2 = iconst.i64 0x1
         v3 = add.i64 v1 v2
         set.i64 r0 v3
         v5 = iconst.i64 0x64
         v6 = ult.i64 v3 v5
         branch v6 0x1000 0x1004",
    );
    let mut last = block("v1 = get.i64 r1\nreturn v1");
    (last.key.pc, last.insts[0].imm) = (0x1004, 0x1004);
    let leak = |block| &**Box::leak(Box::new(flatten(block).unwrap()));
    let (count, last): (&'static Code<_>, &'static Code<_>) = (leak(&count), leak(&last));
    let mut cache = JumpCache::default();
    let Leave::Pc(Some(link)) = run(count, &mut cpu, &cache) else { panic!("no link yet") };
    assert_eq!((cpu.state.r[0], cpu.core.pc, link.pc), (1, 0x1000, 0x1000));
    link.set(count);
    count.set_fuel(11);
    let Leave::Stop { code, .. } = run(count, &mut cpu, &cache) else { panic!("fuel is used up") };
    assert_eq!((cpu.state.r[0], code.key.pc), (11, 0x1000));
    let Leave::Pc(Some(link)) = run(count, &mut cpu, &cache) else { panic!("the loop ends") };
    assert_eq!((cpu.state.r[0], cpu.core.pc), (100, 0x1004));
    link.set(last);
    assert!(matches!(run(count, &mut cpu, &cache), Leave::Pc(None)));
    assert_eq!(cpu.core.pc, cpu.state.r[1]);
    cpu.state.r[1] = 0x1004;
    cache.insert(last);
    cpu.core.attention.store(0, std::sync::atomic::Ordering::SeqCst);
    last.set_fuel(5);
    assert!(matches!(run(last, &mut cpu, &cache), Leave::Stop { .. }));
    cpu.core.attention.store(1, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(run(last, &mut cpu, &cache), Leave::Attention));
}

/// Steps of the block, its end included.
fn cost(body: &str) -> usize {
    flatten::<Toy>(&block(body)).expect("a small block").step_count()
}

#[test]
fn what_needs_no_step() {
    // An addition in place with its lazy flags: all flags in one step, one addition, the end.
    let add = "v1 = get.i64 r0
        v2 = get.i64 r1
        v3 = add.i64 v1 v2
        set.i64 r0 v3
        v5 = iconst.i64 0x31
        set.i64 r4 v5
        set.i64 r5 v1
        set.i64 r6 v2
        jump 0x2000";
    assert_eq!(cost(add), 3);
    let mut cpu = cpu();
    let [a, b, ..] = cpu.state.r;
    eval_text(&mut cpu, add);
    assert_eq!((cpu.state.r[0], &cpu.state.r[4..7]), (a + b, &[0x31, a, b][..]));
    // The same of 32 bits, with a constant.
    let add = "v1 = get.i64 r0
        v2 = trunc.i32 v1
        v3 = iconst.i32 0xfffffff0
        v4 = add.i32 v2 v3
        v5 = zext.i64 v4
        set.i64 r0 v5
        v7 = iconst.i64 0x21
        set.i64 r4 v7
        v9 = zext.i64 v2
        set.i64 r5 v9
        v11 = zext.i64 v3
        set.i64 r6 v11
        jump 0x2000";
    let mut folded = block(add);
    mynah_opt::optimise::<Toy>(&mut folded);
    assert_eq!(flatten::<Toy>(&folded).expect("a small block").step_count(), 4);
    // A comparison that decides the end; its values are read where they are.
    let compare = "v1 = get.i64 r0
        v2 = trunc.i16 v1
        v3 = iconst.i16 0x5
        v4 = slt.i16 v2 v3
        branch v4 0x1000 0x2000";
    assert_eq!(cost(compare), 2);
    // A push: the address is part of the store.
    let push = "v1 = get.i64 r4
        v2 = iconst.i64 0xfffffffffffffff8
        v3 = add.i64 v1 v2
        v4 = get.i64 r0
        store.i64 v3 v4 tso
        set.i64 r4 v3
        jump 0x2000";
    assert_eq!(cost(push), 3);
    // A load into a register, scaled.
    let load = "v1 = get.i64 r4
        v2 = get.i64 r5
        v3 = iconst.i64 0x2
        v4 = shl.i64 v2 v3
        v5 = add.i64 v1 v4
        v6 = load.i32 v5 tso
        v7 = zext.i64 v6
        set.i64 r4 v7
        jump 0x2000";
    assert_eq!(cost(load), 2);
}
