//! Pickle virtual machine with a stack, marks and a memo. Opcodes and their meaning follow
//! CPython's `pickletools`.

use std::collections::HashMap;

use super::global::{Dialect, Global, lookup};
use super::node::{Id, Node, Parsed, StorageSpec, TensorSpec};
use super::reader::Reader;
use super::tensor_class::TensorClass;
use super::{PickleError, call, opcode};
use crate::budget::Budget;
use crate::error::escape_for_display;

/// Preallocated nodes for shared constants.
const NONE: Id = 0;
const TRUE: Id = 1;
const FALSE: Id = 2;
const EMPTY_TUPLE: Id = 3;

/// Maximum cost in bytes of a stack entry, a mark or a container item, including spare capacity.
const SLOT: usize = 2 * size_of::<usize>();
/// Maximum cost in bytes of a memo entry in the hash map.
const MEMO_SLOT: usize = 32;

/// Parses the pickle at the beginning of `bytes`.
pub(crate) fn parse<'a>(
    bytes: &'a [u8],
    dialect: Dialect,
    budget: &mut Budget,
) -> Result<Parsed<'a>, PickleError> {
    let mut vm = Vm {
        dialect,
        reader: Reader::new(bytes),
        nodes: vec![
            Node::None,
            Node::Bool(true),
            Node::Bool(false),
            Node::Tuple(Box::default()),
        ],
        storages: Vec::new(),
        tensors: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        budget,
    };
    let root = vm.run()?;
    let end = vm.reader.position();
    Ok(Parsed {
        nodes: vm.nodes,
        storages: vm.storages,
        tensors: vm.tensors,
        root,
        end,
    })
}

pub(crate) struct Vm<'a, 'b> {
    pub(crate) dialect: Dialect,
    pub(crate) reader: Reader<'a>,
    nodes: Vec<Node<'a>>,
    pub(crate) storages: Vec<StorageSpec<'a>>,
    pub(crate) tensors: Vec<TensorSpec>,
    stack: Vec<Id>,
    /// Stack heights at which marks were set.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    pub(crate) budget: &'b mut Budget,
}

