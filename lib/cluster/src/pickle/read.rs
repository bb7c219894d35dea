//! Reads pickles into [`Value`]s.
//!
//! Nodes live in an arena and refer to each other by index, so that an object which is filled
//! after it was memoised is seen whole everywhere. Whatever is pushed, copied, memoised or unfolded
//! is paid for from one [`Budget`] before memory is taken, so a small file cannot become a large
//! value, nor make a large arena.
//!
//! A ring builder's file is mostly four arrays of a million numbers and more. So small numbers
//! are no nodes, they stand in the references themselves; and what an array is made of, and the
//! array itself, are moved and not copied, which is why each may be used only once.

use std::collections::HashMap;
use std::fmt;

use super::Value;
use super::budget::Budget;

/// A reference with this bit is no node but a small number, in its low bits.
const NUMBER: u64 = 1 << 63;
/// Deepest nesting.
const DEPTH_MAX: usize = 64;
/// Most arguments that a constructor reads.
const ARGUMENTS_MAX: usize = 3;
/// Bytes of a memo's entry, with what a table keeps free.
const MEMO_ENTRY_BYTES: usize = 40;
/// Of a global's name, what an error repeats.
const NAME_CHARS_MAX: usize = 100;

/// Why a pickle could not be read, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PickleError {
    /// Offset of the opcode.
    pub offset: usize,
    /// What was wrong.
    pub reason: String,
}

impl fmt::Display for PickleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pickle, byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for PickleError {}

