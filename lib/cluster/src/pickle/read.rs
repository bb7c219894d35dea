//! Reads pickles into [`Value`]s.
//!
//! Nodes are in an arena and refer to each other by index, so that an object which is filled after
//! it was memoised is complete everywhere. The memory for each push, copy, memo entry and unfolded
//! value comes from one [`Budget`], so that a small file cannot become a large value or arena.
//!
//! A ring builder's file is mostly four arrays of a million numbers and more. Therefore a small
//! number is not a node but part of the reference, and arrays and their items are moved, not copied,
//! which is why each may be used only once.

mod construct;
mod text;
mod unfold;

use std::collections::HashMap;

use self::text::{long, quoted, raw_unicode};
use super::Value;
use super::budget::Budget;

/// A reference with this bit is a small number, in its low bits, and not a node.
const NUMBER: u64 = 1 << 63;
/// Deepest nesting.
const DEPTH_MAX: usize = 64;
/// Most arguments that a constructor reads.
const ARGUMENTS_MAX: usize = 3;
/// Bytes of an entry of the memo, with the unused part of its table.
const MEMO_ENTRY_BYTES: usize = 40;
/// Characters of a global's name in an error.
const NAME_CHARS_MAX: usize = 100;

/// Why a pickle could not be read, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pickle, byte {offset}: {reason}")]
pub struct PickleError {
    /// Offset of the opcode.
    pub offset: usize,
    /// What was wrong.
    pub reason: String,
}

/// Why an opcode was refused.
#[derive(Debug)]
pub(super) struct Reason(String);

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[derive(Debug, Clone)]
enum Node {
    Leaf(Value),
    /// Moved into another node.
    Spent,
    Global(String),
    List(Vec<u64>),
    Tuple(Vec<u64>),
    Dict(Vec<(u64, u64)>),
}

/// Reads one pickle.
pub fn loads(bytes: &[u8]) -> Result<Value, PickleError> {
    let mut machine = Machine {
        bytes,
        at: 0,
        arena: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        budget: Budget::of(bytes.len()),
    };
    let value = machine.run().and_then(|root| machine.unfold(root, 0));
    value.map_err(|reason| PickleError { offset: machine.at, reason: reason.0 })
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    arena: Vec<Node>,
    stack: Vec<u64>,
    marks: Vec<usize>,
    memo: HashMap<u64, u64>,
    budget: Budget,
}

type Step<T> = Result<T, Reason>;

