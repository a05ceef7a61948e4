//! The monitor: commands about the machine, a line each.

mod examine;
mod info;

use crate::board::End;
use crate::front::Front;
use crate::screen;
use std::sync::atomic::Ordering;

/// What asks for a command.
pub(crate) const PROMPT: &str = "(mynah) ";
/// Bytes of a command at most.
pub(crate) const EDIT_MAX: usize = 1024;

const HELP: &str = "\
help                  these commands
info status           what the machine does
info registers        a vCPU's registers
info tlb              the pages that its page tables map
info mem              the same in ranges that are alike
info irq              the interrupt controllers
info pci              the devices of the PCI bus
info jit              what the translator did
info block            disks and CD-ROMs
info network          the network
cpu N                 the vCPU that these commands are about
x /FMT ADDRESS        memory at a virtual address: x /8i $pc, x /4gx 0xffff800000000000
xp /FMT ADDRESS       memory at a physical address: xp /16xb 0x7c00
                      FMT: how many, x d u o c s i, and b h w g for 1 2 4 8 bytes
stop                  the machine stops, and its time with it
cont                  it goes on
system_reset          as the reset button
system_powerdown      as the power button: the guest's system decides
screendump FILE       the screen as a picture, PNG
quit                  the machine ends
";

/// A command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Command<'l> {
    Help,
    Info(Info),
    Cpu(usize),
    Examine(examine::Format, examine::Space, examine::Place<'l>),
    Stop,
    Cont,
    Reset,
    PowerDown,
    ScreenDump(&'l str),
    Quit,
    Nothing,
}

/// What `info` is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Info {
    Status,
    Registers,
    Tlb,
    Mem,
    Irq,
    Pci,
    Jit,
    Block,
    Network,
}

const INFO: [(&str, Info); 9] = [
    ("status", Info::Status),
    ("registers", Info::Registers),
    ("tlb", Info::Tlb),
    ("mem", Info::Mem),
    ("irq", Info::Irq),
    ("pci", Info::Pci),
    ("jit", Info::Jit),
    ("block", Info::Block),
    ("network", Info::Network),
];

/// The answer to a line of input: whole lines, or nothing.
pub(crate) fn execute(front: &Front, line: &str) -> String {
    match parse(line) {
        Ok(command) => run(front, command).unwrap_or_else(|error| format!("{error}\n")),
        Err(error) => format!("{error}\n"),
    }
}

fn parse(line: &str) -> Result<Command<'_>, String> {
    let line = line.trim();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    // The format may follow without a space, as in gdb.
    let (name, rest) = match name.split_once('/') {
        Some((name, _)) => (name, &line[name.len()..]),
        None => (name, rest),
    };
    let alone = |command| match rest {
        "" => Ok(command),
        _ => Err(format!("`{name}` stands alone: `{rest}` is too much.")),
    };
    match name {
        "" => Ok(Command::Nothing),
        "help" | "?" => alone(Command::Help),
        "stop" | "s" => alone(Command::Stop),
        "cont" | "c" => alone(Command::Cont),
        "system_reset" => alone(Command::Reset),
        "system_powerdown" => alone(Command::PowerDown),
        "quit" | "q" => alone(Command::Quit),
        "info" => match INFO.iter().find(|(name, _)| *name == rest) {
            Some(&(_, info)) => Ok(Command::Info(info)),
            None => {
                Err(format!("`info` is about one of: {}.", INFO.map(|(name, _)| name).join(", ")))
            }
        },
        "cpu" => match rest.parse() {
            Ok(number) => Ok(Command::Cpu(number)),
            Err(_) => Err("`cpu` wants the number of a vCPU: cpu 0".to_owned()),
        },
        "x" => examine(rest, examine::Space::Virtual),
        "xp" => examine(rest, examine::Space::Physical),
        "screendump" if rest.is_empty() => {
            Err("`screendump` wants a file's name: screendump screen.png".to_owned())
        }
        "screendump" => Ok(Command::ScreenDump(rest)),
        _ => Err(format!("`{name}` is no command: `help` lists them.")),
    }
}

