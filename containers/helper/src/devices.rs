//! Which device nodes a container may use, as a program that the kernel asks.
//!
//! cgroup v2 has no list of devices: a BPF program of type `CGROUP_DEVICE` answers each opening and
//! making of a node (the kernel's `Documentation/admin-guide/cgroup-v2.rst`, "Device controller";
//! instructions: `Documentation/bpf/standardization/instruction-set.rst`). It is written here in
//! its own few instructions: one block a rule, no loop, everything else refused.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::wire::DeviceRule;
use crate::sys;

// Registers: the answer, the context as the kernel passes it, and what is read from it.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const ACCESS: u8 = 2;
const TYPE: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

// Operations, all on 32 bits.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbc;
const MOVE_NUMBER: u8 = 0xb4;
const AND_NUMBER: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_IF_OTHER: u8 = 0x56;
const EXIT: u8 = 0x95;

// `BPF_DEVCG_DEV_…` and `BPF_DEVCG_ACC_…`
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const MAKE: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

/// Lets processes of `cgroup` use what `rules` allow, and no other device node.
pub(super) fn enforce(cgroup: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    let cgroup = File::open(cgroup)?;
    sys::attach_device_program(cgroup.as_fd(), &program(rules))
}

/// The program: 1 for what a rule allows, 0 for everything else.
fn program(rules: &[DeviceRule]) -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD_WORD, ACCESS, CONTEXT, 0, 0),
        instruction(MOVE, TYPE, ACCESS, 0, 0),
        instruction(AND_NUMBER, TYPE, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules {
        program.extend(block(rule));
    }
    program.push(instruction(MOVE_NUMBER, ANSWER, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

/// Answers 1 if `rule` allows what is asked; goes on behind itself if not.
fn block(rule: &DeviceRule) -> Vec<u64> {
    let allowed = [(rule.make, MAKE), (rule.read, READ), (rule.write, WRITE)];
    let allowed = allowed.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum::<i32>();
    // Each test is a register and the only value that it may have.
    let mut tests = vec![(TYPE, if rule.block { BLOCK } else { CHARACTER })];
    // A number of a device has 20 bits at most, so that none is negative here.
    tests.extend(rule.major.map(|major| (MAJOR, major as i32)));
    tests.extend(rule.minor.map(|minor| (MINOR, minor as i32)));
    let mut block = vec![
        instruction(MOVE, SCRATCH, ACCESS, 0, 0),
        instruction(AND_NUMBER, SCRATCH, 0, 0, !allowed),
    ];
    tests.push((SCRATCH, 0));
    for (index, (register, value)) in tests.iter().enumerate() {
        // Behind this test: the other tests, the answer and the exit.
        let behind = (tests.len() - index - 1 + 2) as i16;
        block.push(instruction(JUMP_IF_OTHER, *register, 0, behind, *value));
    }
    block.push(instruction(MOVE_NUMBER, ANSWER, 0, 0, 1));
    block.push(instruction(EXIT, 0, 0, 0, 0));
    block
}

/// One instruction: operation, registers, offset, number, from the lowest byte up.
fn instruction(operation: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    u64::from(operation)
        | u64::from(from << 4 | to) << 8
        | u64::from(offset as u16) << 16
        | u64::from(number as u32) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers, by carrying it out.
    fn answer(program: &[u64], access: i32, kind: i32, major: u32, minor: u32) -> u32 {
        let context = [(access as u32) << 16 | kind as u32, major, minor];
        let (mut registers, mut at) = ([0u32; 11], 0);
        loop {
            let [operation, both, low, high, number @ ..] = program[at].to_le_bytes();
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            let (offset, number) = (i16::from_le_bytes([low, high]), u32::from_le_bytes(number));
            at += 1;
            match operation {
                LOAD_WORD => registers[to] = context[offset as usize / 4],
                MOVE => registers[to] = registers[from],
                MOVE_NUMBER => registers[to] = number,
                AND_NUMBER => registers[to] &= number,
                SHIFT_RIGHT => registers[to] >>= number,
                JUMP_IF_OTHER if registers[to] != number => at += offset as usize,
                JUMP_IF_OTHER => {}
                EXIT => return registers[usize::from(ANSWER)],
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn only_what_a_rule_allows_is_allowed() {
        let rule = |major, minor, make: bool| DeviceRule {
            block: false,
            major,
            minor,
            read: !make,
            write: !make,
            make,
        };
        let program = program(&[
            rule(Some(1), Some(3), false),
            rule(Some(136), None, false),
            rule(None, None, true),
        ]);
        for (access, kind, major, minor, expected) in [
            (READ, CHARACTER, 1, 3, 1),
            (READ | WRITE, CHARACTER, 1, 3, 1),
            (READ | MAKE, CHARACTER, 1, 3, 0),
            (READ, BLOCK, 1, 3, 0),
            (READ, CHARACTER, 1, 4, 0),
            (READ, CHARACTER, 2, 3, 0),
            (WRITE, CHARACTER, 136, 77, 1),
            (MAKE, CHARACTER, 10, 7, 1),
            (MAKE, BLOCK, 254, 0, 0),
            (READ, BLOCK, 254, 0, 0),
        ] {
            assert_eq!(
                answer(&program, access, kind, major, minor),
                expected,
                "{access} {kind} {major}:{minor}"
            );
        }
    }
}
