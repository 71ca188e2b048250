//! What the machine builds: an arena of nodes that name each other by index, so that shared and even circular
//! values cost nothing to hold and nothing to drop.

use super::global::{Global, StorageType};

/// Index of a node in [`Parsed::nodes`].
pub(crate) type Id = u32;

/// One Python object. Text and bytes lie in the pickle itself where they can.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// More than 64 bits, little-endian two's complement.
    BigInt(&'a [u8]),
    Float(f64),
    Str(&'a str),
    Bytes(&'a [u8]),
    OwnedBytes(Box<[u8]>),
    List(Vec<Id>),
    Tuple(Box<[Id]>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// An object of a TorchScript class: its attributes.
    Module(Vec<(Id, Id)>),
    Global(Global),
    /// Index in [`Parsed::storages`].
    Storage(u32),
    /// Index in [`Parsed::tensors`].
    Tensor(u32),
    /// `numpy.dtype`: its short name, such as `f8`, and whether it is big-endian.
    NumpyDtype {
        kind: &'a str,
        big: bool,
    },
    /// A `torch.device`, by its arguments.
    Device {
        kind: &'a str,
        index: Option<i64>,
    },
}

impl Node<'_> {
    /// What the node is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Node::None => "None",
            Node::Bool(_) => "a boolean",
            Node::Int(_) | Node::BigInt(_) => "an integer",
            Node::Float(_) => "a float",
            Node::Str(_) => "a string",
            Node::Bytes(_) | Node::OwnedBytes(_) => "bytes",
            Node::List(_) => "a list",
            Node::Tuple(_) => "a tuple",
            Node::Set(_) => "a set",
            Node::Dict(_) => "a dictionary",
            Node::Module(_) => "a module",
            Node::Global(_) => "a name",
            Node::Storage(_) => "a storage",
            Node::Tensor(_) => "a tensor",
            Node::NumpyDtype { .. } => "a numpy dtype",
            Node::Device { .. } => "a device",
        }
    }
}

/// A run of elements that tensors are views of; the bytes lie elsewhere in the file.
#[derive(Debug, Clone)]
pub(crate) struct StorageSpec<'a> {
    /// The file's name for it.
    pub(crate) key: &'a str,
    pub(crate) ty: StorageType,
    /// Elements.
    pub(crate) len: usize,
    /// First element and length of the part meant, in files of PyTorch before 0.4.
    pub(crate) view: Option<(usize, usize)>,
}

/// A strided view of a storage, in elements.
#[derive(Debug, Clone)]
pub(crate) struct TensorSpec {
    /// Index in [`Parsed::storages`].
    pub(crate) storage: u32,
    /// Type of the tensor's elements, which may differ from an untyped storage's.
    pub(crate) ty: StorageType,
    pub(crate) offset: usize,
    pub(crate) shape: Box<[usize]>,
    pub(crate) strides: Box<[usize]>,
}

/// A whole pickle, read.
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) storages: Vec<StorageSpec<'a>>,
    pub(crate) tensors: Vec<TensorSpec>,
    /// The object that the pickle is of.
    pub(crate) root: Id,
    /// Bytes that the pickle takes.
    pub(crate) end: usize,
}

impl<'a> Parsed<'a> {
    pub(crate) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }

    pub(crate) fn root(&self) -> &Node<'a> {
        self.node(self.root)
    }
}