fn examine(rest: &str, space: examine::Space) -> Result<Command<'_>, String> {
    let (format, place) = examine::parse(rest)?;
    Ok(Command::Examine(format, space, place))
}

fn run(front: &Front, command: Command<'_>) -> Result<String, String> {
    let control = front.control.upgrade().ok_or("The machine has ended.")?;
    let done = Ok(String::new());
    match command {
        Command::Nothing => done,
        Command::Help => Ok(HELP.to_owned()),
        Command::Info(info) => info::show(front, info),
        Command::Cpu(number) if number < front.board.lines.len() => {
            front.vcpu.store(number, Ordering::Relaxed);
            done
        }
        Command::Cpu(_) => {
            Err(format!("The vCPUs are numbered 0 to {}.", front.board.lines.len() - 1))
        }
        Command::Examine(format, space, place) => examine::show(front, format, space, place),
        Command::Stop if control.stop() => done,
        Command::Stop => Err("Not all vCPUs have stopped yet.".to_owned()),
        Command::Cont => {
            control.resume();
            done
        }
        Command::Reset => {
            front.board.end(End::Reset);
            done
        }
        Command::PowerDown => {
            let mut power = front.board.power.lock();
            power.press_power_button();
            match power.is_acpi_enabled() {
                true => done,
                false => Err("The guest does not listen to the power button.".to_owned()),
            }
        }
        Command::ScreenDump(file) => front.screendump(file),
        Command::Quit => {
            front.board.end(End::Quit);
            done
        }
    }
}

impl Front {
    /// Writes a picture of the screen to a file.
    fn screendump(&self, file: &str) -> Result<String, String> {
        let picture = screen::png(&self.board.screen().image());
        std::fs::write(file, picture).map_err(|error| format!("{file}: {error}"))?;
        Ok(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::examine::{Format, Letter, Place, Space};
    use super::*;

    #[test]
    fn commands_are_read() {
        let rows = [
            ("", Command::Nothing),
            ("  help ", Command::Help),
            ("info tlb", Command::Info(Info::Tlb)),
            ("info  registers", Command::Info(Info::Registers)),
            ("cpu 3", Command::Cpu(3)),
            ("c", Command::Cont),
            ("screendump a b.png", Command::ScreenDump("a b.png")),
        ];
        for (line, command) in rows {
            assert_eq!(parse(line), Ok(command), "{line}");
        }
        let format = Format { count: 2, letter: Letter::Hex, bytes: 8 };
        for line in ["xp /2gx 0x1000", "xp/2xg 4096", "xp /2gx   0X1000\r\n"] {
            assert_eq!(
                parse(line),
                Ok(Command::Examine(format, Space::Physical, Place::At(0x1000))),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_wrong_says_what_is_right() {
        let rows = [
            ("halt", "`halt` is no command: `help` lists them."),
            ("info", "`info` is about one of: status, "),
            ("info cheese", "`info` is about one of: status, "),
            ("stop now", "`stop` stands alone: `now` is too much."),
            ("cpu x", "`cpu` wants the number of a vCPU: cpu 0"),
            ("screendump", "`screendump` wants a file's name"),
            ("x", "An address is missing"),
            ("x /4", "An address is missing"),
            ("x /4y 0", "`y` is no letter of a format"),
            ("x /99999x 0", "A format counts 1 to 4096"),
            ("x 0x", "`0x` is no address"),
            ("x /2i $rip2", "`rip2` is no register."),
        ];
        for (line, says) in rows {
            let answer = parse(line).expect_err(line);
            assert!(answer.starts_with(says), "{line}: {answer}");
            assert!(!answer.contains('\n'), "{line}: {answer}");
        }
    }
}
