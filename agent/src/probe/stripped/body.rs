//! What one function does, as far as it tells which one it is: the calls that it makes, and what is
//! known of their arguments.
//!
//! The code is read once from the beginning to the end, without what the compiler laid apart. What a
//! jump forward brings along is joined where it leads. That is no proof of what a register holds,
//! which a loop could change: it is one of several witnesses.

use std::collections::HashMap;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

use super::NotFound;
use super::layout::Layout;
use crate::probe::place::ARGUMENTS;

/// Most instructions of a function that are read, and of all functions of a search together.
const MOST_INSTRUCTIONS: usize = 8192;
const MOST_IN_ALL: usize = 1 << 20;
/// Most calls in the functions of a search.
const MOST_SITES: usize = 1 << 18;
/// Most instructions from where two ways come together to the next call.
const LONGEST_TAIL: usize = 12;

/// Registers that a called function may change, beside those.
const OTHERS_CHANGED: [Register; 4] = [Register::RAX, Register::R9, Register::R10, Register::R11];

/// What is known of a register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing.
    #[default]
    Unknown,
    /// An argument of the function, counted from zero.
    Argument(u8),
    /// The low half of an argument, extended.
    Low(u8),
    /// The address of a part of what an argument points to.
    Within(u8),
    /// The address of something on the function's stack.
    Stack,
    /// A number, or an address in the file.
    Constant(u64),
}

impl Value {
    pub(super) fn constant(self) -> Option<u64> {
        match self {
            Self::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// What the low half of it is, extended without its sign.
    fn low(self) -> Self {
        match self {
            Self::Argument(n) | Self::Low(n) => Self::Low(n),
            Self::Constant(value) => Self::Constant(value & u64::from(u32::MAX)),
            _ => Self::Unknown,
        }
    }
}

/// A call, or a jump out of the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// Where to, when the instruction says so.
    pub(super) target: Option<u64>,
    /// The first five arguments.
    pub(super) arguments: [Value; 5],
}

/// A function.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) start: u64,
    pub(super) sites: Vec<Site>,
    /// It changes a part of what its first argument points to, with the bus locked, before it calls
    /// anything: as `CRYPTO_DOWN_REF` does (`internal/refcount.h`).
    pub(super) drops_reference: bool,
}

/// What is known of the sixteen registers.
type State = [Value; 16];

/// Reads the functions that begin at these addresses. Those are left out that the unwind table does
/// not have.
///
/// # Errors
///
/// When they are more, or longer, than is read of one file.
pub(super) fn read(layout: &Layout<'_>, starts: &[u64]) -> Result<Vec<Body>, NotFound> {
    let (mut instructions, mut sites) = (MOST_IN_ALL, MOST_SITES);
    let mut bodies = Vec::new();
    for start in starts {
        let Some((begin, end)) = layout.function_at(*start) else {
            continue;
        };
        if begin != *start {
            continue;
        }
        let most = instructions.min(MOST_INSTRUCTIONS);
        let mut reader = Reader {
            body: Body {
                start: begin,
                sites: Vec::new(),
                drops_reference: false,
            },
            info: InstructionInfoFactory::new(),
            left: most,
            called: false,
        };
        reader.function(layout, begin, end);
        instructions -= most - reader.left;
        let left = sites.checked_sub(reader.body.sites.len());
        sites = left.ok_or(NotFound::TooMany("calls"))?;
        if instructions == 0 {
            return Err(NotFound::TooMany("instructions"));
        }
        bodies.push(reader.body);
    }
    Ok(bodies)
}

struct Reader {
    body: Body,
    info: InstructionInfoFactory,
    left: usize,
    /// A call has been passed.
    called: bool,
}

impl Reader {
    /// Reads it to the end.
    fn function(&mut self, layout: &Layout<'_>, start: u64, end: u64) {
        let mut state = State::default();
        for (n, register) in ARGUMENTS.iter().enumerate() {
            state[register.number()] = Value::Argument(n as u8);
        }
        state[Register::RSP.number()] = Value::Stack;
        // Whether what is read is reached from the beginning without a jump back. What is not may be
        // the filling between blocks, and must not spoil what is known behind it.
        let mut reached = true;
        let mut joins: HashMap<u64, State> = HashMap::new();
        let code = layout.code(start, end);
        for instruction in &mut Decoder::with_ip(64, code, start, DecoderOptions::NONE) {
            if instruction.is_invalid() || self.left == 0 {
                return;
            }
            self.left -= 1;
            if let Some(joined) = joins.remove(&instruction.ip()) {
                if reached && state != joined {
                    self.tail(layout, (instruction.ip(), end), state);
                }
                state = if reached { join(state, joined) } else { joined };
                reached = true;
            }
            let near = instruction.op0_kind() == OpKind::NearBranch64;
            let target = near.then(|| instruction.near_branch_target());
            let inside = target.is_some_and(|t| (start..end).contains(&t));
            match instruction.flow_control() {
                FlowControl::Call | FlowControl::IndirectCall => {
                    self.called = true;
                    self.site(target, &state);
                    for register in ARGUMENTS.iter().chain(&OTHERS_CHANGED) {
                        state[register.number()] = Value::Unknown;
                    }
                    continue;
                }
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch if inside => {
                    let target = target.unwrap_or_default();
                    if instruction.flow_control() == FlowControl::UnconditionalBranch {
                        self.tail(layout, (target, end), state);
                    }
                    if reached && target > instruction.ip() {
                        let joined = joins.get(&target).map_or(state, |j| join(*j, state));
                        joins.insert(target, joined);
                    }
                }
                FlowControl::ConditionalBranch
                | FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch => self.site(target, &state),
                _ => {}
            }
            let goes_on = matches!(
                instruction.flow_control(),
                FlowControl::Next | FlowControl::ConditionalBranch
            );
            if goes_on {
                self.step(&instruction, &mut state);
            } else {
                reached = false;
                state = State::default();
            }
        }
    }