impl<'a> Vm<'a, '_> {
    fn run(&mut self) -> Result<Id, PickleError> {
        loop {
            let opcode = self.reader.u8()?;
            if opcode == opcode::STOP {
                let root = self.pop()?;
                return match (self.stack.is_empty(), self.marks.is_empty()) {
                    (true, true) => Ok(root),
                    _ => Err(self
                        .reader
                        .corrupt("values left on the stack at the end of the pickle")),
                };
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            opcode::PROTO => self.protocol(),
            // A hint for buffered readers.
            opcode::FRAME => self.reader.take(8).map(drop),
            opcode::NONE => self.push_id(NONE),
            opcode::NEWTRUE => self.push_id(TRUE),
            opcode::NEWFALSE => self.push_id(FALSE),
            opcode::EMPTY_TUPLE => self.push_id(EMPTY_TUPLE),
            opcode::BININT | opcode::BININT1 | opcode::BININT2 | opcode::LONG1 | opcode::LONG4 => {
                self.integer(opcode)
            }
            opcode::BINFLOAT => {
                let value = self.reader.f64()?;
                self.push(Node::Float(value))
            }
            opcode::BINUNICODE => self.text(4),
            opcode::SHORT_BINUNICODE => self.text(1),
            opcode::BINUNICODE8 => self.text(8),
            // Strings of Python 2: bytes that contain names in practice.
            opcode::SHORT_BINSTRING => self.python2_string(1),
            opcode::BINSTRING => self.python2_string(4),
            opcode::BINBYTES => self.bytes(4),
            opcode::SHORT_BINBYTES => self.bytes(1),
            opcode::BINBYTES8 | opcode::BYTEARRAY8 => self.bytes(8),
            opcode::EMPTY_LIST => self.push(Node::List(Vec::new())),
            opcode::EMPTY_DICT => self.push(Node::Dict(Vec::new())),
            opcode::EMPTY_SET => self.push(Node::Set(Vec::new())),
            opcode::MARK => {
                self.budget.charge(SLOT)?;
                self.marks.push(self.stack.len());
                Ok(())
            }
            opcode::TUPLE => self.marked_tuple(),
            opcode::TUPLE1 => self.tuple(1),
            opcode::TUPLE2 => self.tuple(2),
            opcode::TUPLE3 => self.tuple(3),
            opcode::LIST => {
                let items = self.pop_marked()?;
                self.push(Node::List(items))
            }
            opcode::FROZENSET => {
                let items = self.pop_marked()?;
                self.push(Node::Set(items))
            }
            opcode::DICT => self.marked_dict(),
            opcode::APPEND => self.append(),
            opcode::APPENDS | opcode::ADDITEMS => self.extend(),
            opcode::SETITEM => self.set_item(),
            opcode::SETITEMS => self.set_items(),
            opcode::POP => self.pop_or_mark(),
            opcode::POP_MARK => self.pop_marked().map(drop),
            opcode::BINPUT => {
                let index = self.reader.u8()?;
                self.memoize(index.into())
            }
            opcode::LONG_BINPUT => {
                let index = self.reader.u32()?;
                self.memoize(index)
            }
            opcode::MEMOIZE => {
                let index = u32::try_from(self.memo.len()).map_err(|_| PickleError::Exhausted)?;
                self.memoize(index)
            }
            opcode::BINGET => {
                let index = self.reader.u8()?;
                self.push_memo(index.into())
            }
            opcode::LONG_BINGET => {
                let index = self.reader.u32()?;
                self.push_memo(index)
            }
            opcode::GLOBAL => {
                let (module, name) = (self.reader.line()?, self.reader.line()?);
                self.global(module, name)
            }
            opcode::STACK_GLOBAL => self.stack_global(),
            opcode::BINPERSID => call::persistent_id(self),
            opcode::REDUCE | opcode::NEWOBJ => call::reduce(self),
            opcode::BUILD => call::build(self),
            _ => Err(self
                .reader
                .corrupt(format!("opcode {opcode:#04x} is not allowed in weights"))),
        }
    }

    fn protocol(&mut self) -> Result<(), PickleError> {
        match self.reader.u8()? {
            2..=5 => Ok(()),
            version => Err(self.reader.corrupt(format!(
                "unsupported pickle protocol {version}, expected 2 to 5"
            ))),
        }
    }

    fn integer(&mut self, opcode: u8) -> Result<(), PickleError> {
        let value = match opcode {
            opcode::BININT => self.reader.i32()?.into(),
            opcode::BININT1 => self.reader.u8()?.into(),
            opcode::BININT2 => self.reader.u16()?.into(),
            _ => {
                let digits = self
                    .reader
                    .counted(if opcode == opcode::LONG1 { 1 } else { 4 })?;
                if digits.len() > 8 {
                    return self.push(Node::BigInt(digits));
                }
                let negative = digits.last().is_some_and(|&top| top >= 0x80);
                let mut bytes = [if negative { 0xff } else { 0 }; 8];
                bytes[..digits.len()].copy_from_slice(digits);
                i64::from_le_bytes(bytes)
            }
        };
        self.push(Node::Int(value))
    }

    fn text(&mut self, count_bytes: usize) -> Result<(), PickleError> {
        let text = self.reader.text(count_bytes)?;
        self.push(Node::Str(text))
    }

    fn bytes(&mut self, count_bytes: usize) -> Result<(), PickleError> {
        let bytes = self.reader.counted(count_bytes)?;
        self.push(Node::Bytes(bytes))
    }

    fn python2_string(&mut self, count_bytes: usize) -> Result<(), PickleError> {
        let bytes = self.reader.counted(count_bytes)?;
        self.push(std::str::from_utf8(bytes).map_or(Node::Bytes(bytes), Node::Str))
    }

    fn tuple(&mut self, len: usize) -> Result<(), PickleError> {
        let floor = self.floor();
        let start = self
            .stack
            .len()
            .checked_sub(len)
            .filter(|&start| start >= floor);
        let start = start.ok_or_else(|| self.reader.corrupt("stack underflow in a tuple"))?;
        let items = self.stack.split_off(start);
        self.push_tuple(items)
    }

    fn marked_tuple(&mut self) -> Result<(), PickleError> {
        let items = self.pop_marked()?;
        self.push_tuple(items)
    }

    fn push_tuple(&mut self, items: Vec<Id>) -> Result<(), PickleError> {
        self.budget.charge(items.len() * size_of::<Id>())?;
        self.push(Node::Tuple(items.into_boxed_slice()))
    }

    fn marked_dict(&mut self) -> Result<(), PickleError> {
        let entries = self.pop_pairs()?;
        self.push(Node::Dict(entries))
    }

    fn append(&mut self) -> Result<(), PickleError> {
        let item = self.pop()?;
        self.add_items(&[item])
    }

    fn extend(&mut self) -> Result<(), PickleError> {
        let items = self.pop_marked()?;
        self.add_items(&items)
    }

    fn add_items(&mut self, added: &[Id]) -> Result<(), PickleError> {
        self.budget.charge(added.len() * SLOT)?;
        let top = self.top()?;
        match &mut self.nodes[top as usize] {
            Node::List(items) | Node::Set(items) => {
                items.extend_from_slice(added);
                Ok(())
            }
            other => {
                let reason = format!("expected a list for new items, got {}", other.kind());
                Err(self.reader.corrupt(reason))
            }
        }
    }

    fn set_item(&mut self) -> Result<(), PickleError> {
        let (value, key) = (self.pop()?, self.pop()?);
        self.add_entries(vec![(key, value)])
    }

    fn set_items(&mut self) -> Result<(), PickleError> {
        let entries = self.pop_pairs()?;
        self.add_entries(entries)
    }

    fn add_entries(&mut self, added: Vec<(Id, Id)>) -> Result<(), PickleError> {
        self.budget.charge(added.len() * SLOT)?;
        let top = self.top()?;
        match &mut self.nodes[top as usize] {
            Node::Dict(entries) => {
                entries.extend(added);
                Ok(())
            }
            other => {
                let reason = format!(
                    "expected a dictionary for new entries, got {}",
                    other.kind()
                );
                Err(self.reader.corrupt(reason))
            }
        }
    }

    fn memoize(&mut self, index: u32) -> Result<(), PickleError> {
        self.budget.charge(MEMO_SLOT)?;
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn push_memo(&mut self, index: u32) -> Result<(), PickleError> {
        match self.memo.get(&index) {
            Some(&id) => self.push_id(id),
            None => Err(self.reader.corrupt(format!("undefined memo entry {index}"))),
        }
    }

    fn stack_global(&mut self) -> Result<(), PickleError> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (self.node(module), self.node(name)) {
            (&Node::Str(module), &Node::Str(name)) => self.global(module, name),
            _ => Err(self.reader.corrupt("global name is not a string")),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), PickleError> {
        match lookup(self.dialect, module, name) {
            Some(global) => self.push(Node::Global(global)),
            None => Err(self.refusal(module, name)),
        }
    }

    /// Returns the error about a name that is not on the allow list. The class of a tensor is the
    /// second argument of `_rebuild_from_type_v2`, so its name follows that of the function and the
    /// first argument on the stack.
    fn refusal(&self, module: &str, name: &str) -> PickleError {
        let is_rebuild = |&id: &Id| matches!(self.node(id), Node::Global(Global::RebuildFromType));
        let rebuild = self.stack.iter().rposition(is_rebuild);
        let (class, key) = match (TensorClass::of_function(module, name), rebuild) {
            (Some(class), at) => (class, at.unwrap_or(self.stack.len())),
            (None, Some(at)) if self.stack.len() == at + 2 => (TensorClass::new(module, name), at),
            _ => {
                return PickleError::Refused {
                    global: escape_for_display(&format!("{module}.{name}")),
                };
            }
        };
        let key = key.checked_sub(1).and_then(|at| self.stack.get(at));
        let name = key.and_then(|&id| match self.node(id) {
            Node::Str(text) => Some((*text).to_owned()),
            _ => None,
        });
        PickleError::Tensor { class, name }
    }

    pub(crate) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }

    pub(crate) fn node_mut(&mut self, id: Id) -> &mut Node<'a> {
        &mut self.nodes[id as usize]
    }

    pub(crate) fn push(&mut self, node: Node<'a>) -> Result<(), PickleError> {
        self.budget.charge_growing(size_of::<Node<'_>>())?;
        let id = Id::try_from(self.nodes.len()).map_err(|_| PickleError::Exhausted)?;
        self.nodes.push(node);
        self.push_id(id)
    }

    pub(crate) fn push_id(&mut self, id: Id) -> Result<(), PickleError> {
        self.budget.charge_growing(size_of::<Id>())?;
        self.stack.push(id);
        Ok(())
    }

    /// Returns the stack height below which values belong to the context of the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub(crate) fn pop(&mut self) -> Result<Id, PickleError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    pub(crate) fn top(&self) -> Result<Id, PickleError> {
        match self.stack.last() {
            Some(&top) if self.stack.len() > self.floor() => Ok(top),
            _ => Err(self.reader.corrupt("stack underflow")),
        }
    }

    fn pop_or_mark(&mut self) -> Result<(), PickleError> {
        if self.stack.len() == self.floor() && self.marks.pop().is_some() {
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn pop_marked(&mut self) -> Result<Vec<Id>, PickleError> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.reader.corrupt("no mark on the stack")),
        }
    }

    fn pop_pairs(&mut self) -> Result<Vec<(Id, Id)>, PickleError> {
        let items = self.pop_marked()?;
        self.budget.charge(size_of_val(&*items))?;
        match items.as_chunks() {
            (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
            _ => Err(self.reader.corrupt("dictionary key without a value")),
        }
    }
}