impl<'a> Machine<'a> {
    fn take(&mut self, count: usize) -> Step<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or("length overflows")?;
        let taken = self.bytes.get(self.at..end).ok_or("ends too early")?;
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self, width: usize) -> Step<u64> {
        let taken = self.take(width)?;
        Ok(taken.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, width: usize) -> Step<usize> {
        usize::try_from(self.number(width)?).map_err(|_| "length too large".into())
    }

    fn line(&mut self) -> Step<&'a str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("line without end")?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(line.get(..end).unwrap_or_default()).map_err(|_| "bad line".into())
    }

    fn push(&mut self, node: Node) -> Step<()> {
        self.budget.take_items::<Node>(1)?;
        let reference = self.arena.len() as u64;
        self.arena.push(node);
        self.push_reference(reference)
    }

    fn push_reference(&mut self, reference: u64) -> Step<()> {
        self.budget.take_items::<u64>(1)?;
        self.stack.push(reference);
        Ok(())
    }

    /// A value without a length.
    fn leaf(&mut self, value: Value) -> Step<()> {
        self.push(Node::Leaf(value))
    }

    fn bytes_of(&mut self, length: usize) -> Step<()> {
        self.budget.take(length)?;
        let bytes = self.take(length)?.to_vec();
        self.leaf(Value::Bytes(bytes))
    }

    /// Replaces surrogates (of WSGI strings), which are not UTF-8.
    fn text_of(&mut self, length: usize) -> Step<()> {
        let text = String::from_utf8_lossy(self.take(length)?);
        self.budget.take(text.len())?;
        self.leaf(Value::Str(text.into_owned()))
    }

    fn small(&mut self, number: u64) -> Step<()> {
        self.push_reference(NUMBER | number)
    }

    fn node(&self, reference: u64) -> Option<&Node> {
        self.arena.get(usize::try_from(reference).ok()?)
    }

    fn node_mut(&mut self, reference: u64) -> Option<&mut Node> {
        self.arena.get_mut(usize::try_from(reference).ok()?)
    }

    fn pop(&mut self) -> Step<u64> {
        self.stack.pop().ok_or_else(|| "stack is empty".into())
    }

    fn top(&mut self) -> Step<&mut Node> {
        let top = *self.stack.last().ok_or("stack is empty")?;
        self.node_mut(top).ok_or_else(|| "no such node".into())
    }

    fn since_mark(&mut self) -> Step<Vec<u64>> {
        let mark = self.marks.pop().ok_or("no mark")?;
        if mark > self.stack.len() {
            return Err("mark past the stack".into());
        }
        self.split_off(mark)
    }

    fn split_off(&mut self, at: usize) -> Step<Vec<u64>> {
        self.budget.take_items::<u64>(self.stack.len().saturating_sub(at))?;
        // A new allocation, even for the whole stack: the stack keeps its own.
        let items = self.stack.get(at..).unwrap_or_default().to_vec();
        self.stack.truncate(at);
        Ok(items)
    }

    fn remember(&mut self, key: u64) -> Step<()> {
        let top = *self.stack.last().ok_or("stack is empty")?;
        self.budget.take(MEMO_ENTRY_BYTES)?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Step<()> {
        let node = *self.memo.get(&key).ok_or("memo key was never put")?;
        self.push_reference(node)
    }

    fn tuple(&mut self, count: usize) -> Step<()> {
        let at = self.stack.len().checked_sub(count).ok_or("stack is empty")?;
        let items = self.split_off(at)?;
        self.push(Node::Tuple(items))
    }

    fn append(&mut self, items: &[u64]) -> Step<()> {
        self.budget.take_items::<u64>(items.len())?;
        match self.top()? {
            Node::List(list) => list.extend(items),
            _ => return Err("append to something other than a list".into()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[u64]) -> Step<()> {
        self.budget.take_items::<u64>(items.len())?;
        match self.top()? {
            Node::Dict(dict) => {
                for pair in items.chunks(2) {
                    let [key, value] = pair else { return Err("odd number of items".into()) };
                    dict.push((*key, *value));
                }
            }
            _ => return Err("items for something other than a dict".into()),
        }
        Ok(())
    }

    /// Runs the opcodes up to `STOP`, and returns the value that is then on top of the stack.
    fn run(&mut self) -> Step<u64> {
        loop {
            let opcode = *self.take(1)?.first().ok_or("ends too early")?;
            if opcode == b'.' {
                return self.pop();
            }
            let is_known = self.scalar(opcode)?
                || self.collection(opcode)?
                || self.string(opcode)?
                || self.memo(opcode)?
                || self.object(opcode)?
                || self.stack(opcode)?;
            if !is_known {
                return Err(format!("opcode {opcode:#04x} is not allowed").into());
            }
        }
    }

    /// `None`, booleans and numbers; `false` for other opcodes.
    fn scalar(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            b'N' => self.leaf(Value::None)?,
            0x88 => self.leaf(Value::Bool(true))?,
            0x89 => self.leaf(Value::Bool(false))?,
            b'I' => {
                let value = match self.line()? {
                    "00" => Value::Bool(false),
                    "01" => Value::Bool(true),
                    text => Value::Int(text.parse().map_err(|_| "bad integer")?),
                };
                self.leaf(value)?;
            }
            b'L' => {
                let text = self.line()?.trim_end_matches('L');
                let value = Value::Int(text.parse().map_err(|_| "bad integer")?);
                self.leaf(value)?;
            }
            b'F' => {
                let value = Value::Float(self.line()?.parse().map_err(|_| "bad float")?);
                self.leaf(value)?;
            }
            b'J' => {
                let number = (self.number(4)? as u32).cast_signed();
                match u64::try_from(number) {
                    Ok(number) => self.small(number)?,
                    Err(_) => self.leaf(Value::Int(i64::from(number)))?,
                }
            }
            b'K' => {
                let number = self.number(1)?;
                self.small(number)?;
            }
            b'M' => {
                let number = self.number(2)?;
                self.small(number)?;
            }
            0x8a | 0x8b => {
                let length = self.length(if opcode == 0x8a { 1 } else { 4 })?;
                let bytes = self.take(length)?;
                let value = long(bytes).ok_or("integer of more than 64 bits")?;
                self.leaf(Value::Int(value))?;
            }
            b'G' => {
                let bits = self.take(8)?.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
                self.leaf(Value::Float(f64::from_bits(bits)))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Bytes and text, likewise.
    fn string(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            b'S' => {
                let line = self.line()?;
                self.budget.take(line.len())?;
                let value = quoted(line).ok_or("bad string")?;
                self.leaf(Value::Bytes(value))?;
            }
            b'V' => {
                let line = self.line()?;
                self.budget.take(line.len())?;
                let value = raw_unicode(line).ok_or("bad unicode")?;
                self.leaf(Value::Str(value))?;
            }
            b'T' | b'B' => {
                let length = self.length(4)?;
                self.bytes_of(length)?;
            }
            b'U' | b'C' => {
                let length = self.length(1)?;
                self.bytes_of(length)?;
            }
            0x8e => {
                let length = self.length(8)?;
                self.bytes_of(length)?;
            }
            b'X' | 0x8c | 0x8d => {
                let width = match opcode {
                    b'X' => 4,
                    0x8c => 1,
                    _ => 8,
                };
                let length = self.length(width)?;
                self.text_of(length)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Lists, tuples and dicts, likewise.
    fn collection(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            b']' => self.push(Node::List(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b')' => self.push(Node::Tuple(Vec::new()))?,
            b'l' => {
                let items = self.since_mark()?;
                self.push(Node::List(items))?;
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Node::Tuple(items))?;
            }
            b'd' => {
                let items = self.since_mark()?;
                self.push(Node::Dict(Vec::new()))?;
                self.set_items(&items)?;
            }
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set_items(&items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Globals, calls and states of objects, likewise.
    fn object(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                let (module, name) = (self.text(module)?.to_owned(), self.text(name)?.to_owned());
                self.global(&module, &name)?;
            }
            b'R' | 0x81 => self.reduce()?,
            b'b' => self.build()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Writes and reads of the memo, likewise.
    fn memo(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            b'p' => {
                let key = self.line()?.parse().map_err(|_| "bad memo key")?;
                self.remember(key)?;
            }
            b'q' => {
                let key = self.number(1)?;
                self.remember(key)?;
            }
            b'r' => {
                let key = self.number(4)?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'g' => {
                let key = self.line()?.parse().map_err(|_| "bad memo key")?;
                self.recall(key)?;
            }
            b'h' => {
                let key = self.number(1)?;
                self.recall(key)?;
            }
            b'j' => {
                let key = self.number(4)?;
                self.recall(key)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The protocol, marks and the stack, likewise.
    fn stack(&mut self, opcode: u8) -> Step<bool> {
        match opcode {
            0x80 => {
                if self.number(1)? > 5 {
                    return Err("unknown protocol".into());
                }
            }
            0x95 => drop(self.take(8)?),
            b'(' => {
                self.budget.take_items::<usize>(1)?;
                self.marks.push(self.stack.len());
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = *self.stack.last().ok_or("stack is empty")?;
                self.push_reference(top)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