    /// The next call after two ways come together, with what is known on one of them: compilers let
    /// several errors share the call that raises them.
    fn tail(&mut self, layout: &Layout<'_>, (from, end): (u64, u64), mut state: State) {
        let code = layout.code(from, end);
        let decoder = Decoder::with_ip(64, code, from, DecoderOptions::NONE);
        for instruction in decoder.into_iter().take(LONGEST_TAIL) {
            if instruction.is_invalid() || self.left == 0 {
                return;
            }
            self.left -= 1;
            match instruction.flow_control() {
                FlowControl::Next => self.step(&instruction, &mut state),
                FlowControl::Call => {
                    let near = instruction.op0_kind() == OpKind::NearBranch64;
                    self.site(near.then(|| instruction.near_branch_target()), &state);
                    return;
                }
                _ => return,
            }
        }
    }

    fn site(&mut self, target: Option<u64>, state: &State) {
        let arguments = ARGUMENTS.map(|r| state[r.number()]);
        self.body.sites.push(Site { target, arguments });
    }

    /// What an instruction changes.
    fn step(&mut self, i: &Instruction, state: &mut State) {
        if i.has_lock_prefix() && !self.called && of(state, i.memory_base()) == Value::Argument(0) {
            self.body.drops_reference = true;
        }
        let result = result(i, state);
        for used in self.info.info(i).used_registers() {
            let read = matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::None
            );
            let register = used.register().full_register();
            // The stack stays the stack, wherever in it.
            if !read && register.is_gpr64() && register != Register::RSP {
                state[register.number()] = Value::Unknown;
            }
        }
        if let Some((register, value)) = result
            && register != Register::RSP
        {
            state[register.number()] = value;
        }
    }
}

/// The register that an instruction fills with something known.
fn result(i: &Instruction, state: &State) -> Option<(Register, Value)> {
    if i.op_count() < 2 || i.op0_kind() != OpKind::Register {
        return None;
    }
    let to = i.op0_register();
    let full = to.full_register();
    if !to.is_gpr64() && !to.is_gpr32() {
        return None;
    }
    let from = (i.op1_kind() == OpKind::Register).then(|| i.op1_register());
    let value = match (i.mnemonic(), from) {
        (Mnemonic::Xor | Mnemonic::Sub, Some(from)) if from == to => Value::Constant(0),
        (Mnemonic::Mov, Some(from)) if to.is_gpr64() => of(state, from),
        (Mnemonic::Mov, Some(from)) if from.is_gpr32() => of(state, from.full_register()).low(),
        (Mnemonic::Movsxd, Some(from)) => match of(state, from.full_register()).low() {
            low @ Value::Low(_) => low,
            _ => Value::Unknown,
        },
        (Mnemonic::Mov, None) if i.op1_kind() != OpKind::Memory => {
            let value = i.immediate(1);
            Value::Constant(if to.is_gpr32() {
                value & u64::from(u32::MAX)
            } else {
                value
            })
        }
        (Mnemonic::Lea, None) if i.is_ip_rel_memory_operand() => {
            Value::Constant(i.ip_rel_memory_address())
        }
        (Mnemonic::Lea, None) if i.memory_index() == Register::None && to.is_gpr64() => {
            match of(state, i.memory_base()) {
                Value::Stack => Value::Stack,
                Value::Argument(n) | Value::Within(n) => Value::Within(n),
                _ => Value::Unknown,
            }
        }
        _ => return None,
    };
    Some((full, value))
}

fn of(state: &State, register: Register) -> Value {
    if register.is_gpr64() {
        state[register.number()]
    } else {
        Value::Unknown
    }
}

/// What is known where two ways come together.
fn join(a: State, b: State) -> State {
    std::array::from_fn(|n| if a[n] == b[n] { a[n] } else { Value::Unknown })
}
