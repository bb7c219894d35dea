//! Unfolds nodes of the arena into values.

use super::super::Value;
use super::{DEPTH_MAX, Machine, NAME_CHARS_MAX, NUMBER, Node, Step};

impl Machine<'_> {
    /// The value of a node. The collection that contains it has taken its place from the budget.
    pub(super) fn unfold(&mut self, reference: u64, depth: usize) -> Step<Value> {
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}").into());
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
            Node::Spent => Err("an array is used more than once".into()),
            Node::Global(name) => {
                let name: String = name.chars().take(NAME_CHARS_MAX).collect();
                Err(format!("global {name:?} as a value").into())
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
                // Not copied: a list that contains itself would be copied at each level.
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
