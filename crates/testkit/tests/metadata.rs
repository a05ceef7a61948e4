//! iced's register and flag metadata against the lifts of many random instructions.

use mynah_testkit::check::listing;
use mynah_testkit::generate::Generator;
use mynah_testkit::metadata::check;
use mynah_testkit::random::Rng;
use mynah_testkit::subject::hex;
use mynah_x86::X86;
use std::collections::BTreeMap;

#[test]
fn lifts_touch_what_the_manual_says() {
    let mut generator = Generator::new("");
    let mut rng = Rng::new(1);
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..40_000 {
        let insn = generator.insn(&mut rng);
        if let Some(complaint) = check(&insn.bytes) {
            let text = format!("[{}]  {}", hex(&insn.bytes), listing::<X86>(&insn.bytes));
            let kind = format!("{:?} {complaint}", insn.decoded.mnemonic());
            wrong.entry(kind).or_insert(text);
        }
    }
    let lines: Vec<String> = wrong.iter().map(|(kind, text)| format!("{kind}: {text}")).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}