#[derive(Debug, Clone)]
enum Node {
    Leaf(Value),
    /// What was moved into something else.
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
    value.map_err(|reason| PickleError { offset: machine.at, reason })
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

type Step<T> = Result<T, String>;

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
        usize::try_from(self.number(width)?).map_err(|_| "length too large".to_owned())
    }

    fn line(&mut self) -> Step<&'a str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("line without end")?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(line.get(..end).unwrap_or_default()).map_err(|_| "bad line".to_owned())
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

    /// Surrogates (from WSGI strings) are not UTF-8; they are replaced.
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
        self.stack.pop().ok_or_else(|| "stack is empty".to_owned())
    }

    fn top(&mut self) -> Step<&mut Node> {
        let top = *self.stack.last().ok_or("stack is empty")?;
        self.node_mut(top).ok_or_else(|| "no such node".to_owned())
    }

    fn since_mark(&mut self) -> Step<Vec<u64>> {
        let mark = self.marks.pop().ok_or("no mark")?;
        if mark > self.stack.len() {
            return Err("mark past the stack".to_owned());
        }
        self.split_off(mark)
    }

    fn split_off(&mut self, at: usize) -> Step<Vec<u64>> {
        self.budget.take_items::<u64>(self.stack.len().saturating_sub(at))?;
        // With its own allocation, also of the whole stack: what remains keeps the other.
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
            _ => return Err("append to what is no list".to_owned()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[u64]) -> Step<()> {
        self.budget.take_items::<u64>(items.len())?;
        match self.top()? {
            Node::Dict(dict) => {
                for pair in items.chunks(2) {
                    let [key, value] = pair else { return Err("odd number of items".to_owned()) };
                    dict.push((*key, *value));
                }
            }
            _ => return Err("items for what is no dict".to_owned()),
        }
        Ok(())
    }

    fn run(&mut self) -> Step<u64> {
        loop {
            let opcode = *self.take(1)?.first().ok_or("ends too early")?;
            match opcode {
                b'.' => return self.pop(),
                0x80 => {
                    if self.number(1)? > 5 {
                        return Err("unknown protocol".to_owned());
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
                    let bits =
                        self.take(8)?.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
                    self.leaf(Value::Float(f64::from_bits(bits)))?;
                }
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
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(module, name)?;
                }
                0x93 => {
                    let name = self.pop()?;
                    let module = self.pop()?;
                    let (module, name) =
                        (self.text(module)?.to_owned(), self.text(name)?.to_owned());
                    self.global(&module, &name)?;
                }
                b'R' | 0x81 => self.reduce()?,
                b'b' => self.build()?,
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
                other => return Err(format!("opcode {other:#04x} is not allowed")),
            }
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        self.budget.take(module.len().saturating_add(name.len()).saturating_add(1))?;
        self.push(Node::Global(format!("{module}.{name}")))
    }

    /// The text of a node, paid for since its caller copies it.
    fn text(&mut self, reference: u64) -> Step<&str> {
        let expected = "text expected";
        let length = match self.node(reference) {
            Some(Node::Leaf(value)) => value.as_bytes().ok_or(expected)?.len(),
            _ => return Err(expected.to_owned()),
        };
        self.budget.take(length)?;
        match self.node(reference) {
            Some(Node::Leaf(Value::Str(text))) => Ok(text),
            Some(Node::Leaf(Value::Bytes(bytes))) => {
                std::str::from_utf8(bytes).map_err(|_| expected.to_owned())
            }
            _ => Err(expected.to_owned()),
        }
    }

    /// The items of a dict, paid for and copied.
    fn copied(&mut self, reference: u64) -> Step<Option<Vec<(u64, u64)>>> {
        let count = match self.node(reference) {
            Some(Node::Dict(items)) => items.len(),
            _ => return Ok(None),
        };
        self.budget.take_items::<(u64, u64)>(count)?;
        Ok(match self.node(reference) {
            Some(Node::Dict(items)) => Some(items.clone()),
            _ => None,
        })
    }

    /// The constructors that Swift's files use, each by what it means.
    fn reduce(&mut self) -> Step<()> {
        let arguments = self.pop()?;
        let callable = self.pop()?;
        // The name leaves the arena for as long as its call takes.
        let name = match self.node_mut(callable) {
            Some(Node::Global(name)) => std::mem::take(name),
            _ => return Err("call of what is no global".to_owned()),
        };
        let arguments: Vec<u64> = match self.node(arguments) {
            Some(Node::Tuple(all)) => all.iter().copied().take(ARGUMENTS_MAX).collect(),
            _ => return Err("arguments are no tuple".to_owned()),
        };
        let node = self.constructed(&name, &arguments)?;
        if let Some(Node::Global(place)) = self.node_mut(callable) {
            *place = name;
        }
        self.push(node)
    }

    /// What a call makes.
    fn constructed(&mut self, name: &str, arguments: &[u64]) -> Step<Node> {
        Ok(match (name, arguments) {
            ("_codecs.encode", [text, _codec]) => {
                let latin1 = self.text(*text)?.chars().map(|c| u8::try_from(u32::from(c)));
                let bytes: Result<Vec<u8>, _> = latin1.collect();
                Node::Leaf(Value::Bytes(bytes.map_err(|_| "not latin-1")?))
            }
            ("array.array", [code, items]) => self.array(*code, *items)?,
            ("builtins.bytes" | "__builtin__.bytes", []) => Node::Leaf(Value::Bytes(Vec::new())),
            ("builtins.dict" | "__builtin__.dict", []) => Node::Dict(Vec::new()),
            (
                "copy_reg._reconstructor"
                | "copyreg._reconstructor"
                | "swift.common.header_key_dict.HeaderKeyDict",
                arguments,
            ) => {
                let state = arguments.get(2).map(|state| self.copied(*state)).transpose()?;
                Node::Dict(state.flatten().unwrap_or_default())
            }
            ("swift.common.ring.builder.RingBuilder", _) => Node::Dict(Vec::new()),
            (other, _) => {
                let other: String = other.chars().take(NAME_CHARS_MAX).collect();
                return Err(format!("global {other:?} is not allowed"));
            }
        })
    }

    fn array(&mut self, code: u64, items: u64) -> Step<Node> {
        let code = match self.node(code) {
            Some(Node::Leaf(value)) => value.as_bytes().ok_or("text expected")?.first(),
            _ => return Err("text expected".to_owned()),
        };
        let code = *code.ok_or("array without a type")?;
        let width = match code {
            b'B' => 1,
            b'H' => 2,
            b'I' | b'L' => 4,
            other => return Err(format!("array of type {:?}", char::from(other))),
        };
        let items = self.node_mut(items).ok_or("array of an unknown form")?;
        let items = match std::mem::replace(items, Node::Spent) {
            Node::List(items) => {
                self.budget.take_items::<u32>(items.len())?;
                self.numbers(&items)?
            }
            // Python 2 pickled arrays as their raw bytes.
            Node::Leaf(Value::Bytes(bytes)) => {
                self.budget.take_items::<u32>(bytes.len().div_ceil(width))?;
                let number =
                    |bytes: &[u8]| bytes.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte));
                bytes.chunks(width).map(number).collect()
            }
            _ => return Err("array of an unknown form".to_owned()),
        };
        Ok(Node::Leaf(Value::Array(code, items)))
    }

    /// The items of an array.
    fn numbers(&self, items: &[u64]) -> Step<Vec<u32>> {
        let number = |item: u64| match self.node(item) {
            _ if item & NUMBER != 0 => u32::try_from(item & !NUMBER).ok(),
            Some(Node::Leaf(Value::Int(number))) => u32::try_from(*number).ok(),
            _ => None,
        };
        let numbers: Option<Vec<u32>> = items.iter().map(|item| number(*item)).collect();
        numbers.ok_or_else(|| "array of what is no integer of four bytes".to_owned())
    }

    /// `BUILD`: the state of an object becomes the items of the dict that stands for it.
    fn build(&mut self) -> Step<()> {
        let state = self.pop()?;
        let Some(items) = self.copied(state)? else { return Ok(()) };
        if self.stack.last() == Some(&state) {
            return Err("a dict that is its own state".to_owned());
        }
        if let Node::Dict(_) = self.top()? {
            self.budget.take_items::<(u64, u64)>(items.len())?;
        }
        if let Node::Dict(dict) = self.top()? {
            dict.extend(items);
        }
        Ok(())
    }

    /// The value of a node. Its own place was paid for by what it is in.
    fn unfold(&mut self, reference: u64, depth: usize) -> Step<Value> {
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        if reference & NUMBER != 0 {
            return Ok(Value::Int((reference & !NUMBER).cast_signed()));
        }
        let node = usize::try_from(reference).ok().and_then(|at| self.arena.get_mut(at));
        let node = node.ok_or("no such node")?;
        match node {
            Node::Leaf(Value::Array(code, items)) => {
                let array = Value::Array(*code, std::mem::take(items));
                *node = Node::Spent;
                Ok(array)
            }
            Node::Leaf(value) => {
                self.budget.take(value.as_bytes().map_or(0, <[u8]>::len))?;
                Ok(value.clone())
            }
            Node::Spent => Err("an array is used more than once".to_owned()),
            Node::Global(name) => {
                let name: String = name.chars().take(NAME_CHARS_MAX).collect();
                Err(format!("global {name:?} as a value"))
            }
            Node::List(items) => {
                let count = items.len();
                Ok(Value::List(self.unfold_all(reference, count, depth)?))
            }
            Node::Tuple(items) => {
                let count = items.len();
                Ok(Value::Tuple(self.unfold_all(reference, count, depth)?))
            }
            Node::Dict(items) => {
                let count = items.len();
                self.budget.take_items::<(Value, Value)>(count)?;
                let mut dict = Vec::with_capacity(count);
                // Not copied: a list in itself would be so at each level.
                for at in 0..count {
                    let Some(Node::Dict(items)) = self.node(reference) else { break };
                    let Some((key, value)) = items.get(at).copied() else { break };
                    dict.push((self.unfold(key, depth + 1)?, self.unfold(value, depth + 1)?));
                }
                Ok(Value::Dict(dict))
            }
        }
    }

    fn unfold_all(&mut self, reference: u64, count: usize, depth: usize) -> Step<Vec<Value>> {
        self.budget.take_items::<Value>(count)?;
        let mut values = Vec::with_capacity(count);
        for at in 0..count {
            let (Some(Node::List(items)) | Some(Node::Tuple(items))) = self.node(reference) else {
                break;
            };
            let Some(item) = items.get(at).copied() else { break };
            values.push(self.unfold(item, depth + 1)?);
        }
        Ok(values)
    }
}

fn long(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut padded = [if negative { 0xff } else { 0 }; 8];
    if bytes.len() > 8 {
        return None;
    }
    for (to, from) in padded.iter_mut().zip(bytes) {
        *to = *from;
    }
    Some(i64::from_le_bytes(padded))
}

/// A Python string literal with escapes.
fn quoted(line: &str) -> Option<Vec<u8>> {
    let line = line.trim();
    let quote = line.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let inner = line.strip_prefix(quote)?.strip_suffix(quote)?.as_bytes();
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        out.push(match bytes.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let hex = [*bytes.next()?, *bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?
            }
            other => *other,
        });
    }
    Some(out)
}

/// `raw-unicode-escape`: only `\uXXXX` and `\UXXXXXXXX` are escapes.
fn raw_unicode(line: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at)?);
        let digits = match rest.as_bytes().get(at + 1) {
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => {
                out.push('\\');
                rest = rest.get(at + 1..)?;
                continue;
            }
        };
        let hex = rest.get(at + 2..at + 2 + digits)?;
        out.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?).unwrap_or('\u{fffd}'));
        rest = rest.get(at + 2 + digits..)?;
    }
    out.push_str(rest);
    Some(out)
}
