//! Globals, calls and states: the constructors that Swift's files use.

use super::super::Value;
use super::{ARGUMENTS_MAX, Machine, NAME_CHARS_MAX, NUMBER, Node, Step};

impl Machine<'_> {
    pub(super) fn global(&mut self, module: &str, name: &str) -> Step<()> {
        self.budget.take(module.len().saturating_add(name.len()).saturating_add(1))?;
        self.push(Node::Global(format!("{module}.{name}")))
    }

    /// The text of a node, taken from the budget since its caller copies it.
    pub(super) fn text(&mut self, reference: u64) -> Step<&str> {
        let expected = "text expected";
        let length = match self.node(reference) {
            Some(Node::Leaf(value)) => value.as_bytes().ok_or(expected)?.len(),
            _ => return Err(expected.into()),
        };
        self.budget.take(length)?;
        match self.node(reference) {
            Some(Node::Leaf(Value::Str(text))) => Ok(text),
            Some(Node::Leaf(Value::Bytes(bytes))) => {
                std::str::from_utf8(bytes).map_err(|_| expected.into())
            }
            _ => Err(expected.into()),
        }
    }

    /// A copy of the items of a dict.
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

    /// `REDUCE`: calls one of the constructors that Swift's files use.
    pub(super) fn reduce(&mut self) -> Step<()> {
        let arguments = self.pop()?;
        let callable = self.pop()?;
        // The name is out of the arena during the call.
        let name = match self.node_mut(callable) {
            Some(Node::Global(name)) => std::mem::take(name),
            _ => return Err("call of something other than a global".into()),
        };
        let arguments: Vec<u64> = match self.node(arguments) {
            Some(Node::Tuple(all)) => all.iter().copied().take(ARGUMENTS_MAX).collect(),
            _ => return Err("arguments are not a tuple".into()),
        };
        let node = self.constructed(&name, &arguments)?;
        if let Some(Node::Global(place)) = self.node_mut(callable) {
            *place = name;
        }
        self.push(node)
    }

    /// The result of a call.
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
                return Err(format!("global {other:?} is not allowed").into());
            }
        })
    }

    fn array(&mut self, code: u64, items: u64) -> Step<Node> {
        let code = match self.node(code) {
            Some(Node::Leaf(value)) => value.as_bytes().ok_or("text expected")?.first(),
            _ => return Err("text expected".into()),
        };
        let code = *code.ok_or("array without a type")?;
        let width = match code {
            b'B' => 1,
            b'H' => 2,
            b'I' | b'L' => 4,
            other => return Err(format!("array of type {:?}", char::from(other)).into()),
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
            _ => return Err("array of an unknown form".into()),
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
        numbers.ok_or_else(|| "array of something other than integers of four bytes".into())
    }

    /// `BUILD`: adds the state of an object to the dict that represents it.
    pub(super) fn build(&mut self) -> Step<()> {
        let state = self.pop()?;
        let Some(items) = self.copied(state)? else { return Ok(()) };
        if self.stack.last() == Some(&state) {
            return Err("a dict that is its own state".into());
        }
        if let Node::Dict(_) = self.top()? {
            self.budget.take_items::<(u64, u64)>(items.len())?;
        }
        if let Node::Dict(dict) = self.top()? {
            dict.extend(items);
        }
        Ok(())
    }
}
