//! Arena of the nodes that the virtual machine builds. Nodes refer to each other by index, so
//! shared and circular values need no reference counting and no recursive drop.

use super::global::{Global, StorageType};

/// Index of a node in [`Parsed::nodes`].
pub(crate) type Id = u32;

/// A Python object. Text and bytes are borrowed from the pickle if possible.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// Integer of more than 64 bits, little-endian two's complement.
    BigInt(&'a [u8]),
    Float(f64),
    Str(&'a str),
    Bytes(&'a [u8]),
    OwnedBytes(Box<[u8]>),
    List(Vec<Id>),
    Tuple(Box<[Id]>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Attributes of an object of a TorchScript class.
    Module(Vec<(Id, Id)>),
    Global(Global),
    /// Index in [`Parsed::storages`].
    Storage(u32),
    /// Index in [`Parsed::tensors`].
    Tensor(u32),
    /// `numpy.dtype`: its short name, such as `f8`, and byte order.
    NumpyDtype {
        kind: &'a str,
        big: bool,
    },
    /// Arguments of a `torch.device`.
    Device {
        kind: &'a str,
        index: Option<i64>,
    },
}

impl Node<'_> {
    /// Returns the value of a non-negative integer.
    pub(crate) fn as_size(&self) -> Option<usize> {
        match self {
            &Node::Int(value) => usize::try_from(value).ok(),
            _ => None,
        }
    }

    /// Returns PyTorch's name of an element type.
    pub(crate) fn dtype_name(&self) -> Option<&'static str> {
        match self {
            Node::Global(Global::Dtype(ty)) => Some(ty.name),
            _ => None,
        }
    }

    /// Returns the kind of object, for error messages.
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

/// Storage: contiguous elements that tensors are views of. The bytes are elsewhere in the file.
#[derive(Debug, Clone)]
pub(crate) struct StorageSpec<'a> {
    /// Key of the storage in the file.
    pub(crate) key: &'a str,
    pub(crate) ty: StorageType,
    /// Number of elements.
    pub(crate) len: usize,
    /// First element and number of elements of a view, in files of PyTorch before 0.4.
    pub(crate) view: Option<(usize, usize)>,
}

/// A strided view of a storage, in elements.
#[derive(Debug, Clone)]
pub(crate) struct TensorSpec {
    /// Index in [`Parsed::storages`].
    pub(crate) storage: u32,
    /// Element type, which may differ from that of an untyped storage.
    pub(crate) ty: StorageType,
    pub(crate) offset: usize,
    pub(crate) shape: Box<[usize]>,
    pub(crate) strides: Box<[usize]>,
}

/// A parsed pickle.
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) storages: Vec<StorageSpec<'a>>,
    pub(crate) tensors: Vec<TensorSpec>,
    /// The top-level object.
    pub(crate) root: Id,
    /// Length of the pickle in bytes.
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
